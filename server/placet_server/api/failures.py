"""The one table from exceptions to status codes, with machine-readable details."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from placet.v1 import decision_pb2
from placet.wire import Malformed, Violation, duration
from placet_engine.model import Undecidable
from placet_engine.placement.routing import NoRegionAllowed
from placet_server import errors
from placet_server.api.routes import refusal_to_wire
from placet_server.identity.refusals import CredentialsRefused
from placet_server.regions.announcing import RegistrarAway
from placet_server.store import contract

log = logging.getLogger(__name__)

DOMAIN = "placet.dev"

_RETRY_SOON_S = 1


class BadMessage(Exception):
    """Bytes that are not the message the method takes."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the request cannot be read ({why}); send this method's message as protobuf, with "
            "strings in utf-8 and values nested less than 25 deep"
        )


class MessageTooLarge(Exception):
    """More bytes than the method takes."""

    def __init__(self, size: int, max_size: int) -> None:
        super().__init__(
            f"the request has {size} bytes and this method takes {max_size}; send less at a time"
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """How one exception looks on the wire."""

    code: grpc.StatusCode
    reason: str
    """Stable upper-case identifier."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[Violation, ...] = ()
    retry_after_s: float = 0.0
    detail: Message | None = None
    """What this one failure has to say beside the rest."""


def _malformed(error: Malformed) -> Failure:
    return Failure(
        grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_MALFORMED", violations=error.violations
    )


def _change_set(error: errors.ChangeSetRefused) -> Failure:
    return Failure(
        grpc.StatusCode.INVALID_ARGUMENT,
        error.problems[0].reason,
        violations=tuple(Violation(found.field, found.message) for found in error.problems),
    )


def _undecided(error: errors.Undecided) -> Failure:
    undecidable = error.undecidable
    return Failure(
        grpc.StatusCode.INVALID_ARGUMENT,
        undecidable.reason,
        violations=(Violation(undecidable.field or "request", undecidable.message),),
    )


def _stale(error: errors.NodeStale) -> Failure:
    return Failure(
        grpc.StatusCode.FAILED_PRECONDITION,
        "NODE_STALE",
        {
            "tenant": error.tenant,
            "staleness_s": f"{error.staleness_s:.3f}",
            "max_staleness_s": f"{error.max_staleness_s:g}",
        },
    )


def _not_a_control_node(error: errors.NotAControlNode) -> Failure:
    return Failure(
        grpc.StatusCode.FAILED_PRECONDITION,
        "NOT_A_CONTROL_NODE",
        {"control_nodes": ",".join(error.control_nodes)},
    )


def _conflict(error: contract.RevisionConflict) -> Failure:
    return Failure(
        grpc.StatusCode.ABORTED,
        "REVISION_CONFLICT",
        {"expected": str(error.expected), "actual": str(error.actual)},
    )


def _overloaded(error: errors.Overloaded) -> Failure:
    return Failure(
        grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", retry_after_s=error.retry_after_s
    )


def _tenant_limited(error: errors.TenantLimited) -> Failure:
    return Failure(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "TENANT_LIMIT",
        {"tenant": error.tenant, "decisions_per_second": f"{error.decisions_per_second:g}"},
        retry_after_s=error.retry_after_s,
    )


def _wrong_region(error: errors.WrongRegion) -> Failure:
    return Failure(
        grpc.StatusCode.FAILED_PRECONDITION,
        "WRONG_REGION",
        {"tenant": error.route.tenant, "region": error.region},
        detail=refusal_to_wire(error.route, region=error.region),
    )


def _about_tenant(
    code: grpc.StatusCode, reason: str
) -> Callable[[errors.RegionForbidden | errors.TenantHeld | errors.PlacementRefused], Failure]:
    return lambda error: Failure(code, reason, {"tenant": error.tenant})


def _under_way(error: errors.RolloutUnderWay) -> Failure:
    return Failure(
        grpc.StatusCode.FAILED_PRECONDITION,
        "ROLLOUT_UNDER_WAY",
        {"tenant": error.owner, "rollout_id": error.id},
    )


def _rollout_refused(error: errors.RolloutRefused) -> Failure:
    return Failure(grpc.StatusCode.FAILED_PRECONDITION, error.reason)


def _upstream_refused(error: errors.UpstreamRefused) -> Failure:
    return Failure(grpc.StatusCode.FAILED_PRECONDITION, error.reason)


def _node_id_taken(error: errors.NodeIdTaken) -> Failure:
    return Failure(
        grpc.StatusCode.ALREADY_EXISTS,
        "NODE_ID_TAKEN",
        {"node": error.id},
        retry_after_s=error.retry_after_s,
    )


def _always(
    code: grpc.StatusCode, reason: str, *, retry_after_s: float = 0.0
) -> Callable[[Exception], Failure]:
    return lambda error: Failure(code, reason, retry_after_s=retry_after_s)


def _unauthenticated(error: CredentialsRefused) -> Failure:
    return Failure(grpc.StatusCode.UNAUTHENTICATED, error.refusal.name)


_Code = grpc.StatusCode

# Every exception class that may leave a handler. `tests/wire/test_failures.py`
# walks the classes and fails on one that is not here.
TABLE: Mapping[type[Exception], Callable[..., Failure]] = {
    BadMessage: _always(_Code.INVALID_ARGUMENT, "MESSAGE_UNREADABLE"),
    MessageTooLarge: _always(_Code.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE"),
    Malformed: _malformed,
    errors.ChangeSetRefused: _change_set,
    errors.Undecided: _undecided,
    errors.PageTokenRefused: _always(_Code.ABORTED, "PAGE_TOKEN_REFUSED"),
    errors.CursorRefused: _always(_Code.INVALID_ARGUMENT, "CURSOR_REFUSED"),
    errors.TenantUnknown: _always(_Code.NOT_FOUND, "TENANT_UNKNOWN"),
    errors.WrongRegion: _wrong_region,
    errors.RegionForbidden: _about_tenant(_Code.FAILED_PRECONDITION, "REGION_FORBIDDEN"),
    errors.TenantHeld: _about_tenant(_Code.FAILED_PRECONDITION, "TENANT_HELD"),
    errors.TenantChanged: _always(_Code.ABORTED, "TENANT_CHANGED"),
    errors.PlacementRefused: _about_tenant(_Code.FAILED_PRECONDITION, "PLACEMENT_REFUSED"),
    errors.RegionUnknown: _always(_Code.NOT_FOUND, "REGION_UNKNOWN"),
    NoRegionAllowed: _always(_Code.FAILED_PRECONDITION, "NO_REGION_ALLOWED"),
    errors.ItemUnknown: _always(_Code.NOT_FOUND, "ITEM_UNKNOWN"),
    errors.NodeStale: _stale,
    errors.NodeNotReady: _always(_Code.UNAVAILABLE, "NODE_NOT_READY", retry_after_s=_RETRY_SOON_S),
    errors.NotAControlNode: _not_a_control_node,
    errors.DeadlinePassed: _always(_Code.DEADLINE_EXCEEDED, "DEADLINE_PASSED"),
    errors.RevisionNotReached: _always(_Code.DEADLINE_EXCEEDED, "REVISION_NOT_REACHED"),
    errors.TooManySubscribers: _always(
        _Code.RESOURCE_EXHAUSTED, "TOO_MANY_SUBSCRIBERS", retry_after_s=_RETRY_SOON_S
    ),
    errors.Overloaded: _overloaded,
    errors.TenantLimited: _tenant_limited,
    errors.SlowReader: _always(_Code.RESOURCE_EXHAUSTED, "SLOW_READER"),
    errors.DecisionLogFull: _always(
        _Code.RESOURCE_EXHAUSTED, "DECISION_LOG_FULL", retry_after_s=_RETRY_SOON_S
    ),
    errors.RolloutUnknown: _always(_Code.NOT_FOUND, "ROLLOUT_UNKNOWN"),
    errors.RolloutUnderWay: _under_way,
    errors.RolloutRefused: _rollout_refused,
    errors.RolloutChanged: _always(_Code.ABORTED, "ROLLOUT_CHANGED"),
    errors.ApprovalRefused: _always(_Code.PERMISSION_DENIED, "APPROVAL_REFUSED"),
    CredentialsRefused: _unauthenticated,
    errors.NotAllowed: _always(_Code.PERMISSION_DENIED, "NOT_ALLOWED"),
    errors.ActorDiffers: _always(_Code.PERMISSION_DENIED, "ACTOR_DIFFERS"),
    errors.CallerChanged: _always(_Code.UNAVAILABLE, "CALLER_CHANGED"),
    errors.NodeUnknown: _always(_Code.NOT_FOUND, "NODE_UNKNOWN"),
    errors.NodeIdTaken: _node_id_taken,
    errors.NodeChanged: _always(_Code.ABORTED, "NODE_CHANGED"),
    errors.LeaseGone: _always(_Code.NOT_FOUND, "LEASE_GONE"),
    errors.UpstreamRefused: _upstream_refused,
    RegistrarAway: _always(_Code.UNAVAILABLE, "UPSTREAM_AWAY", retry_after_s=_RETRY_SOON_S),
    errors.UpstreamLoop: _always(_Code.FAILED_PRECONDITION, "UPSTREAM_LOOP"),
    errors.TooManyNodes: _always(_Code.RESOURCE_EXHAUSTED, "TOO_MANY_NODES"),
    errors.TooManyWatchers: _always(
        _Code.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHERS", retry_after_s=_RETRY_SOON_S
    ),
    errors.TooManyXdsClients: _always(
        _Code.RESOURCE_EXHAUSTED, "TOO_MANY_XDS_CLIENTS", retry_after_s=_RETRY_SOON_S
    ),
    errors.XdsClientRefused: _always(_Code.INVALID_ARGUMENT, "XDS_CLIENT_REFUSED"),
    errors.XdsRequestRefused: _always(_Code.INVALID_ARGUMENT, "XDS_REQUEST_REFUSED"),
    errors.Draining: _always(_Code.UNAVAILABLE, "DRAINING", retry_after_s=_RETRY_SOON_S),
    contract.RevisionConflict: _conflict,
    contract.RevisionCompacted: _always(_Code.OUT_OF_RANGE, "REVISION_COMPACTED"),
    contract.RevisionUnknown: _always(_Code.OUT_OF_RANGE, "REVISION_UNKNOWN"),
    contract.LeadershipLost: _always(_Code.ABORTED, "LEADERSHIP_LOST"),
    contract.StoreUnavailable: _always(
        _Code.UNAVAILABLE, "STORE_UNAVAILABLE", retry_after_s=_RETRY_SOON_S
    ),
    contract.StoreIncompatible: _always(_Code.FAILED_PRECONDITION, "STORE_INCOMPATIBLE"),
    contract.StoreDamaged: _always(_Code.DATA_LOSS, "STORE_DAMAGED"),
}


def failure_of(error: Exception) -> Failure:
    """Look an exception up in the table. What is not there is our mistake, and INTERNAL."""
    for known, describe in TABLE.items():
        if isinstance(error, known):
            return describe(error)
    log.error("a call failed unexpectedly", exc_info=error)
    return Failure(grpc.StatusCode.INTERNAL, "INTERNAL")


def to_status(error: Exception) -> grpc.Status:
    """Return the status, with details, that ends a call for which ``error`` was raised."""
    failure = failure_of(error)
    message = str(error)
    if failure.code is grpc.StatusCode.INTERNAL:
        # Whatever it says was not written for callers.
        message = "the server made a mistake; it is in the server's log"
    number: int = failure.code.value[0]
    status = status_pb2.Status(code=number, message=message, details=_details(failure))
    return rpc_status.to_status(status)


def to_decision_error(error: Exception) -> decision_pb2.DecisionError:
    """Return what stands in the place of one decision among several."""
    failure = failure_of(error)
    first = failure.violations[0] if failure.violations else None
    return decision_pb2.DecisionError(
        code=failure.code.value[0],
        reason=failure.reason,
        message=str(error) if failure.code is not grpc.StatusCode.INTERNAL else "",
        field=first.field if first else "",
    )


def undecidable_to_decision_error(undecidable: Undecidable) -> decision_pb2.DecisionError:
    """Return what stands in the place of a decision that could not be made."""
    return to_decision_error(errors.Undecided(undecidable))


# A caller that made this many mistakes is served by the first of them.
_MAX_VIOLATIONS = 50


def _details(failure: Failure) -> Iterable[any_pb2.Any]:
    yield _packed(
        error_details_pb2.ErrorInfo(reason=failure.reason, domain=DOMAIN, metadata=failure.metadata)
    )
    if failure.violations:
        yield _packed(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(
                        field=violation.field, description=violation.message
                    )
                    for violation in failure.violations[:_MAX_VIOLATIONS]
                ]
            )
        )
    if failure.code is grpc.StatusCode.FAILED_PRECONDITION:
        yield _packed(
            error_details_pb2.PreconditionFailure(
                violations=[
                    error_details_pb2.PreconditionFailure.Violation(
                        type=failure.reason, subject=failure.metadata.get("tenant", "")
                    )
                ]
            )
        )
    if failure.detail is not None:
        yield _packed(failure.detail)
    if failure.retry_after_s:
        yield _packed(error_details_pb2.RetryInfo(retry_delay=duration(failure.retry_after_s)))


def _packed(message: Message) -> any_pb2.Any:
    detail = any_pb2.Any()
    detail.Pack(message)
    return detail
