"""Judges requests in another way than the engine does, to compare the two.

Each policy is put to Cedar alone, as plain text, with all entities there are.
What comes of it is found by ranking: every policy gives one vote, and the
strongest vote wins. Nothing of the engine is used but the words for answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cedarpy

from placet_engine.model import (
    Cause,
    Entity,
    EntityUid,
    Layer,
    LogOnlyReport,
    Outcome,
    PolicyError,
    Reason,
    Request,
    Verdict,
)
from tests.property.strategies import Case, PlainPolicy

_STRENGTH = [
    Cause.FORBIDDEN,
    Cause.FORBID_ERROR,
    Cause.PERMITTED,
    Cause.APPROVED,
    Cause.APPROVAL_NEEDED,
    Cause.NO_PERMIT,
]
_OUTCOME = {
    Cause.FORBIDDEN: Outcome.DENY,
    Cause.FORBID_ERROR: Outcome.DENY,
    Cause.PERMITTED: Outcome.ALLOW,
    Cause.APPROVED: Outcome.ALLOW,
    Cause.APPROVAL_NEEDED: Outcome.REQUIRES_APPROVAL,
    Cause.NO_PERMIT: Outcome.DENY,
}


@dataclass(frozen=True, slots=True)
class Vote:
    """What one policy says about a request by itself."""

    policy: PlainPolicy
    matched: bool
    error: str


def judge(case: Case, request: Request) -> Verdict:
    """Decide one request of a case."""
    entities = everything(case.stored, request.entities)
    return count([_vote(policy, request, entities, case.schema) for policy in case.plain], request)


def count(votes: Sequence[Vote], request: Request) -> Verdict:
    """Decide by the votes of all policies."""
    able = [vote for vote in votes if _is_able(vote.policy)]
    real = _count([vote for vote in able if not vote.policy.log_only], request)
    would_be = _count(able, request)
    if (real.outcome, real.obligations) == (would_be.outcome, would_be.obligations):
        return real
    named = [vote.policy for vote in _winners(able, request)[1] if vote.policy.log_only]
    return Verdict(
        outcome=real.outcome,
        cause=real.cause,
        reasons=real.reasons,
        obligations=real.obligations,
        errors=real.errors,
        approval_groups=real.approval_groups,
        log_only=LogOnlyReport(would_be.outcome, _reasons(named)),
    )


def cedars_own_answer(case: Case, request: Request) -> tuple[bool, set[str]]:
    """Ask Cedar about all enforced policies at once: whether it allows, and for which of them."""
    counting = [policy for policy in case.plain if _is_able(policy) and not policy.log_only]
    result = _ask(
        "\n".join(policy.cedar for policy in counting),
        request,
        everything(case.stored, request.entities),
        case.schema,
    )
    reasons = {counting[int(name.removeprefix("policy"))].id for name in result.diagnostics.reasons}
    return result.allowed, reasons


def everything(stored: Iterable[Entity], sent: Iterable[Entity]) -> list[dict[str, object]]:
    """Merge all entities there are, what is stored over what was sent."""
    merged: dict[EntityUid, dict[str, object]] = {}
    for entity in (*sent, *stored):
        known = merged.get(entity.uid, {"attrs": {}, "tags": {}, "parents": []})
        parents = [parent.to_json() for parent in entity.parents]
        merged[entity.uid] = {
            "uid": entity.uid.to_json(),
            "attrs": _over(known["attrs"], entity.attributes),
            "tags": _over(known["tags"], entity.tags),
            "parents": [*known["parents"], *(p for p in parents if p not in known["parents"])],  # type: ignore[operator,misc]
        }
    return list(merged.values())


def _over(known: object, stronger: object) -> dict[str, object]:
    assert isinstance(known, dict)
    assert isinstance(stronger, dict)
    return {**known, **stronger}


def _is_able(policy: PlainPolicy) -> bool:
    return not policy.permits or policy.layer in (Layer.PLATFORM, Layer.TENANT)


def _vote(
    policy: PlainPolicy, request: Request, entities: list[dict[str, object]], schema: str
) -> Vote:
    result = _ask(policy.cedar, request, entities, schema)
    errors = result.diagnostics.errors
    assert len(errors) <= 1
    error = errors[0].removeprefix("error while evaluating policy `policy0`: ") if errors else ""
    return Vote(policy, bool(result.diagnostics.reasons), error)


def _ask(
    cedar: str, request: Request, entities: list[dict[str, object]], schema: str
) -> cedarpy.AuthzResult:
    result = cedarpy.is_authorized(
        {
            "principal": request.subject.to_json(),
            "action": request.action.to_json(),
            "resource": request.resource.to_json(),
            "context": json.dumps(request.context),
        },
        cedar,
        json.dumps(entities),
        schema or None,
    )
    assert result.decision is not cedarpy.Decision.NoDecision, result.diagnostics.errors
    return result


def _cause(vote: Vote, request: Request) -> Cause:
    if not vote.policy.permits:
        if vote.matched:
            return Cause.FORBIDDEN
        return Cause.FORBID_ERROR if vote.error else Cause.NO_PERMIT
    if not vote.matched:
        return Cause.NO_PERMIT
    if not vote.policy.approval_groups:
        return Cause.PERMITTED
    return Cause.APPROVED if request.approved else Cause.APPROVAL_NEEDED


def _winners(votes: Sequence[Vote], request: Request) -> tuple[Cause, list[Vote]]:
    causes = [_cause(vote, request) for vote in votes]
    strongest = min([*causes, Cause.NO_PERMIT], key=_STRENGTH.index)
    return strongest, [
        vote for vote, cause in zip(votes, causes, strict=True) if cause is strongest
    ]


def _count(votes: Sequence[Vote], request: Request) -> Verdict:
    cause, winners = _winners(votes, request)
    errors = [(vote.policy.layer, vote.policy.id, vote.error) for vote in votes if vote.error]
    # A policy that failed is an error and no reason; one that said nothing is neither.
    named = [vote.policy for vote in winners if vote.matched]
    asks = cause is Cause.APPROVAL_NEEDED
    return Verdict(
        outcome=_OUTCOME[cause],
        cause=cause,
        reasons=_reasons(named),
        obligations=tuple(sorted(frozenset().union(*(policy.obligations for policy in named)))),
        errors=tuple(PolicyError(id_, layer, error) for layer, id_, error in sorted(errors)),
        approval_groups=tuple(
            sorted(frozenset().union(*(policy.approval_groups for policy in named if asks)))
        ),
    )


def _reasons(policies: Iterable[PlainPolicy]) -> tuple[Reason, ...]:
    ordered = sorted(policies, key=lambda policy: (policy.layer, policy.id))
    return tuple(Reason(policy.id, policy.layer, policy.message) for policy in ordered)
