"""Where a call goes: regions in order, endpoints that can serve, and what if there are none. Pure.

The first region with an endpoint that can serve is in use. When a nearer one can serve again the
calls move back slowly: it is likely to be cold, and may fail again. When nobody anywhere can
serve, everybody is tried: what is known may be wrong, and a call that is not made fails for sure.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from typing import TypeAlias

from placet._balancing.endpoints import EndpointState
from placet._balancing.members import Member, ramp
from placet._balancing.pickers import Picker

Pool: TypeAlias = "tuple[Member, ...]"


class Selection:
    """The endpoints of one route. Not thread-safe."""

    def __init__(
        self,
        tiers: Sequence[Sequence[Member]],
        picker: Picker,
        rng: random.Random,
        *,
        slow_start_s: float,
    ) -> None:
        """Select among endpoints by region, the nearest region first."""
        self.tiers: tuple[Pool, ...] = tuple(tuple(tier) for tier in tiers)
        self._picker = picker
        self._rng = rng
        self._slow_start_s = slow_start_s
        self._pools: tuple[Pool, ...] = ((),) * len(self.tiers)
        """Of each tier, those that can serve as of the last look."""
        self._look_again_s = float("-inf")
        self._used: int | None = None
        """The tier in use: the first with somebody who can serve."""
        self._returning_s: float | None = None
        """Since when a nearer one than that can serve again."""

    def take_over(self, former: Selection) -> None:
        """Go on where the selection before it stood: its endpoints have changed, or some have."""
        self._picker = former._picker
        if former._used is not None and former._used < len(self.tiers):
            self._used, self._returning_s = former._used, former._returning_s

    def doubt(self) -> None:
        """Look again at the next call: something has changed."""
        self._look_again_s = float("-inf")

    @property
    def used(self) -> int:
        """The tier in use, 0 before the first call."""
        return self._used or 0

    def pick(self, now_s: float, tried: Collection[Member] = ()) -> Member | None:
        """Return the endpoint for the next attempt; None when all of them were tried."""
        if now_s >= self._look_again_s:
            self._look(now_s)
        picked: Member
        first = self._first(now_s)
        if first is not None and not tried:
            picked = self._picker.pick(self._pools[first])
            return picked
        for pool in self._in_order(first):
            left = [member for member in pool if member not in tried]
            if left:
                picked = self._picker.pick(left)
                return picked
        return None

    def can_serve(self, member: Member) -> bool:
        """Return whether an endpoint can, as of the last look."""
        return any(member in pool for pool in self._pools)

    def has_other(self, member: Member) -> bool:
        """Return whether somebody else can serve, as of the last look."""
        return any(pool and pool != (member,) for pool in self._pools)

    def wanted(self, warm_fallbacks: int) -> list[Member]:
        """Return those to be connected to: up to the tier in use, and some of the next one."""
        used = self.used
        nearer = [member for tier in self.tiers[: used + 1] for member in tier]
        further = [member for tier in self.tiers[used + 1 :] for member in tier]
        return nearer + further[:warm_fallbacks]

    def _in_order(self, first: int | None) -> Iterator[Pool]:
        """Yield groups of endpoints, the best first."""
        if first is not None:
            yield self._pools[first]
            yield from self._pools
        # Nobody can serve, or nobody else.
        yield from self.tiers

    def _look(self, now_s: float) -> None:
        again_s = float("inf")
        pools = []
        for tier in self.tiers:
            ready, connecting = [], []
            for member in tier:
                state, later_s = member.look(now_s)
                again_s = min(again_s, later_s)
                if state is EndpointState.READY:
                    ready.append(member)
                elif state is EndpointState.CONNECTING and member.may_connect(now_s):
                    connecting.append(member)
            pools.append(tuple(ready or connecting))
        self._pools = tuple(pools)
        self._look_again_s = again_s

    def _first(self, now_s: float) -> int | None:
        """Return the tier for this call; None when nobody can serve."""
        able = next((place for place, pool in enumerate(self._pools) if pool), None)
        if able is None:
            return None
        used = self._used
        if used is None or able >= used or not self._pools[used]:
            self._used, self._returning_s = able, None
            return able
        # A nearer one can serve again.
        if self._returning_s is None:
            self._returning_s = now_s
        share = ramp(now_s - self._returning_s, self._slow_start_s)
        if share >= 1.0:
            self._used, self._returning_s = able, None
            return able
        return able if self._rng.random() < share else used
