"""Remembers verdicts. A new revision invalidates by construction: it is in the key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cachetools import TTLCache

from placet_engine.items import Revision
from placet_engine.model import Verdict


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """How a cache does. Counts are since it was made."""

    hits: int
    misses: int
    entries: int
    max_entries: int

    @property
    def hit_ratio(self) -> float:
        """Hits as a part of all look-ups, from 0 to 1."""
        lookups = self.hits + self.misses
        return self.hits / lookups if lookups else 0.0


class VerdictCache:
    """Least recently used verdicts, no older than a time to live.

    A verdict is a pure function of program and request. The time to live only
    bounds how long memory is held for requests that do not come again.
    """

    def __init__(self, *, max_entries: int, ttl_s: float, monotonic: Callable[[], float]) -> None:
        self._verdicts: TTLCache[tuple[str, Revision, bytes], Verdict] = TTLCache(
            max_entries, ttl_s, timer=monotonic
        )
        self._hits = 0
        self._misses = 0

    def get(self, tenant: str, revision: Revision, request: bytes) -> Verdict | None:
        """Return what was said about the same request by the same program."""
        verdict = self._verdicts.get((tenant, revision, request))
        if verdict is None:
            self._misses += 1
        else:
            self._hits += 1
        return verdict

    def put(self, tenant: str, revision: Revision, request: bytes, verdict: Verdict) -> None:
        """Remember a verdict."""
        self._verdicts[(tenant, revision, request)] = verdict

    def statistics(self) -> CacheStatistics:
        """Return how the cache does."""
        return CacheStatistics(
            hits=self._hits,
            misses=self._misses,
            entries=len(self._verdicts),
            max_entries=int(self._verdicts.maxsize),
        )
