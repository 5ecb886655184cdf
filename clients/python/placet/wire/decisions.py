"""What the engine finds, as messages: decisions and problems."""

from __future__ import annotations

from placet.v1 import decision_pb2, policy_pb2
from placet.wire.positions import position_to_wire
from placet_engine import model


def verdict_to_wire(verdict: model.Verdict) -> decision_pb2.Decision:
    """Return what the engine says as a decision that nobody has put a name to yet."""
    message = decision_pb2.Decision(
        outcome=verdict.outcome.value,  # type: ignore[arg-type]
        cause=verdict.cause.value,  # type: ignore[arg-type]
        reasons=[_reason_to_wire(reason) for reason in verdict.reasons],
        obligations=verdict.obligations,
        errors=map(policy_error_to_wire, verdict.errors),
    )
    if verdict.approval_groups:
        message.approval.groups.extend(verdict.approval_groups)
    if verdict.log_only is not None:
        message.log_only.outcome = verdict.log_only.outcome.value  # type: ignore[assignment]
        message.log_only.reasons.extend(map(_reason_to_wire, verdict.log_only.reasons))
    return message


def policy_error_to_wire(error: model.PolicyError) -> decision_pb2.PolicyError:
    """Return a policy that failed as a message."""
    return decision_pb2.PolicyError(
        policy_id=error.policy_id,
        layer=error.layer.value,  # type: ignore[arg-type]
        message=error.message,
    )


def _reason_to_wire(reason: model.Reason) -> decision_pb2.Reason:
    return decision_pb2.Reason(
        policy_id=reason.policy_id,
        layer=reason.layer.value,  # type: ignore[arg-type]
        message=reason.message,
    )


def problem_to_wire(problem: model.Problem) -> policy_pb2.Problem:
    """Return a finding as a message."""
    return policy_pb2.Problem(
        severity=problem.severity.value,  # type: ignore[arg-type]
        reason=problem.reason,
        message=problem.message,
        field=problem.field,
        subject=problem.subject,
        position=position_to_wire(problem.position) if problem.position != model.NOWHERE else None,
    )
