"""What tenants may take: a rate each, and fair shares when there is not enough for all."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

MAX_TENANTS = 10_000
"""Tenants that are told apart at the same time. Names cost callers nothing."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class TokenBuckets:
    """A token bucket a tenant, for the tenants that were last seen.

    Whoever is forgotten starts with a full bucket, and to be forgotten takes
    ``max_tenants`` others.
    """

    def __init__(
        self, *, per_second: float, burst_s: float, max_tenants: int = MAX_TENANTS
    ) -> None:
        """Take the rate, and for how many seconds of it a bucket has room."""
        self._per_second = per_second
        self._room = max(1.0, per_second * burst_s)
        self._max_tenants = max_tenants
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, tenant: str, cost: int, now: float) -> float:
        """Take tokens; return 0, or after how many seconds there will be enough, and take none.

        What costs more than there is room for is taken from a full bucket,
        which then owes: the rate holds, and nothing is too large for ever.
        """
        bucket = self._buckets.get(tenant)
        if bucket is None:
            bucket = self._buckets[tenant] = _Bucket(self._room, now)
            if len(self._buckets) > self._max_tenants:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(tenant)
            gained = (now - bucket.filled_at) * self._per_second
            bucket.tokens = min(self._room, bucket.tokens + gained)
            bucket.filled_at = now
        missing = min(float(cost), self._room) - bucket.tokens
        if missing > 0:
            return missing / self._per_second
        bucket.tokens -= cost
        return 0.0


_WINDOW_S = 0.5
# A tenant that comes close to its share counts as one that has it; otherwise many
# tenants that flood would all be a little below it and all get through.
_PART_OF_SHARE = 0.8
# Under this name goes what tenants took that are too many to be told apart.
_OTHERS = "\0"


class Shares:
    """What each tenant took of late: in this window and, fading, in the last."""

    def __init__(self, max_tenants: int = MAX_TENANTS) -> None:
        self._max_tenants = max_tenants
        self._began = float("-inf")
        self._now: dict[str, int] = {}
        self._before: dict[str, int] = {}
        self._total_now = self._total_before = 0

    def __len__(self) -> int:
        return max(len(self._now), len(self._before))

    def add(self, tenant: str, cost: int, now: float) -> None:
        """Note what a tenant was given."""
        self._turn(now)
        if tenant not in self._now and len(self._now) >= self._max_tenants:
            tenant = _OTHERS
        self._now[tenant] = self._now.get(tenant, 0) + cost
        self._total_now += cost

    def is_below_fair(self, tenant: str, now: float) -> bool:
        """Whether a tenant took clearly less than its equal part of all that was given."""
        self._turn(now)
        fading = 1 - (now - self._began) / _WINDOW_S
        if tenant not in self._now and len(self._now) >= self._max_tenants:
            tenant = _OTHERS
        taken = self._now.get(tenant, 0) + fading * self._before.get(tenant, 0)
        total = self._total_now + fading * self._total_before
        tenants = max(len(self._now) + (tenant not in self._now), len(self._before))
        return taken < _PART_OF_SHARE * total / tenants

    def has_others(self, now: float) -> bool:
        """Whether more than one tenant was given anything of late."""
        self._turn(now)
        if len(self._now) > 1 or len(self._before) > 1:
            return True
        return len(self._now.keys() | self._before.keys()) > 1

    def _turn(self, now: float) -> None:
        gone_s = now - self._began
        if gone_s < _WINDOW_S:
            return
        if gone_s < 2 * _WINDOW_S:
            self._before, self._total_before = self._now, self._total_now
            self._began += _WINDOW_S
        else:
            self._before, self._total_before = {}, 0
            self._began = now
        self._now, self._total_now = {}, 0
