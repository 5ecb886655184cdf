"""Where tenants' data may be and where callers go, by threads and by asyncio. For the clients."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator

from placet import _convert as convert
from placet._calls import Defaults, call, call_aio, pages, pages_aio
from placet._requests import tenant_to_wire
from placet._topology import (
    Country,
    GeoPoint,
    InRegion,
    Place,
    Placement,
    Region,
    ResidencyRule,
    Route,
)
from placet._values import refusal, text_to_wire
from placet.v1 import topology_pb2, topology_service_pb2, topology_service_pb2_grpc


class Placements:
    """Placing tenants, and finding the way to them."""

    _defaults: Defaults
    _placing: topology_service_pb2_grpc.TopologyServiceStub

    def regions(self, *, timeout_s: float | None = None) -> list[Region]:
        """Return every region there is, in order of name.

        Raises:
            CouldNotDecide: no answer came.
        """
        request = topology_service_pb2.ListRegionsRequest()
        response = call(self._placing.ListRegions, request, self._defaults.managing_s(timeout_s))
        return list(map(convert.region, response.regions))

    def put_tenant(self, placement: Placement, *, timeout_s: float | None = None) -> Placement:
        """Say where a tenant's data may be, and where its callers go; return it as it is then.

        Nodes that the rule forbids drop what they have of the tenant.

        Args:
            placement: where. Its ``etag`` is that of the placement it takes the place of; empty,
                there must be none.
            timeout_s: deadline, when it is not the client's.

        Raises:
            Conflict: the placement is not at that etag.
            FailedPrecondition: the rule does not allow a region that was named, or forbids the
                control plane that was asked what its store holds.
            NotFound: there is no such region.
            InvalidRequest: something in it cannot be such.
            CouldNotDecide: no answer came.
        """
        request = _put_request(placement)
        response = call(self._placing.PutTenant, request, self._defaults.managing_s(timeout_s))
        return convert.placement(response.tenant)

    def get_tenant(self, *, tenant: str | None = None, timeout_s: float | None = None) -> Placement:
        """Return where a tenant is placed. One that never was may be anywhere, and has no etag.

        Raises:
            NotFound: it was not placed, and nobody published anything for it.
            CouldNotDecide: no answer came.
        """
        request = _get_request(self._defaults.tenant_or(tenant))
        response = call(self._placing.GetTenant, request, self._defaults.managing_s(timeout_s))
        return convert.placement(response.tenant)

    def tenants(self, *, page_size: int = 0, timeout_s: float | None = None) -> Iterator[Placement]:
        """Yield where each tenant is placed, in order of name.

        Raises:
            CouldNotDecide: no answer came.
        """
        request = topology_service_pb2.ListTenantsRequest(page_size=page_size)
        for page in pages(self._placing.ListTenants, request, self._defaults.managing_s(timeout_s)):
            yield from map(convert.placement, page.tenants)

    def route(
        self,
        place: Place | None = None,
        *,
        tenant: str | None = None,
        timeout_s: float | None = None,
    ) -> Route:
        """Return where a tenant's callers at a place may go, best first.

        Args:
            place: where the caller is. None: not known; the tenant's home is taken.
            tenant: whose callers; the client's unless given.
            timeout_s: deadline, when it is not the client's.

        Raises:
            FailedPrecondition: no region is allowed.
            NotFound: there is no such tenant or region.
            InvalidRequest: there is no such place.
            CouldNotDecide: no answer came.
        """
        request = _route_request(self._defaults.tenant_or(tenant), place)
        response = call(self._placing.GetRoute, request, self._defaults.managing_s(timeout_s))
        return convert.route(response.route)


class AsyncPlacements:
    """Placing tenants, and finding the way to them: ``Placements``, for asyncio."""

    _defaults: Defaults

    @property
    @abstractmethod
    def _placing(self) -> topology_service_pb2_grpc.TopologyServiceAsyncStub: ...

    async def regions(self, *, timeout_s: float | None = None) -> list[Region]:
        """Return every region there is, in order of name."""
        request = topology_service_pb2.ListRegionsRequest()
        response = await call_aio(
            self._placing.ListRegions, request, self._defaults.managing_s(timeout_s)
        )
        return list(map(convert.region, response.regions))

    async def put_tenant(
        self, placement: Placement, *, timeout_s: float | None = None
    ) -> Placement:
        """Say where a tenant's data may be, and where its callers go; return it as it is then."""
        request = _put_request(placement)
        response = await call_aio(
            self._placing.PutTenant, request, self._defaults.managing_s(timeout_s)
        )
        return convert.placement(response.tenant)

    async def get_tenant(
        self, *, tenant: str | None = None, timeout_s: float | None = None
    ) -> Placement:
        """Return where a tenant is placed. One that never was may be anywhere, and has no etag."""
        request = _get_request(self._defaults.tenant_or(tenant))
        response = await call_aio(
            self._placing.GetTenant, request, self._defaults.managing_s(timeout_s)
        )
        return convert.placement(response.tenant)

    async def tenants(
        self, *, page_size: int = 0, timeout_s: float | None = None
    ) -> AsyncIterator[Placement]:
        """Yield where each tenant is placed, in order of name."""
        request = topology_service_pb2.ListTenantsRequest(page_size=page_size)
        async for page in pages_aio(
            self._placing.ListTenants, request, self._defaults.managing_s(timeout_s)
        ):
            for message in page.tenants:
                yield convert.placement(message)

    async def route(
        self,
        place: Place | None = None,
        *,
        tenant: str | None = None,
        timeout_s: float | None = None,
    ) -> Route:
        """Return where a tenant's callers at a place may go, best first."""
        request = _route_request(self._defaults.tenant_or(tenant), place)
        response = await call_aio(
            self._placing.GetRoute, request, self._defaults.managing_s(timeout_s)
        )
        return convert.route(response.route)


