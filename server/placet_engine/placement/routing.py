"""Where a tenant's callers may go, best first. Pure.

Regions of the tenant's affinity come first, in the tenant's order. The others follow by distance
from the caller or, if nobody knows where that is, from the tenant's home. All of them are
allowed, or there is no route.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from placet_engine.placement.geography import GeoPoint, distance_km
from placet_engine.placement.regions import Region, Regions
from placet_engine.placement.residency import ResidencyRule, allows


class RouteReason(IntEnum):
    """Why a region is where it is in a route. Numbers are those of ``placet.v1.RouteReason``."""

    AFFINITY = 1
    NEAREST = 2
    """No other allowed region is nearer to the caller."""
    HOME = 3
    """The tenant's home, for callers whose place is not known."""
    FALLBACK = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A node's address, with what a balancer wants to know."""

    address: str
    """Such as `eu1.example.net:7443`."""
    node: str = ""
    """Id of the node; empty where it is not known."""
    weight: int = 100
    """Share of traffic relative to the other nodes of the region."""
    utilization: float = 0.0
    """0 idle to 1 saturated."""
    is_control: bool = False
    """Whether changes are taken there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRegion:
    """One region of a route."""

    region: Region
    reason: RouteReason
    distance_km: float | None
    """From the caller; None where either place is not known."""
    endpoints: tuple[Endpoint, ...] = ()
    """Nodes that are serving and not draining. May be none for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a tenant's callers at one place may go, best first."""

    tenant: str
    rule: ResidencyRule
    regions: tuple[RouteRegion, ...]


class NoRegionAllowed(Exception):
    """A rule that no region satisfies."""

    def __init__(self, rule: ResidencyRule, regions: Regions) -> None:
        there_are = ", ".join(
            f"`{region.name}` ({region.jurisdiction or 'jurisdiction not known'})"
            for region in regions
        )
        super().__init__(
            f"the rule {rule.name} allows no region: there are {there_are or 'none'}; "
            "add one to the file of regions, or place the tenant under another rule"
        )
        self.rule = rule


def find_route(
    regions: Regions,
    *,
    rule: ResidencyRule = ResidencyRule.ANY,
    home: str = "",
    affinity: Sequence[str] = (),
    place: GeoPoint | None = None,
) -> tuple[RouteRegion, ...]:
    """Return every region that a tenant's callers at a place may go to, best first.

    Args:
        regions: what there is.
        rule: where the tenant's data may be.
        home: the tenant's home region; empty, or gone, if it has none.
        affinity: regions that come before nearer ones. Those that are gone are left out.
        place: where the caller is. None: nobody knows.

    Raises:
        NoRegionAllowed: there would be none.
    """
    allowed = {region.name: region for region in regions if allows(rule, region.jurisdiction)}
    if not allowed:
        raise NoRegionAllowed(rule, regions)
    preferred = [allowed[name] for name in dict.fromkeys(affinity) if name in allowed]
    at_home = allowed.get(home) if place is None else None
    # A node that has to guess takes itself for the middle of the world: the caller got there.
    origin = place or _location(at_home or regions.get(regions.here))
    others = sorted(
        (region for region in allowed.values() if region not in preferred),
        key=lambda region: (region is not at_home, _apart_km(origin, region), region.name),
    )
    nearest_km = min(_apart_km(place, region) for region in allowed.values())
    return tuple(_route(preferred, others, place, at_home, nearest_km))


def _route(
    preferred: Sequence[Region],
    others: Sequence[Region],
    place: GeoPoint | None,
    at_home: Region | None,
    nearest_km: float,
) -> Iterator[RouteRegion]:
    def entry(region: Region, reason: RouteReason) -> RouteRegion:
        apart_km = _apart_km(place, region)
        known_km = apart_km if math.isfinite(apart_km) else None
        return RouteRegion(region=region, reason=reason, distance_km=known_km)

    for region in preferred:
        yield entry(region, RouteReason.AFFINITY)
    for number, region in enumerate(others):
        reason = RouteReason.FALLBACK
        if region is at_home:
            reason = RouteReason.HOME
        elif number == 0 and _apart_km(place, region) == nearest_km < math.inf:
            reason = RouteReason.NEAREST
        yield entry(region, reason)


def _apart_km(place: GeoPoint | None, region: Region) -> float:
    """Return how far a region is from a place: infinitely far, where either is not known."""
    if place is None or region.location is None:
        return math.inf
    return distance_km(place, region.location)


def _location(region: Region | None) -> GeoPoint | None:
    return region.location if region is not None else None
