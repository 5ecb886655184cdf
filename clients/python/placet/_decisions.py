"""What a caller gets to know about a request: decisions, and how they came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum, IntEnum

from placet._values import Entity, EntityRef


class Outcome(Enum):
    """The answer to a request. An outcome this version does not know reads as ``DENY``."""

    ALLOW = 1
    DENY = 2
    REQUIRES_APPROVAL = 3

    def __bool__(self) -> bool:
        return self is Outcome.ALLOW


class Cause(Enum):
    """The rule of precedence that led to the outcome."""

    UNKNOWN = 0
    PERMITTED = 1
    NO_PERMIT = 2
    FORBIDDEN = 3
    FORBID_ERROR = 4
    """A forbid could not be evaluated, and doubt denies."""
    APPROVAL_NEEDED = 5
    APPROVED = 6
    """A permit that asks for an approval matched, and the request carried one."""


class Layer(IntEnum):
    """Where a policy comes from, in order of authority."""

    UNSPECIFIED = 0
    PLATFORM = 1
    JURISDICTION = 2
    TENANT = 3
    AGENT = 4


class Effect(Enum):
    """What a policy does when it matches."""

    UNKNOWN = 0
    PERMIT = 1
    FORBID = 2


@dataclass(frozen=True, slots=True)
class Reason:
    """One policy that determined the outcome."""

    policy_id: str
    layer: Layer
    message: str = ""
    """Text of its ``@reason`` annotation, for people."""


@dataclass(frozen=True, slots=True)
class PolicyError:
    """One policy that could not be evaluated, whether or not that mattered."""

    policy_id: str
    layer: Layer
    message: str


@dataclass(frozen=True, slots=True)
class LogOnlyReport:
    """The answer there would have been if log-only policies counted."""

    outcome: Outcome
    reasons: tuple[Reason, ...]


# Without slots: `stamped` copies one in no time, which is most of what a local decision costs.
@dataclass(frozen=True, kw_only=True)
class Decision:
    """The answer to one request.

    ``bool(decision)`` is ``decision.allowed``: a denial is falsy, and so is
    an approval that is still missing. An allow may carry ``obligations``;
    who does not understand one of them must deny, which ``enforce`` does.
    """

    outcome: Outcome
    cause: Cause = Cause.UNKNOWN
    reasons: tuple[Reason, ...] = ()
    obligations: tuple[str, ...] = ()
    """What the caller must do when it lets the action happen, such as ``redact:ssn``."""
    errors: tuple[PolicyError, ...] = ()
    approval_groups: tuple[str, ...] = ()
    """Who may approve; one yes from one group suffices. For ``REQUIRES_APPROVAL`` only."""
    log_only: LogOnlyReport | None = None
    """What log-only policies would have changed; none when they would not."""
    decision_id: str = ""
    """Unique to this answer; ``local-...`` when it was decided in this process."""
    revision: int = 0
    """The revision of the policies that decided. Comparable across nodes."""
    staleness: timedelta = timedelta()
    """Time since what decided last knew that it had the newest revision."""
    is_stale: bool = False
    """Whether a local evaluator answered past its maximum staleness, as it was told to."""
    cached: bool = False
    region: str = ""
    node: str = ""
    rollout_variant: str = ""
    """``stable`` or ``candidate`` while a rollout is under way, otherwise empty."""

    @property
    def allowed(self) -> bool:
        """Whether the action may happen, provided that the obligations are met."""
        return self.outcome is Outcome.ALLOW

    def __bool__(self) -> bool:
        return self.allowed


def stamped(decision: Decision, changes: Mapping[str, object]) -> Decision:
    """Return a decision with other values in some fields, as ``dataclasses.replace`` does."""
    copy = object.__new__(Decision)
    object.__setattr__(copy, "__dict__", {**decision.__dict__, **changes})
    return copy


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place in a policy author's file. 0 means unknown."""

    file: str = ""
    line: int = 0
    column: int = 0


NOWHERE = Position()


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedPolicy:
    """One policy that has to do with the request, whether or not it determined the outcome."""

    policy_id: str
    effect: Effect
    layer: Layer
    annotations: Mapping[str, str] = field(default_factory=dict)
    position: Position = NOWHERE
    cedar: str = ""
    template_id: str = ""
    """The template it is a link of, if any."""
    counts: bool = True
    """False for log-only policies, and for permits of layers that cannot allow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerVerdict:
    """What one layer says on its own."""

    layer: Layer
    outcome: Outcome
    matched: tuple[MatchedPolicy, ...]
    errors: tuple[PolicyError, ...]
    policies: int
    """How many of its policies were looked at."""
    failed: tuple[MatchedPolicy, ...] = ()
    """The policies that ``errors`` are about, in the same order."""
    unmet: tuple[MatchedPolicy, ...] = ()
    """The first few permits that are about the request, but whose conditions did not hold."""
    unmet_count: int = 0
    """How many of those permits there are."""


@dataclass(frozen=True, slots=True)
class Override:
    """An attribute of the request that a stored one of the same name overrode."""

    entity: EntityRef
    attribute: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A decision and the work behind it."""

    decision: Decision
    layers: tuple[LayerVerdict, ...]
    entities: tuple[Entity, ...]
    """Exactly the entities the policies could reach, after merging."""
    overrides: tuple[Override, ...]
    steps: tuple[str, ...]
    """The rules of precedence in the order they were applied, as sentences."""
    would_change: tuple[str, ...] = ()
    """What would have led to another outcome, so far as that is known, as sentences."""


@dataclass(frozen=True, slots=True)
class SearchHit:
    """An entity for which the request is allowed, perhaps after an approval."""

    entity: EntityRef
    outcome: Outcome
    obligations: tuple[str, ...] = ()
