"""Requests whose answer a candidate changes, both ways: as messages, and as they are kept."""

from __future__ import annotations

from dataclasses import asdict

import grpc

from placet.v1 import decision_pb2, evaluate_service_pb2, rollout_pb2
from placet_engine.model import Cause, Layer, Outcome
from placet_server.api.decision_records import read_asked
from placet_server.api.recorded_requests import request_of_asked
from placet_server.rollouts.shadow import Document
from placet_server.telemetry.decision_log.records import AskedRequest


def changed_answer_to_wire(example: Document) -> rollout_pb2.ChangedAnswer:
    """Return an example as a message."""
    return rollout_pb2.ChangedAnswer(
        request=request_of_asked(example["tenant"], AskedRequest(**example["request"])),
        stable=_result(example["stable"]),
        candidate=_result(example["candidate"]),
    )


def changed_answer_from_wire(message: rollout_pb2.ChangedAnswer) -> Document:
    """Read an example that another node has sent, masked there.

    Raises:
        Malformed: its request is none.
    """
    return {
        "tenant": message.request.tenant,
        "request": asdict(read_asked(message.request)),
        "stable": _answer(message.stable),
        "candidate": _answer(message.candidate),
    }


def _result(answer: Document) -> evaluate_service_pb2.BatchResult:
    if "outcome" not in answer:
        error = decision_pb2.DecisionError(
            code=grpc.StatusCode.INVALID_ARGUMENT.value[0],
            reason=answer["reason"],
            message=answer["message"],
        )
        return evaluate_service_pb2.BatchResult(error=error)
    decision = decision_pb2.Decision(
        outcome=Outcome[answer["outcome"]].value,  # type: ignore[arg-type]
        cause=Cause[answer["cause"]].value,  # type: ignore[arg-type]
        obligations=answer["obligations"],
    )
    for reason in answer["reasons"]:
        decision.reasons.add(policy_id=reason["policy_id"], layer=Layer[reason["layer"]].value)
    for error in answer["errors"]:
        decision.errors.add(policy_id=error["policy_id"], layer=Layer[error["layer"]].value)
    return evaluate_service_pb2.BatchResult(decision=decision)


def _answer(result: evaluate_service_pb2.BatchResult) -> Document:
    if not result.HasField("decision"):
        return {"reason": result.error.reason, "message": result.error.message}
    decision = result.decision
    return {
        "outcome": Outcome(decision.outcome).name,
        "cause": Cause(decision.cause).name,
        "reasons": [_policy(reason.policy_id, reason.layer) for reason in decision.reasons],
        "errors": [_policy(error.policy_id, error.layer) for error in decision.errors],
        "obligations": list(decision.obligations),
    }


def _policy(id_: str, layer: int) -> Document:
    return {"policy_id": id_, "layer": Layer(layer).name}
