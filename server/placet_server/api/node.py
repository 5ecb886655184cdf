"""NodeService: how this node fares."""

from __future__ import annotations

import asyncio
import datetime
import heapq
from collections.abc import Mapping
from typing import Any

import grpc

from placet.v1 import node_service_pb2, node_service_pb2_grpc
from placet.wire import Reader, duration
from placet_engine.cache import CacheStatistics, DecisionCache, together
from placet_server.api.identity import visible
from placet_server.api.paging import next_page_token, read_page
from placet_server.api.xds_clients import xds_client_to_wire
from placet_server.decisions.decider import Decided
from placet_server.policies.active import ActivePolicies
from placet_server.xds.plane import ControlPlane

_Context = grpc.aio.ServicerContext[Any, Any]

_DEFAULT_TENANTS = 20
_MAX_TENANTS = 1000
# Tenants are counted so many at a time, some 5 µs each: decisions are made on the same thread.
_TENANTS_A_TURN = 200


class NodeService(node_service_pb2_grpc.NodeServiceServicer):
    """Tells what the node's parts count.

    Args:
        cache: the node's decision cache.
        active: the node's policies.
        plane: its clients that speak xDS.
        node: the node's name.
        region: where it is.
        start_time: when it started, in UTC.
    """

    def __init__(
        self,
        *,
        cache: DecisionCache[Decided],
        active: ActivePolicies,
        plane: ControlPlane,
        node: str,
        region: str,
        start_time: datetime.datetime,
    ) -> None:
        self._cache = cache
        self._active = active
        self._plane = plane
        self._node = node
        self._region = region
        self._start_time = start_time

    async def GetCacheStatistics(
        self, request: node_service_pb2.GetCacheStatisticsRequest, context: _Context
    ) -> node_service_pb2.GetCacheStatisticsResponse:
        """Return how the decision cache does."""
        reader = Reader()
        max_tenants = request.max_tenants if request.HasField("max_tenants") else _DEFAULT_TENANTS
        if not 0 <= max_tenants <= _MAX_TENANTS:
            reader.refuse("max_tenants", f"is {max_tenants}; use 0 to 1,000, or leave it out")
        # Empty where the other services mean the platform: nobody asks as the platform.
        tenant = reader.tenant(request.tenant, platform=True)
        reader.finish()
        if tenant and not self._active.has_program(tenant):
            raise self._active.missing(tenant)
        # Asked for once, so that the tenants add up to the total.
        seen = visible()
        parts = {name: part for name, part in (await self._parts()).items() if name in seen}
        if tenant:
            listed = [(tenant, parts.get(tenant, CacheStatistics()))]
        else:
            listed = _largest(parts, max_tenants)
        return self._response(parts, listed)

    async def ListXdsClients(
        self, request: node_service_pb2.ListXdsClientsRequest, context: _Context
    ) -> node_service_pb2.ListXdsClientsResponse:
        """Return who balances by what this node tells them."""
        reader = Reader()
        page = read_page(request, reader)
        reader.finish()
        sessions = self._plane.roster.listed()
        stop = page.start + page.size
        return node_service_pb2.ListXdsClientsResponse(
            clients=(
                xds_client_to_wire(session, self._plane.answers.balancing(session.client))
                for session in sessions[page.start : stop]
            ),
            next_page_token=next_page_token(request, stop, 0) if stop < len(sessions) else "",
            node=self._node,
        )

    async def _parts(self) -> dict[str, CacheStatistics]:
        """Count tenant by tenant, and let others on the event loop in between."""
        parts = {}
        for number, tenant in enumerate(self._cache.names(), 1):
            part = self._cache.of(tenant)
            part.expire()
            parts[tenant] = part.statistics()
            if number % _TENANTS_A_TURN == 0:
                await asyncio.sleep(0)
        return parts

    def _response(
        self, parts: Mapping[str, CacheStatistics], listed: list[tuple[str, CacheStatistics]]
    ) -> node_service_pb2.GetCacheStatisticsResponse:
        response = node_service_pb2.GetCacheStatisticsResponse(
            node=self._node,
            region=self._region,
            total=_to_wire(together(parts.values())),
            tenants=(
                node_service_pb2.TenantCacheStatistics(
                    tenant=tenant, statistics=_to_wire(statistics)
                )
                for tenant, statistics in listed
            ),
            tenant_count=len(parts),
            max_bytes=self._cache.max_bytes,
            ttl=duration(self._cache.ttl_s),
        )
        response.start_time.FromDatetime(self._start_time)
        return response


def _largest(parts: Mapping[str, CacheStatistics], count: int) -> list[tuple[str, CacheStatistics]]:
    """Return the tenants with the most bytes; those with as many in order of name."""
    return heapq.nsmallest(count, parts.items(), key=lambda part: (-part[1].bytes, part[0]))


def _to_wire(statistics: CacheStatistics) -> node_service_pb2.CacheStatistics:
    return node_service_pb2.CacheStatistics(
        exact_hits=statistics.exact_hits,
        hits=statistics.hits,
        misses=statistics.misses,
        evictions=statistics.evictions,
        entries=statistics.entries,
        bytes=statistics.bytes,
    )
