"""What can go wrong, told apart.

    PlacetError
    ├── InvalidRequest          the request is wrong, or was never sent because it is
    ├── Unauthenticated         the server does not know who calls
    ├── PermissionDenied        the caller itself may not call this
    ├── NotFound                no such tenant, or no such item
    ├── Conflict                somebody else changed it first
    ├── OutOfRange              a revision that is not there
    │   └── CursorCompacted     ... any more: start again from the current state
    ├── FailedPrecondition      not in this state, or not here
    │   ├── WrongRegion         the tenant's data may not be here; says where
    │   ├── RegionForbidden     the tenant's data may not come to where the caller is
    │   └── StaleNode           (also a CouldNotDecide) knows less than the tenant allows
    ├── CouldNotDecide          a good request, and no decision: neither allow nor denial
    │   ├── Unavailable         nobody answers, or the node starts or stops
    │   ├── DeadlineExceeded    the answer did not come in time
    │   ├── ResourceExhausted   a limit, or load shedding; says when to try again
    │   ├── StaleNode
    │   ├── Unsupported         the server is older than this call
    │   ├── Internal            a fault of the server, or of what it sent
    │   └── DecisionError       one request out of several; stands in its place
    └── NotAllowed              raised by `enforce` only
        ├── Denied
        ├── ApprovalRequired
        └── UnknownObligation   allowed on a condition that nobody here can meet

A denial is an answer: `evaluate` returns it. Only `enforce` turns it into an
exception. Which exception a status of the wire becomes is in ``_status.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from placet._decisions import Decision
    from placet._topology import Route


class PlacetError(Exception):
    """Anything this package raises.

    Attributes:
        message: what is wrong and what to do, for people.
        reason: stable upper-case identifier such as ``TENANT_UNKNOWN``; empty when the
            server gave none.
        metadata: further facts the server gave with the reason.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.metadata = metadata


@dataclass(frozen=True, slots=True)
class Violation:
    """One field of a request that is not as it has to be."""

    field: str
    """Path within the request, such as ``context.amount``."""
    message: str


class InvalidRequest(PlacetError):
    """The request is wrong. Sending it again unchanged does not help."""

    def __init__(
        self,
        message: str = "",
        *,
        violations: Iterable[Violation] = (),
        reason: str = "",
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.violations = tuple(violations)
        listed = "; ".join(f"`{bad.field}` {bad.message}" for bad in self.violations)
        super().__init__(
            message or listed or "the request is invalid", reason=reason, metadata=metadata
        )


class Unauthenticated(PlacetError):
    """The server does not know who calls; give the client credentials it knows."""


class PermissionDenied(PlacetError):
    """The caller may not make this call. Not a decision about a subject."""


class NotFound(PlacetError):
    """The tenant or the item is not there."""


class Conflict(PlacetError):
    """What the call was based on has changed. Read it again and repeat the change on it."""

    def __init__(
        self,
        message: str,
        *,
        expected: int | None = None,
        actual: int | None = None,
        reason: str = "",
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.expected = expected
        """The revision the caller expected, where that was the conflict."""
        self.actual = actual
        """The revision it met."""


class OutOfRange(PlacetError):
    """A revision that is no longer, or not yet, there."""


class CursorCompacted(OutOfRange):
    """The changes that were asked for are no longer kept. Start from the current state."""


@dataclass(frozen=True, slots=True)
class Precondition:
    """One thing that would have to be otherwise for the call to succeed."""

    type: str
    subject: str
    description: str


class FailedPrecondition(PlacetError):
    """The call cannot succeed in this state, or not on this node."""

    def __init__(
        self,
        message: str,
        *,
        preconditions: Iterable[Precondition] = (),
        reason: str = "",
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.preconditions = tuple(preconditions)


class WrongRegion(FailedPrecondition):
    """The tenant's data may not be at this node. The route says where it may."""

    def __init__(
        self,
        message: str,
        *,
        route: Route | None = None,
        region: str = "",
        preconditions: Iterable[Precondition] = (),
        reason: str = "",
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message, preconditions=preconditions, reason=reason, metadata=metadata)
        self.route = route
        """Where to go, best first. None: nowhere, no region is allowed."""
        self.region = region
        """The region of the node that refused."""


class RegionForbidden(FailedPrecondition):
    """The tenant's data may not come to the region that the caller said it is in, or to nowhere."""


class CouldNotDecide(PlacetError):
    """No decision came although the request may be good. Neither an allow nor a denial."""


class StaleNode(FailedPrecondition, CouldNotDecide):
    """What would decide knows less than the maximum staleness allows. Ask another, or later."""


class Unavailable(CouldNotDecide):
    """Nobody answers, or the node is starting or stopping. Safe to try again."""

    def __init__(
        self,
        message: str,
        *,
        retry_after: timedelta | None = None,
        reason: str = "",
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.retry_after = retry_after


class DeadlineExceeded(CouldNotDecide):
    """The answer did not come in time. What was asked for may have happened."""


class ResourceExhausted(CouldNotDecide):
    """A limit was hit, or the server sheds load. Try again after ``retry_after``, if given."""

    def __init__(
        self,
        message: str,
        *,
        retry_after: timedelta | None = None,
        reason: str = "",
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.retry_after = retry_after


class Unsupported(CouldNotDecide):
    """The server does not offer this call; it may be older than this client."""


class Internal(CouldNotDecide):
    """The server failed, or sent what cannot be right."""


class DecisionError(CouldNotDecide):
    """Why one request out of several was not decided.

    Batches and streams put it where the decision would be. It is falsy and
    never ``allowed``, so that code which only asks for that does not take it
    for an allow.
    """

    def __init__(self, message: str, *, code: str, reason: str = "", field: str = "") -> None:
        super().__init__(message, reason=reason)
        self.code = code
        """Name of the gRPC status code it would be on a call of its own."""
        self.field = field
        """Path of the offending field within the request, where there is one."""

    @property
    def allowed(self) -> bool:
        """Whether the action may happen: never."""
        return False

    def __bool__(self) -> bool:
        return False


class NotAllowed(PlacetError):
    """The action must not happen now."""

    def __init__(self, message: str, decision: Decision) -> None:
        super().__init__(message)
        self.decision = decision


class Denied(NotAllowed):
    """The decision is a denial."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(f"denied{_because(decision)}", decision)


class ApprovalRequired(NotAllowed):
    """Allowed as soon as somebody in one of ``decision.approval_groups`` says yes."""

    def __init__(self, decision: Decision) -> None:
        groups = ", ".join(f"`{group}`" for group in decision.approval_groups)
        super().__init__(f"needs an approval by {groups or 'somebody'}", decision)


class UnknownObligation(NotAllowed):
    """Allowed on a condition that the caller does not understand, hence denied."""

    def __init__(self, decision: Decision, obligation: str) -> None:
        super().__init__(
            f"allowed with obligation `{obligation}`, which is not understood here; "
            "give a handler for it, or name it in `understands`",
            decision,
        )
        self.obligation = obligation


def _because(decision: Decision) -> str:
    if not decision.reasons:
        return f": {decision.cause.name.lower().replace('_', ' ')}"
    policies = (
        f"`{reason.policy_id}`" + (f" ({reason.message})" if reason.message else "")
        for reason in decision.reasons
    )
    return f" by {', '.join(policies)}"