def _put_request(placement: Placement) -> topology_service_pb2.PutTenantRequest:
    if not isinstance(placement, Placement):
        raise refusal("placement", "is none; pass a `placet.Placement`")
    if placement.residency is ResidencyRule.UNKNOWN:
        raise refusal("residency", "is not known to this version; pass another rule")
    return topology_service_pb2.PutTenantRequest(
        tenant=topology_pb2.Tenant(
            name=tenant_to_wire(placement.tenant),
            residency=topology_pb2.ResidencyRule.ValueType(placement.residency.value),
            home_region=text_to_wire(placement.home_region, "home_region"),
            affinity_regions=[
                text_to_wire(region, "affinity_regions") for region in placement.affinity_regions
            ],
            etag=text_to_wire(placement.etag, "etag"),
        )
    )


def _get_request(tenant: str | None) -> topology_service_pb2.GetTenantRequest:
    return topology_service_pb2.GetTenantRequest(tenant=tenant_to_wire(tenant))


def _route_request(tenant: str | None, place: Place | None) -> topology_service_pb2.GetRouteRequest:
    return topology_service_pb2.GetRouteRequest(
        tenant=tenant_to_wire(tenant), location=place_to_wire(place)
    )


def place_to_wire(place: Place | None) -> topology_pb2.Location | None:
    """Return where a caller is as a message; None when it is not known.

    Raises:
        InvalidRequest: it is no place.
    """
    match place:
        case None:
            return None
        case GeoPoint():
            point = topology_pb2.GeoPoint(latitude=place.latitude, longitude=place.longitude)
            return topology_pb2.Location(point=point)
        case Country():
            return topology_pb2.Location(country=text_to_wire(place.code, "country"))
        case InRegion():
            return topology_pb2.Location(region=text_to_wire(place.name, "region"))
    raise refusal("place", "is none; pass a `GeoPoint`, a `Country` or an `InRegion`")
