"""How long calls of a kind take, to know when one takes too long."""

from __future__ import annotations

_KEPT = 128
_RECKONED_EVERY = 16


class Pace:
    """The latencies of the newest calls of one method, whoever answered. Not thread-safe."""

    def __init__(self) -> None:
        self._latencies = [0.0] * _KEPT
        self._count = 0
        self.longest_s = 0.0
        """The longest of those kept; 0 before the first."""
        self.p95_s = 0.0

    def note(self, latency_s: float) -> None:
        """Note how long an answer took."""
        self._latencies[self._count % _KEPT] = latency_s
        self._count += 1
        if latency_s > self.longest_s:
            self.longest_s = latency_s
        if self._count % _RECKONED_EVERY == 0 or self._count < _RECKONED_EVERY:
            kept = sorted(self._latencies[: min(self._count, _KEPT)])
            self.longest_s = kept[-1]
            self.p95_s = kept[(len(kept) - 1) * 95 // 100]


def quantile(latencies: list[float], share: float) -> float:
    """Return the latency that a share of those given does not exceed; 0 without any."""
    return sorted(latencies)[int((len(latencies) - 1) * share)] if latencies else 0.0
