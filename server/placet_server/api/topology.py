"""TopologyService: regions, where tenants may be, and where their callers go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from placet.v1 import topology_pb2, topology_service_pb2
from placet.wire import Reader, placement_to_wire, read_placement, read_region
from placet_engine.items import Item, Placement
from placet_engine.placement.countries import CountryUnknown, place_of
from placet_engine.placement.geography import GeoPoint
from placet_engine.placement.regions import Region
from placet_server.api.callers import caller_of
from placet_server.api.deadlines import time_left_s
from placet_server.api.identity import visible
from placet_server.api.paging import next_page_token, read_page
from placet_server.api.routes import route_to_wire
from placet_server.errors import NodeNotReady, RegionUnknown, TenantUnknown
from placet_server.policies.active import ActivePolicies
from placet_server.regions.directory import Directory
from placet_server.regions.placing import etag_of

_Context = grpc.aio.ServicerContext[Any, Any]
_pb = topology_service_pb2


class Places(Protocol):
    """Writes placements. See ``Placer``."""

    async def place(
        self, placement: Placement, *, etag: str, author: str, timeout_s: float
    ) -> Item:
        """Say where a tenant's data may be."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose route is asked for, and from where."""

    tenant: str
    place: GeoPoint | None
    """None: nobody knows."""


class TopologyService:
    """Answers from the node's memory; places tenants in the store.

    Args:
        directory: where tenants may be, and where their callers go.
        placer: writes placements.
        active: which tenants there are.
    """

    def __init__(self, *, directory: Directory, placer: Places, active: ActivePolicies) -> None:
        self._directory = directory
        self._residency = directory.residency
        self._placer = placer
        self._active = active

    async def ListRegions(
        self, request: _pb.ListRegionsRequest, context: _Context
    ) -> _pb.ListRegionsResponse:
        """Return every region there is, in order of name."""
        return _pb.ListRegionsResponse(regions=map(region_to_wire, self._residency.regions))

    async def PutTenant(
        self, request: _pb.PutTenantRequest, context: _Context
    ) -> _pb.PutTenantResponse:
        """Say where a tenant's data may be, and where its callers go."""
        reader = Reader()
        placement = read_placement(request.tenant, reader, "tenant")
        reader.finish()
        item = await self._placer.place(
            # When it is written is not for the caller to say.
            Placement(
                tenant=placement.tenant,
                rule=placement.rule,
                home_region=placement.home_region,
                affinity_regions=placement.affinity_regions,
            ),
            etag=request.tenant.etag,
            author=caller_of(context).name,
            timeout_s=time_left_s(context),
        )
        return _pb.PutTenantResponse(tenant=placed_to_wire(item))

    async def GetTenant(
        self, request: _pb.GetTenantRequest, context: _Context
    ) -> _pb.GetTenantResponse:
        """Return one tenant's placement."""
        reader = Reader()
        tenant = reader.tenant(request.tenant)
        reader.finish()
        self._check_known(tenant)
        return _pb.GetTenantResponse(tenant=self._tenant_to_wire(tenant))

    async def ListTenants(
        self, request: _pb.ListTenantsRequest, context: _Context
    ) -> _pb.ListTenantsResponse:
        """Return the placements of tenants that the caller may see, in order of name.

        Those that were never placed are among them.
        """
        reader = Reader()
        page = read_page(request, reader)
        reader.finish()
        seen = visible()
        known = self._residency.placements.keys() | self._active.tenants.keys()
        names = sorted(name for name in known if name in seen)
        stop = page.start + page.size
        return _pb.ListTenantsResponse(
            tenants=map(self._tenant_to_wire, names[page.start : stop]),
            next_page_token=next_page_token(request, stop, 0) if stop < len(names) else "",
        )

    async def GetRoute(
        self, request: _pb.GetRouteRequest, context: _Context
    ) -> _pb.GetRouteResponse:
        """Return where a tenant's callers at a place may go."""
        asked = self.read_asked(request)
        return _pb.GetRouteResponse(route=self.route(asked))

    def read_asked(self, request: _pb.GetRouteRequest | _pb.WatchRouteRequest) -> Asked:
        """Read whose route is asked for, and from where.

        Raises:
            RegionUnknown: the caller says it is in a region that is none.
        """
        reader = Reader()
        tenant = reader.tenant(request.tenant)
        place = self._read_place(request.location, reader)
        reader.finish()
        return Asked(tenant, place)

    def route(self, asked: Asked) -> topology_pb2.Route:
        """Return the route as it is now.

        Raises:
            TenantUnknown: there is no such tenant, by now.
            NoRegionAllowed: there is no region that the tenant's rule allows.
        """
        self._check_known(asked.tenant)
        return route_to_wire(self._directory.route(asked.tenant, asked.place))

    def tenants(self) -> Mapping[str, Item]:
        """Return the placements of the tenants that were placed."""
        return self._residency.placements

    def regions(self) -> Iterable[Region]:
        """Return every region there is."""
        return self._residency.regions

    def is_known(self, tenant: str) -> bool:
        """Whether there is such a tenant: one that was placed, or that something is of."""
        return tenant in self._residency.placements or tenant in self._active.tenants

    def _check_known(self, tenant: str) -> None:
        if not self._active.is_loaded:
            raise NodeNotReady
        if not self.is_known(tenant):
            raise TenantUnknown(tenant)

    def _tenant_to_wire(self, tenant: str) -> topology_pb2.Tenant:
        item = self._residency.placements.get(tenant)
        if item is None:
            return placement_to_wire(Placement(tenant=tenant))
        return placed_to_wire(item)

    def _read_place(self, message: topology_pb2.Location, reader: Reader) -> GeoPoint | None:
        """Read where a caller is; None where that is not known.

        Raises:
            RegionUnknown: it says it is in a region that is none.
        """
        match message.WhichOneof("place"):
            case "country":
                try:
                    return place_of(message.country)
                except CountryUnknown as error:
                    reader.refuse("location.country", str(error))
            case "point":
                try:
                    return GeoPoint(message.point.latitude, message.point.longitude)
                except ValueError as error:
                    reader.refuse("location.point", str(error))
            case "region":
                name = read_region(message.region, reader, "location.region")
                reader.finish()
                region = self._residency.regions.get(name)
                if region is None:
                    known = [one.name for one in self._residency.regions]
                    raise RegionUnknown(name, known)
                return region.location
        return None


def region_to_wire(region: Region) -> topology_pb2.Region:
    """Return a region as a message."""
    message = topology_pb2.Region(
        name=region.name,
        title=region.title,
        jurisdiction=region.jurisdiction,
        regulations=region.regulations,
    )
    if region.location is not None:
        message.location.latitude = region.location.latitude
        message.location.longitude = region.location.longitude
    return message


def placed_to_wire(item: Item) -> topology_pb2.Tenant:
    """Return where a tenant was placed as a message."""
    assert isinstance(item.body, Placement)
    message = placement_to_wire(item.body)
    message.etag = etag_of(item)
    return message
