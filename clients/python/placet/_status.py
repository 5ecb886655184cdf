"""Which exception a status of the wire becomes.

Details are ``google.rpc``'s (ErrorInfo, BadRequest, RetryInfo, PreconditionFailure) and our own
ResidencyRefusal. Reasons count only under our own domain, so that those of a proxy in between are
not mistaken for the server's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from placet import _convert as convert
from placet._errors import (
    Conflict,
    CursorCompacted,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidRequest,
    NotFound,
    OutOfRange,
    PermissionDenied,
    PlacetError,
    Precondition,
    RegionForbidden,
    ResourceExhausted,
    StaleNode,
    Unauthenticated,
    Unavailable,
    Unsupported,
    Violation,
    WrongRegion,
)
from placet._topology import Route
from placet.v1 import topology_pb2

DOMAIN = "placet.dev"


@dataclass(slots=True)
class _Details:
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    preconditions: list[Precondition] = field(default_factory=list)
    retry_after: timedelta | None = None
    region: str = ""
    route: Route | None = None


def from_rpc_error(error: grpc.RpcError) -> PlacetError:
    """Return the exception for a call that failed. Raise it ``from`` the error."""
    # Every error of a call is a call as well, which the types do not say.
    call: Any = error
    code: grpc.StatusCode = call.code()
    message: str = call.details() or code.name.lower().replace("_", " ")
    return _BY_CODE.get(code, _internal)(message, _details(call))


def _details(call: Any) -> _Details:
    found = _Details()
    try:
        status = rpc_status.from_call(call)
    except ValueError:
        # The details contradict the status they came with: believe the status.
        status = None
    for packed in status.details if status is not None else ():
        for message_type, read in _READERS.items():
            if packed.Is(message_type.DESCRIPTOR):
                message = message_type()
                packed.Unpack(message)
                read(found, message)
    return found


def _read_info(found: _Details, info: Any) -> None:
    if info.domain == DOMAIN:
        found.reason = info.reason
        found.metadata = dict(info.metadata)


def _read_violations(found: _Details, bad_request: Any) -> None:
    found.violations += (
        Violation(violation.field, violation.description)
        for violation in bad_request.field_violations
    )


def _read_preconditions(found: _Details, failure: Any) -> None:
    found.preconditions += (
        Precondition(violation.type, violation.subject, violation.description)
        for violation in failure.violations
    )


def _read_retry(found: _Details, retry: Any) -> None:
    found.retry_after = retry.retry_delay.ToTimedelta()


def _read_refusal(found: _Details, refusal: topology_pb2.ResidencyRefusal) -> None:
    found.region = refusal.region
    if refusal.HasField("route"):
        found.route = convert.route(refusal.route)


_READERS: dict[Any, Callable[[_Details, Any], None]] = {
    error_details_pb2.ErrorInfo: _read_info,
    error_details_pb2.BadRequest: _read_violations,
    error_details_pb2.PreconditionFailure: _read_preconditions,
    error_details_pb2.RetryInfo: _read_retry,
    topology_pb2.ResidencyRefusal: _read_refusal,
}


def _invalid(message: str, details: _Details) -> PlacetError:
    return InvalidRequest(
        message, violations=details.violations, reason=details.reason, metadata=details.metadata
    )


def _conflict(message: str, details: _Details) -> PlacetError:
    return Conflict(
        message,
        expected=_number(details.metadata.get("expected")),
        actual=_number(details.metadata.get("actual")),
        reason=details.reason,
        metadata=details.metadata,
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _failed_precondition(message: str, details: _Details) -> PlacetError:
    if details.reason == "WRONG_REGION":
        return WrongRegion(
            message,
            route=details.route,
            region=details.region,
            preconditions=details.preconditions,
            reason=details.reason,
            metadata=details.metadata,
        )
    kind = _PRECONDITIONS.get(details.reason, FailedPrecondition)
    return kind(
        message,
        preconditions=details.preconditions,
        reason=details.reason,
        metadata=details.metadata,
    )


_PRECONDITIONS = {"NODE_STALE": StaleNode, "REGION_FORBIDDEN": RegionForbidden}


def _out_of_range(message: str, details: _Details) -> PlacetError:
    kind = CursorCompacted if details.reason in _COMPACTED else OutOfRange
    return kind(message, reason=details.reason, metadata=details.metadata)


_COMPACTED = frozenset({"CURSOR_COMPACTED", "REVISION_COMPACTED"})


def _later(kind: type[Unavailable | ResourceExhausted]) -> Callable[[str, _Details], PlacetError]:
    def make(message: str, details: _Details) -> PlacetError:
        return kind(
            message,
            retry_after=details.retry_after,
            reason=details.reason,
            metadata=details.metadata,
        )

    return make


def _plain(kind: type[PlacetError]) -> Callable[[str, _Details], PlacetError]:
    def make(message: str, details: _Details) -> PlacetError:
        return kind(message, reason=details.reason, metadata=details.metadata)

    return make


_internal = _plain(Internal)

_BY_CODE: dict[grpc.StatusCode, Callable[[str, _Details], PlacetError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: _invalid,
    grpc.StatusCode.UNAUTHENTICATED: _plain(Unauthenticated),
    grpc.StatusCode.PERMISSION_DENIED: _plain(PermissionDenied),
    grpc.StatusCode.NOT_FOUND: _plain(NotFound),
    grpc.StatusCode.ABORTED: _conflict,
    grpc.StatusCode.ALREADY_EXISTS: _conflict,
    grpc.StatusCode.OUT_OF_RANGE: _out_of_range,
    grpc.StatusCode.FAILED_PRECONDITION: _failed_precondition,
    grpc.StatusCode.UNAVAILABLE: _later(Unavailable),
    # The other side, or a proxy, gave up on the call.
    grpc.StatusCode.CANCELLED: _later(Unavailable),
    grpc.StatusCode.DEADLINE_EXCEEDED: _plain(DeadlineExceeded),
    grpc.StatusCode.RESOURCE_EXHAUSTED: _later(ResourceExhausted),
    grpc.StatusCode.UNIMPLEMENTED: _plain(Unsupported),
    grpc.StatusCode.INTERNAL: _internal,
    grpc.StatusCode.UNKNOWN: _internal,
    grpc.StatusCode.DATA_LOSS: _internal,
}
