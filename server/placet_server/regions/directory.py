"""Where tenants' callers go: what routes say, and what a node says that may not serve a tenant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from placet_engine.items import Placement
from placet_engine.placement.geography import GeoPoint
from placet_engine.placement.routing import Endpoint, NoRegionAllowed, Route, find_route
from placet_server.errors import PlacetError, TenantUnknown, WrongRegion
from placet_server.policies.residency import Residency


class Directory:
    """Finds routes.

    Args:
        residency: where tenants may be.
        endpoints: tells the addresses of the nodes of a region that take calls. None: those that
            the file of regions names.
    """

    def __init__(
        self,
        residency: Residency,
        endpoints: Callable[[str], Sequence[Endpoint]] | None = None,
    ) -> None:
        self.residency = residency
        self._endpoints = endpoints or self._named

    def route(self, tenant: str, place: GeoPoint | None = None) -> Route:
        """Return where a tenant's callers at a place may go, best first.

        Args:
            tenant: its name. One that was never placed may be anywhere.
            place: where the caller is. None: nobody knows.

        Raises:
            NoRegionAllowed: there is no region that the tenant's rule allows.
        """
        return self.route_of(self.residency.placement(tenant), place)

    def route_of(self, placement: Placement, place: GeoPoint | None = None) -> Route:
        """Return where callers would go of whoever is placed so. As :meth:`route` else."""
        found = find_route(
            self.residency.regions,
            rule=placement.rule,
            home=placement.home_region,
            affinity=placement.affinity_regions,
            place=place,
        )
        return Route(
            tenant=placement.tenant,
            rule=placement.rule,
            regions=tuple(
                replace(one, endpoints=tuple(self._endpoints(one.region.name))) for one in found
            ),
        )

    def check(self, tenant: str) -> None:
        """See that a tenant's data may be on this node; the platform's may be everywhere.

        Raises:
            WrongRegion: it may not.
        """
        if not self.residency.is_here(tenant):
            raise self.refusal(tenant)

    def refusal(self, tenant: str) -> PlacetError:
        """Return why this node has nothing of a tenant: it may not, or nobody published any."""
        residency = self.residency
        if residency.is_here(tenant):
            return TenantUnknown(tenant)
        regions = residency.regions
        here = regions.get(regions.here)
        try:
            # Whoever is refused is near this node, as far as one can tell.
            route = self.route(tenant, here.location if here is not None else None)
        except NoRegionAllowed:
            route = Route(tenant=tenant, rule=residency.rule(tenant), regions=())
        return WrongRegion(
            route, region=regions.here, jurisdiction=regions.jurisdiction(regions.here)
        )

    def _named(self, region: str) -> tuple[Endpoint, ...]:
        known = self.residency.regions.get(region)
        return tuple(Endpoint(address=address) for address in known.endpoints) if known else ()
