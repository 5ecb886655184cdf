"""What clients are answered: routes as they are now, as resources that many clients share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from placet_engine.items import Placement
from placet_engine.placement.geography import GeoPoint
from placet_engine.placement.residency import ResidencyRule
from placet_engine.placement.routing import Endpoint, NoRegionAllowed, RouteRegion
from placet_server.regions.directory import Directory
from placet_server.regions.moves import Moves
from placet_server.xds.addresses import host_port
from placet_server.xds.clients import Balancing, Client
from placet_server.xds.names import Part, Scope, cluster_name, scope_of, scope_of_cluster
from placet_server.xds.places import Host, Place, Places
from placet_server.xds.remembered import Remembered
from placet_server.xds.rendering import Led, Resources, Style, rendered
from placet_server.xds.resources import Resource, Type


@dataclass(frozen=True, slots=True)
class Absent:
    """There is nothing of that name for this client."""

    reason: str
    """For people."""


@dataclass(frozen=True, slots=True)
class _Where:
    """What it depends on where a target leads, beside which nodes there are."""

    rule: ResidencyRule
    home: str
    affinity: tuple[str, ...]
    bound: ResidencyRule | None
    place: GeoPoint | None


class Answers:
    """Finds resources. Lives on one event loop.

    Args:
        directory: where callers may go.
        is_known: whether there is a tenant of that name.
        addresses: tells the numbers of a host.
        routes: moves when calls may have to go elsewhere.
        balancing: what clients get that do not say.
    """

    def __init__(
        self,
        *,
        directory: Directory,
        is_known: Callable[[str], bool],
        addresses: Callable[[str], Sequence[str]],
        routes: Moves,
        balancing: Balancing,
    ) -> None:
        self._directory = directory
        self._is_known = is_known
        self._addresses = addresses
        self._routes = routes
        self._balancing = balancing
        self._led: Remembered[_Where, Led] = Remembered()
        self._rendered: Remembered[tuple[Style, _Where], tuple[Led, Resources]] = Remembered()
        self._remembered_at = -1

    def balancing(self, client: Client) -> Balancing:
        """Return who gets a client's next call."""
        return client.balancing or self._balancing

    def wildcard(self, type_: Type) -> frozenset[str]:
        """Return the names of all there is of a type, for a client that names none."""
        if type_ is Type.CLUSTER:
            return frozenset(cluster_name(Scope(), part) for part in Part)
        return frozenset()

    def find(
        self, client: Client, type_: Type, name: str, is_visible: Callable[[str], bool]
    ) -> Resource | Absent:
        """Return a resource for a client.

        Args:
            client: who asks.
            type_: of what type.
            name: what the client calls it.
            is_visible: says which tenants it may be told of.
        """
        is_cluster = type_ in (Type.CLUSTER, Type.ENDPOINTS)
        scope = scope_of_cluster(name) if is_cluster else scope_of(name)
        if scope is None:
            return Absent(
                f"`{name[:200]}` is nothing of Placet's; use xds:///placet, "
                "xds:///TENANT.tenant.placet or xds:///RULE.residency.placet"
            )
        meant = client.default if scope == Scope() else scope
        if meant.tenant and not is_visible(meant.tenant):
            return Absent(f"the caller may not be told of tenant `{meant.tenant}`")
        if meant.tenant and not self._is_known(meant.tenant):
            return Absent(f"tenant `{meant.tenant}` is not known; publish something, or place it")
        style = Style(scope, client.dialect, self.balancing(client), client.transport)
        return self._resources(style, self._where(meant, client))[type_, name]

    def _where(self, meant: Scope, client: Client) -> _Where:
        # Asked for anew each time: nobody is sent where a tenant was allowed to be a moment ago.
        placement = (
            self._directory.residency.placement(meant.tenant)
            if meant.tenant
            else Placement(tenant="", rule=meant.rule or ResidencyRule.ANY)
        )
        return _Where(
            rule=placement.rule,
            home=placement.home_region,
            affinity=placement.affinity_regions,
            bound=client.bound,
            place=client.place,
        )

    def _resources(self, style: Style, where: _Where) -> Resources:
        """Return all of a target, worked out once for all who ask between two changes."""
        if self._remembered_at != self._routes.count:
            self._remembered_at = self._routes.count
            self._led.turn()
            self._rendered.turn()
        found = self._rendered.get((style, where))
        if found is None:
            led = self._lead(where)
            former = self._rendered.former((style, where))
            found = former if former and former[0] is led else (led, rendered(style, led))
            self._rendered.put((style, where), found)
        return found[1]

    def _lead(self, where: _Where) -> Led:
        """Return where targets lead: the same object as long as it is the same."""
        led = self._led.get(where)
        if led is None:
            led = self._find(where)
            former = self._led.former(where)
            led = former if former == led else led
            self._led.put(where, led)
        return led

    def _find(self, where: _Where) -> Led:
        regions = self._regions(where)
        by_control = [_controlled(region) for region in regions]
        if not any(region.endpoints for region in by_control):
            # Of nodes that belong to another control plane nobody here knows what they take.
            by_control = [_unknown(region) for region in regions]
        return Led(nodes=self._places(regions), control=self._places(by_control))

    def _regions(self, where: _Where) -> Sequence[RouteRegion]:
        placement = Placement(
            tenant="",
            rule=where.rule,
            home_region=where.home,
            affinity_regions=where.affinity,
        )
        try:
            route = self._directory.route_of(placement, where.place)
        except NoRegionAllowed:
            return ()
        if where.bound is None:
            return route.regions
        is_allowed = self._directory.residency.is_allowed
        return [one for one in route.regions if is_allowed(where.bound, one.region.name)]

    def _places(self, regions: Sequence[RouteRegion]) -> Places:
        # An address that comes twice has clients refuse all of them.
        seen: set[tuple[str, int]] = set()
        places = (
            Place(one.region.name, tuple(self._hosts(one.endpoints, seen))) for one in regions
        )
        return Places(tuple(place for place in places if place.hosts))

    def _hosts(self, endpoints: Sequence[Endpoint], seen: set[tuple[str, int]]) -> Iterator[Host]:
        for endpoint in endpoints:
            name, port = host_port(endpoint.address)
            for ip in self._addresses(name):
                if (ip, port) not in seen:
                    seen.add((ip, port))
                    yield Host(ip=ip, port=port, name=name, weight=endpoint.weight)


def _controlled(region: RouteRegion) -> RouteRegion:
    return replace(region, endpoints=tuple(one for one in region.endpoints if one.is_control))


def _unknown(region: RouteRegion) -> RouteRegion:
    return replace(region, endpoints=tuple(one for one in region.endpoints if not one.node))
