"""Asking what comes on standard input, one after the other."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any

import grpc.aio
from google.protobuf import json_format

import placet
from placet.v1 import decision_pb2, evaluate_service_pb2, value_pb2
from tests.polyglot.python.lines import tell

TIMEOUT_S = 10.0


async def run(target: str) -> None:
    """Answer line by line until there are no more."""
    async with placet.aio.Client(target, timeout_s=TIMEOUT_S) as client:
        while line := await asyncio.to_thread(sys.stdin.readline):
            asked = json.loads(line)
            message = evaluate_service_pb2.EvaluateRequest()
            json_format.ParseDict(asked["request"], message)
            try:
                decision = await ask(client, message)
            except placet.PlacetError as error:
                tell(id=asked["id"], error=told(error))
            else:
                response = evaluate_service_pb2.EvaluateResponse(decision=to_wire(decision))
                tell(id=asked["id"], response=json_format.MessageToDict(response))


async def ask(
    client: placet.aio.Client,
    message: evaluate_service_pb2.EvaluateRequest,
    *,
    timeout_s: float | None = None,
) -> placet.Decision:
    """Ask what a message says, as a caller of the SDK writes it."""
    subject, action, resource = message.subject, message.action, message.resource
    return await client.evaluate(
        placet.Subject(subject.type, subject.id, _attributes(subject.properties)),
        placet.Action(action.name, action.type, _attributes(action.properties)),
        placet.Resource(resource.type, resource.id, _attributes(resource.properties)),
        _attributes(message.context),
        tenant=message.tenant,
        entities=[_entity(entity) for entity in message.entities],
        permit=message.permit,
        min_revision=message.min_revision,
        timeout_s=timeout_s,
    )


def _attributes(messages: Mapping[str, value_pb2.Value]) -> dict[str, placet.Value]:
    return {name: _value(message) for name, message in messages.items()}


def _value(message: value_pb2.Value) -> placet.Value:
    """Return a value as a caller writes it who takes care of every character of it."""
    match message.WhichOneof("kind"):
        case "bool_value":
            return message.bool_value
        case "int_value":
            return message.int_value
        case "string_value":
            return message.string_value
        case "set_value":
            return [_value(element) for element in message.set_value.elements]
        case "record_value":
            return _attributes(message.record_value.fields)
        case "entity_value":
            return _ref(message.entity_value)
        case "extension_value":
            written = message.extension_value
            arguments = tuple(map(_value, written.arguments))
            return placet.Extension(written.function, written.argument, arguments)
        case kind:
            raise ValueError(f"there is no value of kind {kind}")


def _ref(message: value_pb2.EntityUid) -> placet.EntityRef:
    return placet.EntityRef(message.type, message.id)


def _entity(message: value_pb2.Entity) -> placet.Entity:
    return placet.Entity(
        uid=_ref(message.uid),
        attributes=_attributes(message.attributes),
        parents=tuple(map(_ref, message.parents)),
        tags=_attributes(message.tags),
    )


def told(error: placet.PlacetError) -> dict[str, Any]:
    """Return an error as drivers tell it."""
    return {
        "code": code_of(error),
        "reason": error.reason,
        "message": error.message,
        "fields": [violation.field for violation in error.violations]
        if isinstance(error, placet.InvalidRequest)
        else [],
    }


def code_of(error: placet.PlacetError) -> str:
    """Return the name of the status code that became an error, or would have."""
    cause = error.__cause__
    if isinstance(cause, grpc.aio.AioRpcError):
        return str(cause.code().name)
    return "INVALID_ARGUMENT" if isinstance(error, placet.InvalidRequest) else "UNKNOWN"


def to_wire(decision: placet.Decision) -> decision_pb2.Decision:
    """Return a decision as the server sent it."""
    message = decision_pb2.Decision(
        outcome=_outcome(decision.outcome),
        cause=decision_pb2.Cause.ValueType(decision.cause.value),
        reasons=map(_reason, decision.reasons),
        obligations=decision.obligations,
        errors=(
            decision_pb2.PolicyError(
                policy_id=error.policy_id,
                layer=decision_pb2.Layer.ValueType(error.layer.value),
                message=error.message,
            )
            for error in decision.errors
        ),
        decision_id=decision.decision_id,
        revision=decision.revision,
        cached=decision.cached,
        region=decision.region,
        node=decision.node,
        rollout_variant=decision.rollout_variant,
    )
    message.staleness.FromTimedelta(decision.staleness)
    if decision.approval_groups:
        message.approval.groups.extend(decision.approval_groups)
    if decision.log_only is not None:
        message.log_only.outcome = _outcome(decision.log_only.outcome)
        message.log_only.reasons.extend(map(_reason, decision.log_only.reasons))
    return message


def _outcome(outcome: placet.Outcome) -> decision_pb2.Outcome.ValueType:
    return decision_pb2.Outcome.ValueType(outcome.value)


def _reason(reason: placet.Reason) -> decision_pb2.Reason:
    return decision_pb2.Reason(
        policy_id=reason.policy_id,
        layer=decision_pb2.Layer.ValueType(reason.layer.value),
        message=reason.message,
    )
