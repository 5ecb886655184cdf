"""What a node tells about itself, and what is told of nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from placet._topology import Placement, Region


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


# ----------------------------------------------------------------------- what is told of them


class NodeRole(Enum):
    """What a node has and follows."""

    UNKNOWN = 0
    CONTROL = 1
    """Has a store, and takes changes."""
    EDGE = 2
    """Has no store, and follows other nodes."""


class NodeHealth(Enum):
    """What is known of a node's ability to answer."""

    UNKNOWN = 0
    SERVING = 1
    NOT_SERVING = 2
    """It says so of itself, or it was asked and did not answer."""
    LOST = 3
    """Its lease lapsed: dead, hung or cut off."""


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """How busy a node is."""

    utilization: float = 0.0
    """0 idle to 1 saturated."""
    requests_per_second: float = 0.0
    subscribers: int = 0
    """Open Subscribe streams."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node, as the servers know it."""

    id: str
    instance: str
    """Different for every start of the process."""
    region: str
    role: NodeRole
    address: str
    """Where clients reach it. Empty: they cannot, and nobody is sent there."""
    upstreams: tuple[str, ...] = ()
    """Ids or addresses of the nodes it follows."""
    weight: int
    """Share of traffic relative to the other nodes of its region, 1 to 1,000."""
    version: str
    health: NodeHealth
    health_reason: str = ""
    """Why it is not serving, for people."""
    draining: bool = False
    """It gets no new calls, by its own will or an operator's."""
    load: NodeLoad = NodeLoad()
    revision: int
    """The newest that it has taken in."""
    staleness: timedelta
    """Time since it last knew that it had the newest."""
    register_time: datetime
    renew_time: datetime
    lease_expire_time: datetime
    etag: str
    """Changes with weight and draining; an update of a node as it was read rests on it."""

    @property
    def takes_calls(self) -> bool:
        """Whether callers are sent there."""
        is_there = self.health is NodeHealth.SERVING and bool(self.address)
        return is_there and not self.draining


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologyState:
    """Everything there was at one moment, of the kinds that are watched."""

    regions: Mapping[str, Region] = field(default_factory=dict)
    """By name."""
    nodes: Mapping[str, Node] = field(default_factory=dict)
    """By id."""
    placements: Mapping[str, Placement] = field(default_factory=dict)
    """Of the tenants that were placed, by tenant."""
    server_time: datetime
    """The server's clock when it sent what came last."""


class TopologyKind(Enum):
    """What kind of thing is watched."""

    REGION = 1
    NODE = 2
    TENANT = 3
    """Where tenants are placed."""
