"""Rollouts: how a change of policies is to reach nodes and subjects, and how it fares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

from placet._decisions import Decision
from placet._errors import DecisionError
from placet._requests import Request

# ---------------------------------------------------------------------------------- plans


class GuardKind(Enum):
    """What a guard measures."""

    UNKNOWN = 0
    ERROR_RATE = 1
    """Share of the compared requests that only the candidate could not decide, from 0 to 1."""
    DENY_RATE_CHANGE = 2
    """Change of the share that is denied, from 0 to 1, up or down."""
    LATENCY = 3
    """99th percentile of the candidate's time to decide, in seconds of processor time."""
    REJECTIONS = 4
    """Number of nodes that could not compile the candidate."""


@dataclass(frozen=True, slots=True)
class Guard:
    """One bound that a candidate must keep; what is not given is the server's default."""

    kind: GuardKind
    threshold: float | None = None
    """Above it is a breach: a ratio from 0 to 1, seconds, or nodes."""
    min_samples: int = 0
    """Below so many samples in a step the guard says nothing, and the step waits."""
    disabled: bool = False
    """Measured, but not enforced."""


class CanaryUnit(Enum):
    """What a share is a share of."""

    UNKNOWN = 0
    SUBJECT = 1
    """A subject gets the same variant from every node, and keeps the candidate once given it."""
    NODE = 2
    """A node decides everything by one variant."""


class CanaryStep(NamedTuple):
    """One share and how long it is held; a plain pair will do as well."""

    share_percent: int
    bake_time: timedelta | None = None
    """The server's default without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPlan:
    """How a candidate takes the place of the stable revision: use one of the kinds below.

    What a server sends of a kind that this version does not know is just this.
    """

    guards: Sequence[Guard] = ()
    """Kinds that are not listed have the server's default bounds."""
    shadow_percent: float | None = None
    """How many of the live requests both revisions decide, to compare them: above 0, to 100."""

    @property
    def step_count(self) -> int:
        """How many steps there are; only canaries have more than one."""
        return 1


@dataclass(frozen=True, slots=True)
class Immediate(RolloutPlan):
    """Decide everything by the candidate at once."""


@dataclass(frozen=True, slots=True)
class Canary(RolloutPlan):
    """Raise the candidate's share step by step."""

    steps: Sequence[tuple[int, timedelta | None]] = ()
    """1 to 20 shares in percent that rise to 100, each with how long it is held at least.
    Empty: the server's, which are 10, 50 and 100 % for 5 minutes each unless configured."""
    unit: CanaryUnit = CanaryUnit.SUBJECT

    @property
    def step_count(self) -> int:
        """How many steps there are; 0 when they are left to the server."""
        return len(self.steps)


@dataclass(frozen=True, slots=True)
class Scheduled(RolloutPlan):
    """Decide everything by the candidate from a time on."""

    start_time: datetime
    """With time zone; up to 366 days ahead."""


@dataclass(frozen=True, slots=True)
class Manual(RolloutPlan):
    """Decide everything by the candidate once somebody other than the author approved."""

    approver_groups: Sequence[str] = ()
    """Whose members may approve. Empty: anybody but the author."""
    deadline: datetime | None = None
    """With time zone. Without approval until then it is undone; without a deadline it waits."""


# ------------------------------------------------------------------------------- progress


class RolloutState(Enum):
    """Where a rollout stands."""

    UNKNOWN = 0
    SCHEDULED = 1
    """Waits for its time."""
    AWAITING_APPROVAL = 2
    """Waits for a person's yes."""
    RUNNING = 3
    PAUSED = 4
    """Held at its step by a person; guards go on."""
    COMPLETED = 5
    """The candidate is the stable revision now. Final."""
    ROLLED_BACK = 6
    """Everything is decided by the stable revision again. Final."""

    @property
    def is_final(self) -> bool:
        """Whether nothing comes after it."""
        return self in (RolloutState.COMPLETED, RolloutState.ROLLED_BACK)


