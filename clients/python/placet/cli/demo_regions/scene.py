"""What there is in the demo: regions and their nodes, tenants, and the places that calls come from.

Pure: nothing runs here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from placet import ResidencyRule
from placet_engine.placement.countries import place_of
from placet_engine.placement.geography import GeoPoint, distance_km
from placet_engine.placement.regions import DEFAULT_REGIONS

FIBRE_KM_PER_S = 299_792.458 / 1.468
"""Light in a fibre: by the group index of ITU-T G.652 fibre at 1550 nm."""
DETOUR = 1.5
"""Cables are about so much longer than the great circle."""

NODES_PER_REGION = 2
CALLS_PER_SECOND = 6
"""That each tenant makes at each place."""

REGION_NAMES: Sequence[str] = (
    *("us-east", "us-west", "eu-west", "eu-central", "apac-southeast", "apac-northeast"),
)
COUNTRIES: Sequence[str] = ("IE", "DE", "US", "JP", "BR")


@dataclass(frozen=True, slots=True)
class Site:
    """A region of the demo."""

    name: str
    title: str
    jurisdiction: str
    location: GeoPoint

    @property
    def code(self) -> str:
        """A word for where there is little room: ``euw``, ``apse``."""
        area, _, direction = self.name.partition("-")
        half = direction[:1] if direction.startswith(("north", "south")) else ""
        return f"{area[:2]}{half}{direction.removeprefix('north').removeprefix('south')[:1]}"


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """A node that there is to be."""

    name: str
    region: str
    is_control: bool
    """Whether it has its jurisdiction's store; the others of that jurisdiction follow it."""

    @property
    def number(self) -> str:
        """Its number within the region."""
        return self.name.rpartition("-")[2]


@dataclass(frozen=True, slots=True)
class Target:
    """Nodes by what they have in common: what something is done to."""

    name: str
    """For people."""
    nodes: Sequence[NodeSpec]


@dataclass(frozen=True, slots=True)
class TenantSpec:
    """A tenant that asks."""

    name: str
    rule: ResidencyRule
    home: str
    jurisdictions: frozenset[str]
    """Where it may be, said once more by hand: what it is checked by that the rule is kept."""


_ALL = frozenset({"US", "EU", "APAC"})
_TENANTS = (
    TenantSpec("fjord", ResidencyRule.EU_ONLY, "eu-west", frozenset({"EU"})),
    TenantSpec("bison", ResidencyRule.US_ONLY, "us-east", frozenset({"US"})),
    TenantSpec("koi", ResidencyRule.APAC_ONLY, "apac-northeast", frozenset({"APAC"})),
    TenantSpec("condor", ResidencyRule.NO_US, "eu-central", frozenset({"EU", "APAC"})),
    TenantSpec("globe", ResidencyRule.ANY, "us-west", _ALL),
)


class Scene:
    """All that there is, of some of the regions.

    Args:
        regions: names of those that there are to be.
    """

    def __init__(self, regions: Sequence[str] = REGION_NAMES) -> None:
        self.sites: Sequence[Site] = tuple(
            _site(name) for name in REGION_NAMES if name in set(regions)
        )
        self.jurisdictions: Sequence[str] = tuple(
            dict.fromkeys(site.jurisdiction for site in self.sites)
        )
        self.nodes: Sequence[NodeSpec] = tuple(
            NodeSpec(f"{site.name}-{number}", site.name, number == 1 and self._is_seat(site))
            for site in self.sites
            for number in range(1, NODES_PER_REGION + 1)
        )
        here = frozenset(self.jurisdictions)
        self.tenants: Sequence[TenantSpec] = tuple(
            tenant for tenant in _TENANTS if tenant.jurisdictions & here
        )
        self.countries = COUNTRIES

    def _is_seat(self, site: Site) -> bool:
        """Whether a region is where its jurisdiction's control node is: the first of them."""
        return site == next(s for s in self.sites if s.jurisdiction == site.jurisdiction)

    @cached_property
    def site(self) -> Mapping[str, Site]:
        """The regions by name."""
        return {site.name: site for site in self.sites}

    @cached_property
    def node(self) -> Mapping[str, NodeSpec]:
        """The nodes by name."""
        return {node.name: node for node in self.nodes}

    def jurisdiction_of(self, node: NodeSpec) -> str:
        """Return the law that a node is under."""
        return self.site[node.region].jurisdiction

    def control_of(self, jurisdiction: str) -> NodeSpec:
        """Return the node with a jurisdiction's store."""
        return next(
            node
            for node in self.nodes
            if node.is_control and self.jurisdiction_of(node) == jurisdiction
        )

    def nodes_in(self, *, region: str = "", jurisdiction: str = "") -> Sequence[NodeSpec]:
        """Return the nodes of a region, or of all regions of a jurisdiction."""
        return tuple(
            node
            for node in self.nodes
            if node.region == region or self.jurisdiction_of(node) == jurisdiction
        )

    def may_serve(self, tenant: TenantSpec, region: str) -> bool:
        """Whether a tenant's calls may be answered in a region."""
        site = self.site.get(region)
        return site is not None and site.jurisdiction in tenant.jurisdictions

    def home_of(self, tenant: TenantSpec) -> str:
        """Return a tenant's home, empty where that is none of the regions there are."""
        return tenant.home if tenant.home in self.site else ""

    def nearest(self, country: str) -> Site:
        """Return the region that is nearest to a country's callers."""
        here = place_of(country)
        return min(self.sites, key=lambda site: distance_km(here, site.location))

    def one_way_s(self, source: str, target: str) -> float:
        """Return how long a byte is on its way between two places, in seconds.

        Args:
            source: a region's name or a country's code.
            target: the same.
        """
        km = distance_km(self._location(source), self._location(target))
        return km * DETOUR / FIBRE_KM_PER_S

    def _location(self, place: str) -> GeoPoint:
        site = self.site.get(place)
        return site.location if site is not None else place_of(place)


def _site(name: str) -> Site:
    region = next(region for region in DEFAULT_REGIONS if region.name == name)
    assert region.location is not None
    return Site(region.name, region.title, region.jurisdiction, region.location)
