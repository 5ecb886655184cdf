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
from placet_server.xds.clients import Balancing, Client, Dialect, Transport
from placet_server.xds.names import Part, Scope, cluster_name, scope_of, scope_of_cluster
from placet_server.xds.rendering import Host, Place, Resources, Target, rendered
from placet_server.xds.resources import Resource, Type


@dataclass(frozen=True, slots=True)
class Absent:
    """There is nothing of that name for this client."""

    reason: str
    """For people."""


@dataclass(frozen=True, slots=True)
class _Key:
    """What an answer depends on, beside which nodes there are."""

    scope: Scope
    placement: Placement
    bound: ResidencyRule | None
    place: GeoPoint | None
    dialect: Dialect
    balancing: Balancing
    transport: Transport


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
        self._made: dict[_Key, Resources] = {}
        self._former: dict[_Key, tuple[Target, Resources]] = {}
        self._targets: dict[_Key, Target] = {}
        self._made_at = -1

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
        key = _Key(
            scope=scope,
            placement=self._placement(meant),
            bound=client.bound,
            place=client.place,
            dialect=client.dialect,
            balancing=self.balancing(client),
            transport=client.transport,
        )
        return self._resources(key)[type_, name]

    def _placement(self, scope: Scope) -> Placement:
        if scope.tenant:
            return self._directory.residency.placement(scope.tenant)
        return Placement(tenant="", rule=scope.rule or ResidencyRule.ANY)

    def _resources(self, key: _Key) -> Resources:
        """Return all of a target, worked out once for all who ask between two changes."""
        if self._made_at != self._routes.count:
            self._made_at = self._routes.count
            # Those nobody asked for since the last change are let go of.
            self._former = {
                key: (self._targets[key], resources) for key, resources in self._made.items()
            }
            self._made, self._targets = {}, {}
        made = self._made.get(key)
        if made is None:
            target = self._target(key)
            former = self._former.get(key)
            made = former[1] if former is not None and former[0] == target else rendered(target)
            self._made[key], self._targets[key] = made, target
        return made

    def _target(self, key: _Key) -> Target:
        regions = self._regions(key)
        by_control = [_controlled(region) for region in regions]
        if not any(region.endpoints for region in by_control):
            # Of nodes that belong to another control plane nobody here knows what they take.
            by_control = [_unknown(region) for region in regions]
        return Target(
            scope=key.scope,
            nodes=self._places(regions),
            control=self._places(by_control),
            dialect=key.dialect,
            balancing=key.balancing,
            transport=key.transport,
        )

    def _regions(self, key: _Key) -> Sequence[RouteRegion]:
        try:
            route = self._directory.route_of(key.placement, key.place)
        except NoRegionAllowed:
            return ()
        if key.bound is None:
            return route.regions
        is_allowed = self._directory.residency.is_allowed
        return [one for one in route.regions if is_allowed(key.bound, one.region.name)]

    def _places(self, regions: Sequence[RouteRegion]) -> tuple[Place, ...]:
        # An address that comes twice has clients refuse all of them.
        seen: set[tuple[str, int]] = set()
        places = (
            Place(one.region.name, tuple(self._hosts(one.endpoints, seen))) for one in regions
        )
        return tuple(place for place in places if place.hosts)

    def _hosts(self, endpoints: Sequence[Endpoint], seen: set[tuple[str, int]]) -> Iterator[Host]:
        for endpoint in endpoints:
            name, _, port = endpoint.address.rpartition(":")
            name = name.strip("[]")
            for ip in self._addresses(name):
                if (ip, int(port)) not in seen:
                    seen.add((ip, int(port)))
                    yield Host(ip=ip, port=int(port), name=name, weight=endpoint.weight)


def _controlled(region: RouteRegion) -> RouteRegion:
    return replace(region, endpoints=tuple(one for one in region.endpoints if one.is_control))


def _unknown(region: RouteRegion) -> RouteRegion:
    return replace(region, endpoints=tuple(one for one in region.endpoints if not one.node))
