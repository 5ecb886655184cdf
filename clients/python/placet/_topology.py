"""Regions, where tenants' data may be, where callers go, and what is set of nodes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TypeAlias


class ResidencyRule(Enum):
    """Where a tenant's data may be."""

    UNKNOWN = 0
    ANY = 1
    EU_ONLY = 2
    US_ONLY = 3
    APAC_ONLY = 4
    NO_US = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a tenant's data may be and where its callers should go."""

    tenant: str
    residency: ResidencyRule
    home_region: str = ""
    """Where its resident records are kept. The rule has to allow it."""
    affinity_regions: tuple[str, ...] = ()
    """Regions its callers go to before nearer ones, in order. The rule has to allow them."""
    update_time: datetime | None = None
    """When it was last written. None for a tenant that was never placed."""
    etag: str = ""
    """Changes with every write; what a write is compared with. Empty: not placed yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """What was set of a node."""

    node: str
    weight: int | None = None
    """Share of traffic relative to the other nodes of its region; None: as the node says."""
    draining: bool | None = None
    """Whether it is to take no new calls; None: as the node says."""


@dataclass(frozen=True, slots=True)
class GeoPoint:
    """A place on Earth, in degrees (WGS 84)."""

    latitude: float
    """-90 to 90, north is positive."""
    longitude: float
    """-180 to 180, east is positive."""


@dataclass(frozen=True, slots=True)
class Country:
    """A country, by its ISO 3166-1 code of two letters, such as ``IE``."""

    code: str


@dataclass(frozen=True, slots=True)
class InRegion:
    """A region, by its name, for callers that run in one."""

    name: str


Place: TypeAlias = GeoPoint | Country | InRegion
"""Where a caller is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A place with nodes."""

    name: str
    """Such as ``eu-west``."""
    title: str = ""
    """For people, such as ``Ireland``."""
    jurisdiction: str = ""
    """The law it is under: ``EU``, ``US``, ``APAC``. Empty: not known."""
    regulations: tuple[str, ...] = ()
    location: GeoPoint | None = None


class RouteReason(Enum):
    """Why a region is where it is in a route."""

    UNKNOWN = 0
    AFFINITY = 1
    """One of the tenant's affinity regions."""
    NEAREST = 2
    """No other that is allowed is nearer."""
    HOME = 3
    """The tenant's home, for callers whose place is not known."""
    FALLBACK = 4
    """The next, by distance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteEndpoint:
    """A node's address, with what one wants to know to choose between several."""

    address: str
    node: str = ""
    """Empty where it is not known."""
    weight: int = 100
    utilization: float = 0.0
    """0 idle to 1 saturated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRegion:
    """One region of a route."""

    region: str
    jurisdiction: str
    reason: RouteReason
    distance_km: float
    """From the caller along the great circle; 0 when either place is not known."""
    endpoints: tuple[RouteEndpoint, ...] = ()
    """Nodes that take calls. May be none for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a tenant's callers at one place may go, best first. All of it is allowed."""

    tenant: str
    residency: ResidencyRule
    regions: tuple[RouteRegion, ...]

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where nodes take calls, best first."""
        return tuple(each.address for region in self.regions for each in region.endpoints)
