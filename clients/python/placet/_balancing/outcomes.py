"""What the error of an attempt says of the endpoint, and whether another may do better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc

from placet._balancing.endpoints import Tiers, tiers_of
from placet._balancing.members import Fault
from placet._errors import PlacetError, ResourceExhausted, StaleNode, Unsupported, WrongRegion
from placet._status import from_rpc_error


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt failed."""

    error: PlacetError
    fault: Fault | None = None
    """The endpoint's fault. None: it answered, and it is the request or the node's state."""
    may_repeat: bool = False
    """Whether another endpoint may answer."""
    is_refusal: bool = False
    """Whether nothing was done: then also what must not be done twice may be repeated."""
    route: Tiers = ()
    """Where a node that may not serve the tenant says that one may."""


def outcome_of(rpc_error: grpc.RpcError) -> Outcome:
    """Read the error of an attempt."""
    # Every error of a call is a call as well, which the types do not say.
    call: Any = rpc_error
    code: grpc.StatusCode = call.code()
    error = from_rpc_error(rpc_error)
    match code:
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
            # With a reason it is the node that says so: it starts, or stops.
            has_reason = bool(error.reason)
            return Outcome(error=error, fault=Fault.BROKEN, may_repeat=True, is_refusal=has_reason)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            is_answer = bool(error.reason)
            return Outcome(error=error, fault=None if is_answer else Fault.SILENT, may_repeat=True)
        case grpc.StatusCode.INTERNAL | grpc.StatusCode.UNKNOWN | grpc.StatusCode.DATA_LOSS:
            return Outcome(error=error, fault=Fault.FAILED)
        case _:
            return _refusal(error)


def _refusal(error: PlacetError) -> Outcome:
    match error:
        case WrongRegion():
            route = tiers_of(error.route) if error.route is not None else ()
            return Outcome(error=error, is_refusal=True, route=route)
        case StaleNode() | Unsupported():
            # What has no store, or is of another version, may not offer what another does.
            return Outcome(error=error, may_repeat=True, is_refusal=True)
        case ResourceExhausted() if error.reason in _BUSY:
            return Outcome(error=error, may_repeat=True, is_refusal=True)
        case _:
            return Outcome(error=error)


# The node has too much to do. What a tenant may ask for (`TENANT_LIMIT`) is no less elsewhere.
_BUSY = frozenset({"OVERLOADED", "DECISION_LOG_FULL", "TOO_MANY_SUBSCRIBERS"})
