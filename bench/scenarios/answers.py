"""Looks at answers: a decision must be one, and come from where the scenario says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from bench.failures import WrongAnswer
from placet.v1 import decision_pb2
from placet.v1 import evaluate_service_pb2 as pb

_TOLERANCE = 0.1

Check = Callable[[Sequence[bytes]], str]


def unary(*, cached: float) -> Check:
    """Expect answers of Evaluate, so many of them from the cache."""
    return lambda samples: _look(
        (pb.EvaluateResponse.FromString(sample[5:]).decision for sample in samples), cached
    )


def batch(*, cached: float) -> Check:
    """Expect answers of EvaluateBatch."""
    return lambda samples: _look(
        (
            result.decision
            for sample in samples
            for result in pb.EvaluateBatchResponse.FromString(sample[5:]).results
        ),
        cached,
    )


def stream(*, cached: float) -> Check:
    """Expect answers of EvaluateStream."""
    return lambda samples: _look(
        (pb.EvaluateStreamResponse.FromString(sample).decision for sample in samples), cached
    )


def _look(decisions: Iterable[decision_pb2.Decision], cached: float) -> str:
    outcomes, hits, count = set(), 0, 0
    for decision in decisions:
        outcomes.add(decision.outcome)
        hits += decision.cached
        count += 1
    if not count:
        return "no answer was sampled"
    if not outcomes <= {decision_pb2.OUTCOME_ALLOW, decision_pb2.OUTCOME_DENY}:
        raise WrongAnswer(f"outcomes {sorted(outcomes)} are not what the policies say")
    share = hits / count
    if abs(share - cached) > _TOLERANCE:
        raise WrongAnswer(f"{share:.0%} of the answers came from the cache, not {cached:.0%}")
    return f"{share:.0%} from the cache"
