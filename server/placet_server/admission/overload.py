"""When calls are shed: after a wait that stays, not after a burst.

The rule is CoDel's in its idea: a line that empties again and again is what
lines are for; one that is longer than the target for a whole interval is
standing, and makes everybody late without more getting done. Once shedding,
each call that would wait beyond the target is refused, until hardly one is.
"""

from __future__ import annotations

_INTERVAL_S = 0.1
# So many times the target is too long even for a burst.
_FAR_BEYOND = 20.0
# Shedding is looked at anew after this long, and ends if fewer than one in so many waited too long.
_PERIOD_S = 1.0
_HARDLY_ONE_IN = 50


class Overload:
    """Whether the node is overloaded."""

    def __init__(self, target_s: float) -> None:
        """Take the wait that is all right, in seconds. Zero: any is."""
        self._target_s = target_s
        self._above_since: float | None = None
        self._period_began = 0.0
        self._asked = 0
        self._too_long = 0
        self.is_shedding = False
        """Whether calls that would wait too long are refused."""

    def measured(self, wait_s: float, now: float) -> None:
        """Take note of a wait that was measured."""
        if not self._target_s or wait_s <= self._target_s:
            self._above_since = None
            return
        if self._above_since is None:
            self._above_since = now
        stands = now - self._above_since >= _INTERVAL_S
        if not self.is_shedding and (stands or wait_s > _FAR_BEYOND * self._target_s):
            self.is_shedding = True
            self._begin_period(now)

    def is_too_long(self, wait_s: float, now: float) -> bool:
        """Whether a call that would wait so long is to be refused; end the shedding when calm."""
        if not self.is_shedding:
            return False
        if now - self._period_began >= _PERIOD_S:
            self.is_shedding = self._too_long * _HARDLY_ONE_IN > self._asked
            self._above_since = None
            self._begin_period(now)
        self._asked += 1
        if not self.is_shedding or wait_s <= self._target_s:
            return False
        self._too_long += 1
        return True

    def _begin_period(self, now: float) -> None:
        self._period_began = now
        self._asked = self._too_long = 0
