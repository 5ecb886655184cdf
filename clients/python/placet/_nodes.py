"""What a node tells about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStatistics:
    """How a decision cache does, as a whole or for one tenant. Counts are since it was made."""

    exact_hits: int = 0
    """Hits by the whole request: the very same had been a hit before."""
    hits: int = 0
    """Requests answered from the cache, ``exact_hits`` included."""
    misses: int = 0
    """Requests that had to be judged."""
    evictions: int = 0
    """Entries that went because there was no room, not because of their age."""
    entries: int = 0
    """Entries there are now."""
    bytes: int = 0
    """What they take."""

    @property
    def requests(self) -> int:
        """Requests there were: hits and misses."""
        return self.hits + self.misses

    @property
    def hit_ratio(self) -> float:
        """Hits as a part of all requests, from 0 to 1; 0 without requests."""
        return self.hits / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheReport:
    """What one node says about its decision cache."""

    node: str
    region: str
    total: CacheStatistics
    """All tenants together, whether they are listed or not."""
    tenants: Mapping[str, CacheStatistics] = field(default_factory=dict)
    """The tenants that were asked for, or those with the most bytes, most first."""
    tenant_count: int = 0
    """Tenants that were ever asked about, whether they are listed or not."""
    max_bytes: int
    """What all tenants share."""
    ttl: timedelta
    """How long an answer is remembered at most."""
    start_time: datetime
    """When the node started, and counting began."""