class GuardStatus(Enum):
    """What a guard says about a step."""

    UNKNOWN = 0
    WAITING = 1
    """Too few samples to say; the step waits."""
    HOLDS = 2
    BREACHED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardReading:
    """What a guard measured in a step."""

    guard: Guard
    measured: float
    """In the unit of the guard's threshold."""
    samples: int
    status: GuardStatus
    stable_rate: float = 0.0
    """For ``DENY_RATE_CHANGE``: the share denied by the stable revision, from 0 to 1."""
    candidate_rate: float = 0.0
    """The same of the candidate."""


@dataclass(frozen=True, slots=True)
class NodeTally:
    """How many nodes made what of a candidate."""

    acknowledged: int = 0
    rejected: int = 0
    pending: int = 0
    """Have not said yet."""


class RollbackCause(Enum):
    """What undid a rollout."""

    UNKNOWN = 0
    GUARD = 1
    PERSON = 2
    NOT_APPROVED = 3
    """Nobody approved before the plan's deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionRejection:
    """One node's refusal of a revision that it could not compile; it goes on with what it had."""

    node: str
    region: str
    tenant: str
    revision: int
    reason: str
    """Stable upper-case identifier such as ``POLICY_SYNTAX``."""
    message: str
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedAnswer:
    """One request that the two revisions answer differently."""

    tenant: str
    request: Request
    """Attributes and context are masked as in the server's decision log."""
    stable: Decision | DecisionError
    candidate: Decision | DecisionError


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackReport:
    """Why a rollout was undone."""

    cause: RollbackCause
    time: datetime
    step: int
    """Place of the step that was in force."""
    share_percent: int
    breach: GuardReading | None = None
    """For ``GUARD``: the guard, with its numbers."""
    examples: tuple[ChangedAnswer, ...] = ()
    """At most 20, newest first."""
    changed_answers: int = 0
    """How many were seen in all."""
    rejections: tuple[RevisionRejection, ...] = ()
    """At most 100."""
    actor: str = ""
    """Who, for ``PERSON``."""
    message: str = ""
    """Why, as they wrote it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One candidate on its way, as it was read."""

    id: str
    tenant: str
    """Empty for the platform."""
    plan: RolloutPlan
    """With the server's defaults filled in."""
    state: RolloutState
    stable_revision: int
    """Decides for those whom the candidate does not reach."""
    candidate_revision: int
    step: int
    """Place of the step in force, from 0."""
    share_percent: int
    """How much the candidate decides now."""
    seed: int
    """Of the hash that chooses who gets the candidate."""
    step_time: datetime | None = None
    """When the step in force began."""
    next_step_time: datetime | None = None
    """When the next is due at the earliest; None when it waits for a person, or there is none."""
    readings: tuple[GuardReading, ...] = ()
    """Of the step in force, disabled guards too; none when the rollout has ended."""
    author: str = ""
    message: str = ""
    approver: str = ""
    create_time: datetime
    update_time: datetime
    nodes: NodeTally = NodeTally()
    rollback: RollbackReport | None = None
    """For ``ROLLED_BACK``."""
    etag: str = ""
    """Changes with every step; what is done to a rollout as it was read rests on it."""
    server_time: datetime | None = field(default=None, compare=False)
    """The server's clock when it sent this; ``watch_rollout`` tells it, nothing else does."""


# ------------------------------------------------------------------------------ who runs what


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRevision:
    """What one node decides a tenant's requests by."""

    node: str
    region: str
    revision: int
    """The tenant's revision in force there."""
    lag: timedelta
    """How long the tenant's newest revision has been there without being in force on the node."""
    acknowledge_time: datetime | None
    """When the node last told where it stands."""
    propagation: timedelta | None
    """From the commit of ``revision`` to its enforcement; None when the node does not know."""
    candidate_revision: int = 0
    """Of the rollout under way, 0 when there is none."""
    share_percent: int = 0
    """How much of the node's decisions the candidate takes."""
    rejection: RevisionRejection | None = None
    """Set while the node rejects a revision of the tenant's."""


@dataclass(frozen=True, slots=True)
class NodeRevisions:
    """Who runs what: every node that may hold a tenant's policies, by region and name."""

    revision: int
    """The tenant's newest."""
    nodes: tuple[NodeRevision, ...]
