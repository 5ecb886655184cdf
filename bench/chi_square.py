"""Whether counts are distributed as they should be: Pearson's test, as far as it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

CONFIDENCE = 0.999


def chi_square(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Return Pearson's statistic of counts against the shares they should have."""
    expected = [sum(counts) * share / sum(shares) for share in shares]
    return sum((count - due) ** 2 / due for count, due in zip(counts, expected, strict=True))


def chi_square_limit(freedom: int) -> float:
    """Return what the statistic exceeds once in a thousand times (Wilson and Hilferty, 1931)."""
    part = 2 / (9 * freedom)
    normal = NormalDist().inv_cdf(CONFIDENCE)
    cube: float = freedom * (1 - part + normal * part**0.5) ** 3
    return cube
