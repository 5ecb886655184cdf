"""What nodes are asked about themselves, by threads and by asyncio. Mixed into the clients."""

from __future__ import annotations

from abc import abstractmethod

from placet import _convert as convert
from placet._calls import Defaults, call, call_aio, pages, pages_aio
from placet._nodes import CacheReport
from placet._requests import tenant_to_wire
from placet._values import refusal
from placet._xds_clients import XdsClient
from placet.v1 import node_service_pb2, node_service_pb2_grpc

_DEFAULT_TENANTS = 20
_MAX_TENANTS = 1000


class Operations:
    """Looking after nodes. An answer is that of the one node the call came to."""

    _defaults: Defaults
    _operating: node_service_pb2_grpc.NodeServiceStub

    def cache_statistics(
        self,
        *,
        tenant: str | None = None,
        max_tenants: int = _DEFAULT_TENANTS,
        timeout_s: float | None = None,
    ) -> CacheReport:
        """Return how the node's decision cache does, as a whole and by tenant.

        Args:
            tenant: list only this one; the client's unless given. ``""``, or neither:
                those with the most bytes.
            max_tenants: how many of those are listed at most, 0 to 1,000.
            timeout_s: deadline, when it is not the client's.

        Raises:
            InvalidRequest: ``max_tenants`` or ``tenant`` cannot be such.
            NotFound: there is no such tenant.
            PermissionDenied: the caller may not see this.
            CouldNotDecide: no answer came.
        """
        request = _cache_statistics_request(self._defaults.tenant_or(tenant), max_tenants)
        response = call(
            self._operating.GetCacheStatistics, request, self._defaults.managing_s(timeout_s)
        )
        return convert.cache_report(response)

    def xds_clients(self, *, timeout_s: float | None = None) -> list[XdsClient]:
        """Return the clients of xDS that are connected to the node, in order of id.

        Args:
            timeout_s: deadline of each page, when it is not the client's.

        Raises:
            PermissionDenied: the caller may not see this.
            CouldNotDecide: no answer came.
        """
        timeout_s = self._defaults.managing_s(timeout_s)
        request = node_service_pb2.ListXdsClientsRequest()
        return [
            convert.xds_client(message)
            for page in pages(self._operating.ListXdsClients, request, timeout_s)
            for message in page.clients
        ]


class AsyncOperations:
    """Looking after nodes: ``Operations``, for asyncio."""

    _defaults: Defaults

    @property
    @abstractmethod
    def _operating(self) -> node_service_pb2_grpc.NodeServiceAsyncStub: ...

    async def cache_statistics(
        self,
        *,
        tenant: str | None = None,
        max_tenants: int = _DEFAULT_TENANTS,
        timeout_s: float | None = None,
    ) -> CacheReport:
        """Return how the node's decision cache does, as a whole and by tenant."""
        request = _cache_statistics_request(self._defaults.tenant_or(tenant), max_tenants)
        response = await call_aio(
            self._operating.GetCacheStatistics, request, self._defaults.managing_s(timeout_s)
        )
        return convert.cache_report(response)

    async def xds_clients(self, *, timeout_s: float | None = None) -> list[XdsClient]:
        """Return the clients of xDS that are connected to the node, in order of id."""
        timeout_s = self._defaults.managing_s(timeout_s)
        request = node_service_pb2.ListXdsClientsRequest()
        return [
            convert.xds_client(message)
            async for page in pages_aio(self._operating.ListXdsClients, request, timeout_s)
            for message in page.clients
        ]


def _cache_statistics_request(
    tenant: str | None, max_tenants: int
) -> node_service_pb2.GetCacheStatisticsRequest:
    if not 0 <= max_tenants <= _MAX_TENANTS:
        raise refusal("max_tenants", f"is {max_tenants}; pass 0 to 1,000")
    return node_service_pb2.GetCacheStatisticsRequest(
        tenant=tenant_to_wire(tenant or ""), max_tenants=max_tenants
    )
