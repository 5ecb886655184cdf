"""How many attempts may be made on top of the calls: retries must not make an outage worse."""

from __future__ import annotations

_WINDOW_S = 10


class RetryBudget:
    """So many attempts a call, and so many a second, over the last ten seconds.

    A window and not a bucket: what was not used in quiet times is there when a node dies with
    many calls on it, and is gone ten seconds later. Not thread-safe.
    """

    def __init__(self, *, ratio: float, per_second: float) -> None:
        self._ratio = ratio
        self._floor = per_second * _WINDOW_S
        self._calls = [0] * _WINDOW_S
        self._spent = [0] * _WINDOW_S
        self._second = 0
        self._all_calls = self._all_spent = 0

    def deposit(self, now_s: float) -> None:
        """Note a call."""
        self._calls[self._slot(now_s)] += 1
        self._all_calls += 1

    def balance(self, now_s: float) -> float:
        """Return how many attempts may be made on top."""
        self._slot(now_s)
        return self._floor + self._ratio * self._all_calls - self._all_spent

    def withdraw(self, now_s: float) -> bool:
        """Take one attempt out; return whether there was one."""
        if self.balance(now_s) < 1.0:
            return False
        self._spent[self._slot(now_s)] += 1
        self._all_spent += 1
        return True

    def _slot(self, now_s: float) -> int:
        """Return the place of this second, with those that were passed over emptied."""
        second = int(now_s)
        if second > self._second:
            for passed in range(max(self._second + 1, second - _WINDOW_S + 1), second + 1):
                slot = passed % _WINDOW_S
                self._all_calls -= self._calls[slot]
                self._all_spent -= self._spent[slot]
                self._calls[slot] = self._spent[slot] = 0
            self._second = second
        return self._second % _WINDOW_S
