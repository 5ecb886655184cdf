"""How long a call waits before anybody here sees it, measured with probes.

A transport hands over calls in the order they came, and keeps those it has not
handed over to itself: the loop's lag and the number of calls in work stay low
while the backlog grows without bound. A probe, a call the node makes to
itself, stands in the same line. The calls handed over between its sending and
its arrival are those that stood in front of it, and two probes tell how fast
others come. In between the backlog is carried forward by that rate.
"""

from __future__ import annotations

from dataclasses import dataclass

# Calls handed over between two probes. A probe costs what three decisions do: seldom enough to
# cost about 2 % of a busy node, and more often when calls are refused by what they say.
_CALLS_A_PROBE = 128
_CALLS_A_PROBE_WATCHED = 48
# What a probe said is believed for this long after it arrived, and while another is on its way.
_BELIEVED_S = 0.05
# Shorter lines say nothing about the time a call takes.
_TELLING_LINE = 4
_WEIGHT_OF_NEW = 0.25
# What was measured so long before a probe counts nothing against it.
_REMEMBERED_S = 0.2


@dataclass(frozen=True, slots=True)
class _Probe:
    sent_at: float
    accepted: int
    """Calls that had been handed over when it was sent."""


class Backlog:
    """Estimates the wait of a call that arrives now."""

    def __init__(self) -> None:
        self.is_watched = False
        """Whether calls are refused by what this says."""
        self._accepted = 0
        self._on_its_way: _Probe | None = None
        self._last = _Probe(float("-inf"), 0)
        self._believed_until = float("-inf")
        self._ahead = 0
        self._arrivals_per_s = 0.0
        self._s_a_call = 0.0

    def accepted(self) -> None:
        """Count a call that the transport handed over."""
        self._accepted += 1

    @property
    def probe_is_due(self) -> bool:
        """Whether it is time to send a probe."""
        return self._on_its_way is None and self._accepted - self._last.accepted >= _CALLS_A_PROBE

    def probe_sent(self, now: float) -> None:
        """Note that a probe was sent."""
        self._on_its_way = _Probe(now, self._accepted)

    def probe_lost(self) -> None:
        """Note that the probe on its way will not arrive."""
        self._on_its_way = None
        self._last = _Probe(float("-inf"), self._accepted)
        self._ahead, self._arrivals_per_s = 0, 0.0

    def probe_arrived(self, now: float) -> float:
        """Learn from the probe; return how long it waited behind others, in seconds."""
        probe = self._on_its_way
        if probe is None:
            return 0.0
        ahead = self._accepted - probe.accepted
        waited_s = now - probe.sent_at
        arrivals = ahead - self._ahead + probe.accepted - self._last.accepted
        between_s = probe.sent_at - self._last.sent_at
        rate = max(0.0, arrivals / between_s)
        weight = min(1.0, max(_WEIGHT_OF_NEW, between_s / _REMEMBERED_S))
        self._arrivals_per_s += weight * (rate - self._arrivals_per_s)
        if ahead >= _TELLING_LINE:
            s_a_call = waited_s / ahead
            known = self._s_a_call or s_a_call
            self._s_a_call = known + _WEIGHT_OF_NEW * (s_a_call - known)
        self._last, self._ahead, self._on_its_way = probe, ahead, None
        self._believed_until = now + _BELIEVED_S
        # One that waited without others before it was held up by something else.
        return waited_s if ahead >= _TELLING_LINE else 0.0

    def wait_s(self, now: float) -> float:
        """Return how long a call that arrives now is going to wait, in seconds."""
        if now > self._believed_until and self._on_its_way is None:
            return 0.0
        since_s = now - self._last.sent_at
        handed_over = self._accepted - self._last.accepted
        waiting = self._ahead + self._arrivals_per_s * since_s - handed_over
        return waiting * self._s_a_call if waiting > 0 else 0.0
