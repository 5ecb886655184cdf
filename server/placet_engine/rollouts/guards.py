"""What guards make of what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from placet_engine.rollouts.plan import Guard, GuardKind, Plan
from placet_engine.rollouts.record import GuardStatus, Reading

LATENCY_BOUNDS_S = tuple(1e-5 * 2 ** (place / 2) for place in range(41))
"""Upper bounds of the buckets that times are counted in, from 10 µs to 10 s; two an octave."""

_PERCENTILE = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What was measured of a candidate in one step. Counts are totals."""

    decisions: int = 0
    """Requests that were put to the candidate."""
    errors: int = 0
    """Those it could not decide, or a policy of it not, though the stable revision could."""
    latencies: Mapping[float, int] = field(default_factory=dict)
    """How often it took no longer than a bound and longer than the one before, in seconds."""
    shadowed: int = 0
    """Requests that both revisions decided, and how many each denied."""
    stable_denials: int = 0
    candidate_denials: int = 0
    changed_answers: int = 0

    def __add__(self, other: Samples) -> Samples:
        latencies = dict(self.latencies)
        for bound_s, count in other.latencies.items():
            latencies[bound_s] = latencies.get(bound_s, 0) + count
        return Samples(
            decisions=self.decisions + other.decisions,
            errors=self.errors + other.errors,
            latencies=latencies,
            shadowed=self.shadowed + other.shadowed,
            stable_denials=self.stable_denials + other.stable_denials,
            candidate_denials=self.candidate_denials + other.candidate_denials,
            changed_answers=self.changed_answers + other.changed_answers,
        )


def together(samples: Iterable[Samples]) -> Samples:
    """Add up what several nodes measured."""
    return sum(samples, Samples())


def read(plan: Plan, samples: Samples, *, rejections: int) -> list[Reading]:
    """Return what each of a plan's guards says, in order of kind.

    Args:
        plan: with the guards.
        samples: of the step in force, from all nodes.
        rejections: nodes that rejected the candidate.
    """
    guards: Sequence[Guard] = sorted(plan.guards, key=lambda guard: guard.kind)
    return [_read(guard, samples, rejections) for guard in guards]


def _read(guard: Guard, samples: Samples, rejections: int) -> Reading:
    stable_rate = candidate_rate = 0.0
    count, measured = rejections, float(rejections)
    match guard.kind:
        case GuardKind.ERROR_RATE:
            count, measured = samples.decisions, _rate(samples.errors, samples.decisions)
        case GuardKind.DENY_RATE_CHANGE:
            count = samples.shadowed
            stable_rate = _rate(samples.stable_denials, count)
            candidate_rate = _rate(samples.candidate_denials, count)
            measured = abs(candidate_rate - stable_rate)
        case GuardKind.LATENCY:
            count = sum(samples.latencies.values())
            measured = percentile(samples.latencies, _PERCENTILE)
    return Reading(
        kind=guard.kind,
        measured=measured,
        samples=count,
        status=_status(guard, measured, count),
        stable_rate=stable_rate,
        candidate_rate=candidate_rate,
    )


def _status(guard: Guard, measured: float, count: int) -> GuardStatus:
    if guard.kind is not GuardKind.REJECTIONS and count < max(guard.min_samples, 1):
        return GuardStatus.WAITING
    return GuardStatus.BREACHED if measured > guard.threshold else GuardStatus.HOLDS


def _rate(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def percentile(counts: Mapping[float, int], part: float) -> float:
    """Return the bound of the bucket that a percentile falls into; 0 without any counts.

    It is the smallest bound that at least ``part`` of all counts are not above: the true value is
    no larger.
    """
    wanted = part * sum(counts.values())
    seen = 0
    for bound_s in sorted(counts):
        seen += counts[bound_s]
        if counts[bound_s] and seen >= wanted:
            return bound_s
    return 0.0
