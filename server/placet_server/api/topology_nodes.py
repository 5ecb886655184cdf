"""TopologyService, as far as it is about nodes: their leases, what is set of them, who is there."""

from __future__ import annotations

from typing import Any

import grpc

from placet.v1 import topology_service_pb2
from placet.wire import (
    LIMITS,
    Reader,
    duration,
    node_to_wire,
    read_condition,
    read_node_id,
    read_region,
    read_registration,
    seconds,
)
from placet_engine.placement.regions import Regions
from placet_server.api.callers import caller_of
from placet_server.api.deadlines import time_left_s
from placet_server.api.paging import next_page_token, read_page
from placet_server.errors import RegionUnknown
from placet_server.policies.active import ActivePolicies
from placet_server.regions.announcing import Registrar
from placet_server.regions.following import TopologyFollower
from placet_server.regions.node_settings import NodeSettingsKeeper
from placet_server.regions.nodes import NodeView

_Context = grpc.aio.ServicerContext[Any, Any]
_pb = topology_service_pb2


class TopologyNodes:
    """Answers from the node's memory; keeps what is set of nodes in the store.

    Args:
        view: the nodes.
        registrar: grants leases.
        settings: keeps what is set of nodes.
        follower: has the view show it.
        active: what this node has got to.
        regions: where nodes can be.
    """

    def __init__(
        self,
        *,
        view: NodeView,
        registrar: Registrar,
        settings: NodeSettingsKeeper,
        follower: TopologyFollower,
        active: ActivePolicies,
        regions: Regions,
    ) -> None:
        self._view = view
        self._registrar = registrar
        self._settings = settings
        self._follower = follower
        self._active = active
        self._regions = regions

    # -------------------------------------------------------------------------------- leases

    async def RegisterNode(
        self, request: _pb.RegisterNodeRequest, context: _Context
    ) -> _pb.RegisterNodeResponse:
        """Make a node known and give it a lease."""
        reader = Reader()
        registration = read_registration(request.node, reader, "node")
        reader.finish()
        if registration.region not in self._regions:
            known = [region.name for region in self._regions]
            raise RegionUnknown(registration.region, known)
        granted = await self._registrar.register(registration)
        return _pb.RegisterNodeResponse(
            node=node_to_wire(granted.node), lease_duration=duration(granted.lease_s)
        )

    async def RenewNodeLease(
        self, request: _pb.RenewNodeLeaseRequest, context: _Context
    ) -> _pb.RenewNodeLeaseResponse:
        """Keep a node's lease, and note how it fares."""
        reader = Reader()
        node = read_node_id(request.node, reader, "node")
        instance = read_node_id(request.instance, reader, "instance")
        condition = read_condition(request, reader)
        reader.finish()
        answer = await self._registrar.renew(
            node, instance, condition, round_trip_s=seconds(request.round_trip)
        )
        return _pb.RenewNodeLeaseResponse(
            lease_duration=duration(answer.lease_s), draining=answer.draining
        )

    async def DeregisterNode(
        self, request: _pb.DeregisterNodeRequest, context: _Context
    ) -> _pb.DeregisterNodeResponse:
        """End a node's lease at once."""
        reader = Reader()
        node = read_node_id(request.node, reader, "node")
        instance = read_node_id(request.instance, reader, "instance")
        reader.finish()
        await self._registrar.deregister(node, instance)
        return _pb.DeregisterNodeResponse()

    # ------------------------------------------------------------------------------ settings

    async def UpdateNode(
        self, request: _pb.UpdateNodeRequest, context: _Context
    ) -> _pb.UpdateNodeResponse:
        """Change a node's weight, or have it drained or brought back."""
        reader = Reader()
        node = read_node_id(request.node, reader, "node")
        weight = request.weight if request.HasField("weight") else None
        draining = request.draining if request.HasField("draining") else None
        if weight is not None and not 1 <= weight <= LIMITS.max_node_weight:
            reader.refuse("weight", f"is {weight}; use 1 to {LIMITS.max_node_weight}")
        if weight is None and draining is None:
            reader.refuse("weight", "and `draining` are missing; say what is to change")
        reader.finish()
        self._view.node(node)
        revision = await self._settings.update(
            node,
            weight=weight,
            draining=draining,
            etag=request.etag,
            author=caller_of(context).name,
        )
        await self._active.wait_for(revision, time_left_s(context))
        self._follower.take()
        return _pb.UpdateNodeResponse(node=node_to_wire(self._view.node(node)))

    # ---------------------------------------------------------------------------------- read

    async def ListNodes(
        self, request: _pb.ListNodesRequest, context: _Context
    ) -> _pb.ListNodesResponse:
        """Return nodes in order of region and id."""
        reader = Reader()
        page = read_page(request, reader)
        regions = [
            read_region(name, reader, f"regions[{index}]")
            for index, name in enumerate(request.regions)
        ]
        reader.finish()
        listed = self._view.listed(regions)
        stop = page.start + page.size
        return _pb.ListNodesResponse(
            nodes=map(node_to_wire, listed[page.start : stop]),
            next_page_token=next_page_token(request, stop, 0) if stop < len(listed) else "",
        )
