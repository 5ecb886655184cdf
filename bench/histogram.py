"""Latencies as HDR histograms: three digits, from a tenth of a microsecond to minutes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hdrh.histogram import HdrHistogram

_LOWEST_NS = 100
_HIGHEST_NS = 300 * 1_000_000_000
_DIGITS = 3

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
_CURVE = (0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 97.5, 99.0, 99.5, 99.9, 99.95, 99.99, 100.0)


class Latencies:
    """A distribution of times."""

    def __init__(self, nanoseconds: Iterable[int] = ()) -> None:
        self._histogram = HdrHistogram(_LOWEST_NS, _HIGHEST_NS, _DIGITS)
        for value, count in Counter(nanoseconds).items():
            self._histogram.record_value(min(max(value, 1), _HIGHEST_NS), count)

    @property
    def count(self) -> int:
        """How many times are in it."""
        return int(self._histogram.get_total_count())

    def at(self, percentile: float) -> float:
        """Return the time at a percentile, in milliseconds; 0 when there is none."""
        if not self.count:
            return 0.0
        return float(self._histogram.get_value_at_percentile(percentile)) / 1e6

    @property
    def maximum(self) -> float:
        """The longest, in milliseconds."""
        return float(self._histogram.get_max_value()) / 1e6 if self.count else 0.0

    def curve(self) -> list[tuple[float, float]]:
        """Return percentiles and their times in milliseconds, for a plot."""
        return [(percentile, self.at(percentile)) for percentile in _CURVE]

    def document(self) -> dict[str, object]:
        """Return what is kept: the whole histogram, and the usual figures in milliseconds."""
        return {
            "count": self.count,
            **{f"p{percentile:g}_ms": round(self.at(percentile), 4) for percentile in PERCENTILES},
            "max_ms": round(self.maximum, 4),
            "hdr": self._histogram.encode().decode("ascii"),
        }
