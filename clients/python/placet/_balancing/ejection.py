"""When an endpoint's calls fail too often, and for how long it is left alone then. Pure."""

from __future__ import annotations

from placet._balancing.options import Balancing

_WINDOW_S = 10
_LEAST_CALLS = 20
_LONGEST_S = 30.0


class Outcomes:
    """How one endpoint's attempts went: in a row, and over the last ten seconds."""

    def __init__(self, options: Balancing) -> None:
        self._options = options
        self._slots = [[0, 0, 0] for _ in range(_WINDOW_S)]
        self._ejections = 0
        self._free_since_s = 0.0
        self.failures_in_a_row = 0

    def answered(self, now_s: float) -> None:
        """Note an answer."""
        self._slot(now_s)[1] += 1
        self.failures_in_a_row = 0

    def failed(self, now_s: float) -> None:
        """Note a failure that was the endpoint's fault."""
        slot = self._slot(now_s)
        slot[1] += 1
        slot[2] += 1
        self.failures_in_a_row += 1

    def window(self, now_s: float) -> tuple[int, int]:
        """Return calls and failures of the last ten seconds."""
        oldest = int(now_s) - _WINDOW_S
        counted = [slot for slot in self._slots if slot[0] > oldest]
        return sum(slot[1] for slot in counted), sum(slot[2] for slot in counted)

    def is_outlier(self, now_s: float, others: tuple[int, int]) -> bool:
        """Return whether it fails too often, and much more often than others do.

        Args:
            now_s: the time.
            others: calls and failures of all others together. Where everything fails, the fault
                is elsewhere, and leaving endpoints alone would help nobody.
        """
        if self.failures_in_a_row >= self._options.max_failures:
            return True
        calls, failures = self.window(now_s)
        if calls < _LEAST_CALLS:
            return False
        share = failures / calls
        others_share = others[1] / others[0] if others[0] else 0.0
        return share >= self._options.max_failure_share and share >= 2 * others_share

    def eject(self, now_s: float) -> float:
        """Note an ejection; return until when it lasts."""
        # What was long ago counts less: one for every so many seconds it did well.
        well_s = max(now_s - self._free_since_s, 0.0)
        self._ejections = max(self._ejections - int(well_s / _LONGEST_S), 0) + 1
        doubled_s = self._options.ejection_s * 2.0 ** min(self._ejections - 1, 16)
        self._free_since_s = now_s + min(doubled_s, max(_LONGEST_S, self._options.ejection_s))
        # It is judged by what it does when it is back: the first failure sends it away again.
        self.failures_in_a_row = self._options.max_failures - 1
        for slot in self._slots:
            slot[0] = 0
        return self._free_since_s

    def _slot(self, now_s: float) -> list[int]:
        """Return second, calls and failures of this second."""
        second = int(now_s)
        slot = self._slots[second % _WINDOW_S]
        if slot[0] != second:
            slot[:] = (second, 0, 0)
        return slot
