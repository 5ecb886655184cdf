"""Requests, verdicts and the words they are made of.

Attribute values are Cedar's JSON values: ``bool``, ``int``, ``str``, lists
(sets), mappings (records), ``{"__entity": {"type": ..., "id": ...}}`` for
references and ``{"__extn": {"fn": ..., "arg": ...}}`` for extension values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, TypeAlias

Value: TypeAlias = "bool | int | str | Sequence[Value] | Mapping[str, Value]"
Attributes: TypeAlias = Mapping[str, Value]


class Outcome(IntEnum):
    """The answer to a request. Numbers are those of ``placet.v1.Outcome``."""

    ALLOW = 1
    DENY = 2
    REQUIRES_APPROVAL = 3


class Cause(IntEnum):
    """The rule of precedence that led to the outcome. Numbers as on the wire."""

    PERMITTED = 1
    NO_PERMIT = 2
    FORBIDDEN = 3
    FORBID_ERROR = 4
    APPROVAL_NEEDED = 5
    APPROVED = 6


class Layer(IntEnum):
    """Where a policy comes from, in order of authority. Numbers as on the wire."""

    PLATFORM = 1
    JURISDICTION = 2
    TENANT = 3
    AGENT = 4


class Effect(IntEnum):
    """What a policy does when it matches. Numbers as on the wire."""

    PERMIT = 1
    FORBID = 2


class EntityUid(NamedTuple):
    """The name of one entity. Any text is an id; the type is a Cedar name.

    A tuple, since every decision makes some and looks them up: a tuple is
    hashed and compared without a line of Python.
    """

    type: str
    id: str

    def __str__(self) -> str:
        """Write the uid as Cedar does, escapes included."""
        return f'{self.type}::"{escape(self.id)}"'

    def to_json(self) -> dict[str, str]:
        """Return Cedar's structured form, which takes ids of any text."""
        return {"type": self.type, "id": self.id}


def escape(text: str) -> str:
    """Escape ``text`` for use between the quotes of a Cedar string literal."""
    return "".join(
        _ESCAPES.get(char, char if char.isprintable() else f"\\u{{{ord(char):x}}}") for char in text
    )


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """A subject, resource or group with its attributes and direct parents."""

    uid: EntityUid
    attributes: Attributes = field(default_factory=dict)
    parents: tuple[EntityUid, ...] = ()
    tags: Attributes = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return Cedar's entity JSON form."""
        document: dict[str, object] = {
            "uid": self.uid.to_json(),
            "attrs": dict(self.attributes),
            "parents": [parent.to_json() for parent in self.parents],
        }
        if self.tags:
            document["tags"] = dict(self.tags)
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Who wants which action on what, under which circumstances.

    The entities are what the caller knows: subject, resource and action with
    the properties sent along, and any others. They are merged under stored
    entities when the request is judged.
    """

    subject: EntityUid
    action: EntityUid
    resource: EntityUid
    context: Attributes = field(default_factory=dict)
    entities: tuple[Entity, ...] = ()
    approved: bool = False
    """Whether a valid permit for exactly this action came with the request."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One policy that determined the outcome."""

    policy_id: str
    layer: Layer
    message: str = ""


@dataclass(frozen=True, slots=True)
class PolicyError:
    """One policy that failed while it was evaluated."""

    policy_id: str
    layer: Layer
    message: str


@dataclass(frozen=True, slots=True)
class LogOnlyReport:
    """What policies under ``@mode("log_only")`` would have changed."""

    outcome: Outcome
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the engine says about one request."""

    outcome: Outcome
    cause: Cause
    reasons: tuple[Reason, ...] = ()
    obligations: tuple[str, ...] = ()
    errors: tuple[PolicyError, ...] = ()
    approval_groups: tuple[str, ...] = ()
    log_only: LogOnlyReport | None = None


@dataclass(frozen=True, slots=True)
class Undecidable:
    """Why a request could not be judged. Neither a denial nor an allow."""

    reason: str
    """Stable upper-case identifier, such as ``REQUEST_REFUSED``."""
    message: str
    field: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place in a policy author's file. 0 means unknown."""

    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.file
        where = f"{self.line}:{self.column}" if self.column else f"{self.line}"
        return f"{self.file}:{where}" if self.file else f"line {where}"


NOWHERE = Position()


class Severity(IntEnum):
    """Whether a finding keeps a change set from being published."""

    ERROR = 1
    WARNING = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One finding about policies, entities or a schema."""

    severity: Severity
    reason: str
    """Stable upper-case identifier, such as ``POLICY_SYNTAX``."""
    message: str
    field: str = ""
    """Path within the change set, such as ``policies[3].cedar``."""
    subject: str = ""
    """Id of the policy, or the entity as Cedar writes it."""
    position: Position = NOWHERE
