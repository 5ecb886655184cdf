"""Rollout plans and what else rollouts are steered by, put onto the wire."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TypedDict

from google.protobuf import duration_pb2, timestamp_pb2

from placet._policies import ChangeSet
from placet._publishing import change_set_to_wire
from placet._requests import tenant_to_wire
from placet._rollouts import (
    Canary,
    Guard,
    Immediate,
    Manual,
    Rollout,
    RolloutPlan,
    RolloutState,
    Scheduled,
)
from placet._values import refusal, text_to_wire
from placet.v1 import rollout_pb2, rollout_service_pb2


class Steering(TypedDict):
    """What the requests that change a rollout have in common."""

    tenant: str
    rollout_id: str
    etag: str
    message: str
    request_id: str


def start_request(
    tenant: str | None,
    change_set: ChangeSet | None,
    restore_revision: int | None,
    plan: RolloutPlan | None,
    *,
    expected_revision: int | None,
    message: str,
    request_id: str | None,
) -> rollout_service_pb2.StartRolloutRequest:
    """Return a start as a message; it always gets a request id, so that retries are harmless."""
    if (change_set is None) is (restore_revision is None):
        raise refusal("change_set", "or `restore_revision`: pass one of them, and not both")
    request = rollout_service_pb2.StartRolloutRequest(
        tenant=tenant_to_wire(tenant),
        change_set=change_set_to_wire(change_set) if change_set is not None else None,
        plan=plan_to_wire(plan, "plan") if plan is not None else None,
        expected_revision=expected_revision,
        message=text_to_wire(message, "message"),
        request_id=text_to_wire(request_id or uuid.uuid4().hex, "request_id"),
    )
    if restore_revision is not None:
        request.restore_revision = restore_revision
    return request


def steering(
    tenant: str | None,
    default_tenant: str | None,
    rollout: Rollout | str,
    *,
    message: str,
    request_id: str | None,
) -> Steering:
    """Return what names a rollout: as it was read, or whatever has become of it, by its id."""
    if tenant is None:
        tenant = rollout.tenant if isinstance(rollout, Rollout) else default_tenant
    return Steering(
        tenant=tenant_to_wire(tenant),
        rollout_id=rollout.id if isinstance(rollout, Rollout) else text_to_wire(rollout, "rollout"),
        etag=rollout.etag if isinstance(rollout, Rollout) else "",
        message=text_to_wire(message, "message"),
        request_id=text_to_wire(request_id or uuid.uuid4().hex, "request_id"),
    )


def list_request(
    tenant: str | None, states: Iterable[RolloutState], page_size: int
) -> rollout_service_pb2.ListRolloutsRequest:
    """Return a request for a tenant's rollouts as a message."""
    return rollout_service_pb2.ListRolloutsRequest(
        tenant=tenant_to_wire(tenant),
        states=[rollout_pb2.RolloutState.ValueType(state.value) for state in states],
        page_size=page_size,
    )


def plan_to_wire(plan: RolloutPlan, path: str) -> rollout_pb2.RolloutPlan:
    """Return a plan as a message; what it leaves open is left to the server."""
    message = rollout_pb2.RolloutPlan()
    match plan:
        case Immediate():
            message.immediate.SetInParent()
        case Canary():
            message.canary.unit = rollout_pb2.CanaryUnit.ValueType(plan.unit.value)
            message.canary.steps.extend(
                rollout_pb2.CanaryStep(
                    share_percent=share_percent,
                    bake_time=_duration(bake_time) if bake_time is not None else None,
                )
                for share_percent, bake_time in plan.steps
            )
        case Scheduled():
            start_time = _timestamp(plan.start_time, f"{path}.start_time")
            message.scheduled.start_time.CopyFrom(start_time)
        case Manual():
            message.manual.SetInParent()
            message.manual.approver_groups.extend(
                text_to_wire(group, f"{path}.approver_groups") for group in plan.approver_groups
            )
            if plan.deadline is not None:
                message.manual.deadline.CopyFrom(_timestamp(plan.deadline, f"{path}.deadline"))
        case _:
            raise refusal(
                path, "is no plan; pass `Immediate`, `Canary`, `Scheduled` or `Manual` of placet"
            )
    message.guards.guards.extend(map(_guard_to_wire, plan.guards))
    if plan.shadow_percent is not None:
        message.guards.shadow_percent = plan.shadow_percent
    return message


def _guard_to_wire(guard: Guard) -> rollout_pb2.Guard:
    return rollout_pb2.Guard(
        kind=rollout_pb2.GuardKind.ValueType(guard.kind.value),
        threshold=guard.threshold,
        min_samples=guard.min_samples,
        disabled=guard.disabled,
    )


def _duration(span: timedelta) -> duration_pb2.Duration:
    message = duration_pb2.Duration()
    message.FromTimedelta(span)
    return message


def _timestamp(time: datetime, path: str) -> timestamp_pb2.Timestamp:
    if time.utcoffset() is None:
        raise refusal(
            path, "is a datetime without a time zone; give it one, such as `datetime.UTC`"
        )
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(time)
    return message
