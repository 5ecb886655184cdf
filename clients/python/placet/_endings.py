"""Why a stream ended, and what that means for the next one. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from placet._errors import (
    FailedPrecondition,
    Internal,
    InvalidRequest,
    NotFound,
    OutOfRange,
    PermissionDenied,
    PlacetError,
    RegionForbidden,
    StaleNode,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from placet._mirror import MirrorBroken
from placet.v1 import subscribe_service_pb2


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a stream ended and what that means for the next one."""

    error: PlacetError
    starts_over: bool = False
    is_fault: bool = False
    """Whether trying again will hardly help."""
    is_final: bool = False
    """Whether there is no point in trying at all if nothing is held yet."""
    wait_s: float = 0.0
    forgets: bool = False
    """Whether what is held may not be kept."""


def after_error(error: PlacetError) -> Ending:
    """Say what an error of the call means for the next stream."""
    retry_after = getattr(error, "retry_after", None)
    is_fault = isinstance(error, _FAULTS) and not isinstance(error, StaleNode)
    return Ending(
        error,
        starts_over=isinstance(error, _CURSOR_ERRORS),
        is_fault=is_fault,
        is_final=is_fault,
        wait_s=retry_after.total_seconds() if retry_after else 0.0,
        forgets=isinstance(error, RegionForbidden),
    )


# Errors about the subscriber or its request. Another try meets them again, until somebody
# changes something on the server.
_FAULTS = (
    InvalidRequest,
    Unauthenticated,
    PermissionDenied,
    NotFound,
    FailedPrecondition,
    Unsupported,
)
# Errors that a cursor can cause. Without it, they may go away.
_CURSOR_ERRORS = (OutOfRange, InvalidRequest)


def after_break(broken: MirrorBroken) -> Ending:
    """Say what goes on when what came does not fit what is held."""
    return Ending(
        Internal(f"{broken}; asking for a new snapshot"),
        starts_over=True,
        is_fault=not broken.is_gap,
    )


def after_reset(message: subscribe_service_pb2.ResetRequired) -> Ending:
    """Say what goes on when the server cannot."""
    why = _RESETS.get(message.reason, "for a reason not known here")
    return Ending(Unavailable(f"the server asked to start over: {why}"), starts_over=True)


_RESETS: dict[int, str] = {
    subscribe_service_pb2.ResetRequired.REASON_COMPACTED: "the changes are no longer kept",
    subscribe_service_pb2.ResetRequired.REASON_SLOW_READER: "this subscriber was too slow",
    subscribe_service_pb2.ResetRequired.REASON_UNKNOWN_CURSOR: "the cursor is of another store",
}


def after_go_away(message: subscribe_service_pb2.GoAway) -> Ending:
    """Say what goes on when the node is about to stop: the cursor stays good elsewhere."""
    wait_s = message.retry_after.ToTimedelta().total_seconds()
    return Ending(Unavailable("the node is about to stop"), wait_s=wait_s)
