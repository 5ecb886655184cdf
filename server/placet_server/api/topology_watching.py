"""TopologyService's streams: a route as it changes, and everything there is as it changes.

Both send what differs between what is there and what the reader has been sent. So a reader may be
as slow as it likes: it holds up nothing, and nothing waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from enum import IntEnum
from typing import Any, Generic, Protocol, TypeVar

import grpc

from placet.v1 import topology_pb2, topology_service_pb2
from placet.wire import Reader, node_to_wire, timestamp
from placet_engine.items import Item
from placet_engine.placement.nodes import Node
from placet_engine.placement.regions import Region
from placet_server.api.identity import sees_nodes, visible
from placet_server.api.topology import Asked, TopologyService, placed_to_wire, region_to_wire
from placet_server.clock import Clock
from placet_server.regions.audience import Audience
from placet_server.regions.nodes import NodeView

_Context = grpc.aio.ServicerContext[Any, Any]
_pb = topology_service_pb2
_Change = _pb.TopologyChange
_T = TypeVar("_T")


class Visible(Protocol):
    """Some ids."""

    def __contains__(self, id_: str, /) -> bool: ...


class _Kind(IntEnum):
    REGION = 1
    NODE = 2
    TENANT = 3


# What is promised is 5 s; it may take a while on the way.
_AT_LEAST_EVERY_S = 4.0
_GATHERED_S = 0.05
"""So long after a message the next one waits for more to go with it."""
_CHANGES_A_MESSAGE = 500


class TopologyWatching:
    """Sends what there is, and what changes.

    Args:
        topology: finds routes, and knows regions and tenants.
        view: the nodes.
        audience: those who watch.
        clock: tells when a reader is to get a sign of life.
    """

    def __init__(
        self, *, topology: TopologyService, view: NodeView, audience: Audience, clock: Clock
    ) -> None:
        self._topology = topology
        self._view = view
        self._audience = audience
        self._clock = clock
        self._messages: dict[str, tuple[Node, topology_pb2.Node]] = {}
        self._routes: dict[Asked, topology_pb2.Route] = {}
        self._routes_at = -1

    async def WatchRoute(
        self, request: _pb.WatchRouteRequest, context: _Context
    ) -> AsyncIterator[_pb.WatchRouteResponse]:
        """Send a route, and again whenever it changes, at least every 5 s."""
        asked = self._topology.read_asked(request)
        sent: topology_pb2.Route | None = None
        with self._audience.seat():
            async with aclosing(self._turns()) as turns:
                async for is_due in turns:
                    route = self._route(asked)
                    if is_due or route != sent:
                        sent = route
                        yield _pb.WatchRouteResponse(route=route)

    async def WatchTopology(
        self, request: _pb.WatchTopologyRequest, context: _Context
    ) -> AsyncIterator[_pb.WatchTopologyResponse]:
        """Send everything there is, and then every change."""
        sent = _Sent(_read_kinds(request))
        is_first = True
        with self._audience.seat():
            async with aclosing(self._turns()) as turns:
                async for is_due in turns:
                    for changes, is_last in _parts(list(self._changes(sent)), is_due):
                        yield _pb.WatchTopologyResponse(
                            changes=changes,
                            snapshot_end=is_first and is_last,
                            server_time=timestamp(self._clock.now()),
                        )
                    is_first = False

    def _route(self, asked: Asked) -> topology_pb2.Route:
        """Return a route, worked out once for all who ask for it between two changes."""
        if self._routes_at != self._audience.news.count:
            self._routes_at = self._audience.news.count
            self._routes.clear()
        route = self._routes.get(asked)
        if route is None:
            route = self._routes[asked] = self._topology.route(asked)
        return route

    async def _turns(self) -> AsyncGenerator[bool, None]:
        """Yield when there may be something to send: whether the reader is to get it in any case.

        Raises:
            Draining: the node is about to stop.
        """
        due_at_s = self._clock.monotonic()
        while True:
            seen, now_s = self._audience.news.count, self._clock.monotonic()
            is_due = now_s >= due_at_s
            if is_due:
                due_at_s = now_s + _AT_LEAST_EVERY_S
            yield is_due
            await asyncio.sleep(_GATHERED_S)
            left_s = due_at_s - self._clock.monotonic()
            await self._audience.wait(seen, min(max(left_s, 0.0), _AT_LEAST_EVERY_S))

    def _changes(self, sent: _Sent) -> Iterator[_Change]:
        if sent.takes(_Kind.REGION):
            regions = {region.name: region for region in self._topology.regions()}
            yield from (
                _Change(region=region_to_wire(region)) for region in sent.regions.taken(regions)
            )
        if sent.takes(_Kind.NODE):
            for id_ in sent.nodes.gone(self._view.nodes):
                self._messages.pop(id_, None)
                yield _Change(removed_node=id_)
            for node in sent.nodes.taken(self._view.nodes):
                yield _Change(node=self._message(node))
        if sent.takes(_Kind.TENANT):
            yield from (
                _Change(tenant=placed_to_wire(item))
                for item in sent.tenants.taken(self._topology.tenants())
            )

    def _message(self, node: Node) -> topology_pb2.Node:
        """Return a node as a message, made once for all readers."""
        made = self._messages.get(node.id)
        if made is None or made[0] is not node:
            made = self._messages[node.id] = (node, node_to_wire(node))
        return made[1]


def _parts(changes: list[_Change], is_due: bool) -> Iterator[tuple[list[_Change], bool]]:
    """Yield the changes of each message, and whether it is the last; an empty one if it is due."""
    for start in range(0, len(changes) or is_due, _CHANGES_A_MESSAGE):
        stop = start + _CHANGES_A_MESSAGE
        yield changes[start:stop], stop >= len(changes)


class _Followed(Generic[_T]):
    """What one reader has been sent of one kind of thing, by id.

    Args:
        visible: what of it the reader may be told of. None: everything.
    """

    def __init__(self, visible: Visible | None = None) -> None:
        self._visible = visible
        self._sent: dict[str, _T] = {}

    def taken(self, now: Mapping[str, _T]) -> list[_T]:
        """Return what is not as it was sent, and take it for sent."""
        # What changes is another object: comparing all there is costs next to nothing.
        changed = {id_: one for id_, one in now.items() if self._sent.get(id_) is not one}
        if self._visible is not None:
            changed = {id_: one for id_, one in changed.items() if id_ in self._visible}
        self._sent.update(changed)
        return list(changed.values())

    def gone(self, now: Mapping[str, _T]) -> list[str]:
        """Return what was sent and is no longer there, and forget it."""
        gone = [id_ for id_ in self._sent if id_ not in now]
        for id_ in gone:
            del self._sent[id_]
        return gone


class _Sent:
    """What one reader has been sent."""

    def __init__(self, kinds: frozenset[_Kind]) -> None:
        self._kinds = kinds or frozenset(_Kind)
        if not sees_nodes():
            self._kinds -= {_Kind.NODE}
        self.regions = _Followed[Region]()
        self.nodes = _Followed[Node]()
        self.tenants = _Followed[Item](visible())

    def takes(self, kind: _Kind) -> bool:
        """Whether the reader gets things of a kind."""
        return kind in self._kinds


def _read_kinds(request: _pb.WatchTopologyRequest) -> frozenset[_Kind]:
    reader = Reader()
    kinds = frozenset(
        reader.choice(_Kind, kind, f"kinds[{index}]", _Kind.NODE)
        for index, kind in enumerate(request.kinds)
    )
    reader.finish()
    return kinds
