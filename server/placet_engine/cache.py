"""Remembers what was decided, within a bound that tenants share fairly.

Keys say everything an answer depends on, the revision of the policies among it: a new revision
invalidates by construction. Nothing in a policy can ask what time it is, so that a policy about
time is about a time that came with the request, and is in the key like all that policies look at.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

_Value = TypeVar("_Value")

ENTRY_BYTES = 400
"""What an entry takes beside its key and its value: links, times, tuples. Measured, rounded up."""

# Whoever is made room from gives up this much at once, so that finding out who it is costs little.
_ROOM_BYTES = 16 * 1024
# One entry may take this part of the whole at most.
_LARGEST_PART = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStatistics:
    """How a cache does, as a whole or for one tenant. Counts are since it was made."""

    exact_hits: int = 0
    """Answered by having seen the same bytes before."""
    hits: int = 0
    """Answered from the cache, these included."""
    misses: int = 0
    evictions: int = 0
    """Entries that went because there was no room, not because of their age."""
    entries: int = 0
    bytes: int = 0

    @property
    def hit_ratio(self) -> float:
        """Hits as a part of all requests, from 0 to 1."""
        requests = self.hits + self.misses
        return self.hits / requests if requests else 0.0


def together(parts: Iterable[CacheStatistics]) -> CacheStatistics:
    """Return how several parts of a cache do as one."""
    parts = tuple(parts)
    return CacheStatistics(
        exact_hits=sum(part.exact_hits for part in parts),
        hits=sum(part.hits for part in parts),
        misses=sum(part.misses for part in parts),
        evictions=sum(part.evictions for part in parts),
        entries=sum(part.entries for part in parts),
        bytes=sum(part.bytes for part in parts),
    )


class _Entry(NamedTuple, Generic[_Value]):
    value: _Value
    bytes: int
    expires_s: float


class TenantCache(Generic[_Value]):
    """One tenant's part of a cache, the least recently used first to go."""

    __slots__ = (
        "_by_age",
        "_entries",
        "_largest",
        "_whole",
        "bytes",
        "evictions",
        "exact_hits",
        "hits",
        "misses",
    )

    def __init__(self, whole: DecisionCache[_Value]) -> None:
        self._whole = whole
        self._largest = whole.max_bytes // _LARGEST_PART
        # The least recently used first, and the oldest first: all live equally long. cachetools'
        # `TTLCache` does the same, in Python, for four times the time that a new decision has.
        self._entries: OrderedDict[Hashable, _Entry[_Value]] = OrderedDict()
        self._by_age: OrderedDict[Hashable, None] = OrderedDict()
        self.bytes = 0
        # One of these grows with every request; whoever asks knows which.
        self.exact_hits = 0
        self.hits = 0
        self.misses = 0
        self.evictions = 0

    def get(self, key: Hashable) -> _Value | None:
        """Return what was remembered under a key."""
        entry = self._entries.get(key)
        if entry is None or entry.expires_s <= self._whole.monotonic():
            return None
        self._entries.move_to_end(key)
        return entry.value

    def put(self, key: Hashable, value: _Value, bytes_: int) -> None:
        """Remember a value that takes, with its key, so many bytes."""
        whole = self._whole
        bytes_ += ENTRY_BYTES
        if bytes_ > self._largest:
            return
        if whole.bytes + bytes_ > whole.max_bytes:
            whole.make_room(bytes_, self)
        self.expire()
        if key in self._entries:
            self._remove(key)
        self._entries[key] = _Entry(value, bytes_, whole.monotonic() + whole.ttl_s)
        self._by_age[key] = None
        self.bytes += bytes_
        whole.bytes += bytes_

    def expire(self) -> None:
        """Let go of what is too old."""
        now_s = self._whole.monotonic()
        while self._by_age:
            oldest = next(iter(self._by_age))
            if self._entries[oldest].expires_s > now_s:
                return
            self._remove(oldest)

    def evict(self, bytes_: int) -> None:
        """Let go of so many bytes, as far as there are: first of what is too old."""
        goal = max(self.bytes - bytes_, 0)
        self.expire()
        while self.bytes > goal:
            self._remove(next(iter(self._entries)))
            self.evictions += 1

    def close(self) -> None:
        """Forget everything, and remember nothing from now on: there may be who still holds it."""
        self._largest = 0
        while self._entries:
            self._remove(next(iter(self._entries)))

    def _remove(self, key: Hashable) -> None:
        size = self._entries.pop(key).bytes
        del self._by_age[key]
        self.bytes -= size
        self._whole.bytes -= size

    def statistics(self) -> CacheStatistics:
        """Return how this part does. Any thread may ask: it only looks.

        What is too old counts until there is something new.
        """
        return CacheStatistics(
            exact_hits=self.exact_hits,
            hits=self.hits,
            misses=self.misses,
            evictions=self.evictions,
            entries=len(self._entries),
            bytes=self.bytes,
        )


class DecisionCache(Generic[_Value]):
    """Least recently used answers of many tenants, no older than a time to live.

    All tenants share one bound. When it is reached, a tenant that has more than an equal part
    makes room for itself; for one that has less, the tenant with the most does. Whoever floods
    the cache floods its own part of it. Lives on one thread.
    """

    def __init__(self, *, max_bytes: int, ttl_s: float, monotonic: Callable[[], float]) -> None:
        self.max_bytes = max_bytes
        self.ttl_s = ttl_s
        self.monotonic = monotonic
        self.bytes = 0
        self._tenants: dict[str, TenantCache[_Value]] = {}

    def of(self, tenant: str) -> TenantCache[_Value]:
        """Return a tenant's part."""
        part = self._tenants.get(tenant)
        if part is None:
            part = self._tenants[tenant] = TenantCache(self)
        return part

    def forget(self, tenant: str) -> None:
        """Let go of all that a tenant has, and of its counts."""
        part = self._tenants.pop(tenant, None)
        if part is not None:
            part.close()

    def make_room(self, bytes_: int, part: TenantCache[_Value]) -> None:
        """See that a tenant can add so many bytes."""
        while self.bytes + bytes_ > self.max_bytes:
            if part.bytes * len(self._tenants) >= self.max_bytes:
                part.evict(bytes_)
            else:
                largest = max(self._tenants.values(), key=lambda other: other.bytes)
                largest.evict(max(bytes_, _ROOM_BYTES))

    def statistics(self, tenant: str | None = None) -> CacheStatistics:
        """Return how the cache does, for all tenants together or for one."""
        if tenant is not None:
            part = self._tenants.get(tenant)
            return part.statistics() if part is not None else CacheStatistics()
        return together(self.tenants().values())

    def names(self) -> tuple[str, ...]:
        """Return the tenants that have a part, be it an empty one."""
        return tuple(self._tenants)

    def tenants(self) -> dict[str, CacheStatistics]:
        """Return how each tenant's part does."""
        return {tenant: part.statistics() for tenant, part in list(self._tenants.items())}
