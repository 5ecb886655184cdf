"""Who the nodes are and where callers go, read once or as it changes. Mixed into the clients."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import aclosing, closing
from datetime import UTC

from placet import _convert as convert
from placet._calls import Defaults, call, call_aio, pages, pages_aio
from placet._nodes import Node, TopologyKind, TopologyState
from placet._placing import place_to_wire
from placet._requests import tenant_to_wire
from placet._topology import Place, Placement, Region, Route
from placet._values import refusal, text_to_wire
from placet._watching import PATIENCE_S, watched, watched_aio
from placet.v1 import topology_service_pb2 as pb
from placet.v1 import topology_service_pb2_grpc

_ENDED_EARLY = "the server ended the stream"
_MOST_WEIGHT = 1000


class Oversight:
    """Nodes: who is there, how they fare, and what is set of them."""

    _defaults: Defaults
    _placing: topology_service_pb2_grpc.TopologyServiceStub

    def nodes(self, *, regions: Iterable[str] = (), timeout_s: float | None = None) -> list[Node]:
        """Return the nodes, in order of region and id; those lost in the last day as well.

        Args:
            regions: only nodes of these.
            timeout_s: deadline of each page, when it is not the client's.

        Raises:
            CouldNotDecide: no answer came.
        """
        request = _list_request(regions)
        timeout_s = self._defaults.managing_s(timeout_s)
        return [
            convert.node(message)
            for page in pages(self._placing.ListNodes, request, timeout_s)
            for message in page.nodes
        ]

    def update_node(
        self,
        node: Node | str,
        *,
        weight: int | None = None,
        draining: bool | None = None,
        timeout_s: float | None = None,
    ) -> Node:
        """Change a node's weight, have it drained, or brought back; it outlasts its restarts.

        Args:
            node: which, as it was read: ``Conflict`` when it has changed since. Its id alone
                means however it is by now.
            weight: share of traffic relative to the other nodes of its region, 1 to 1,000.
            draining: whether it is to get no new calls.
            timeout_s: deadline, when it is not the client's.

        Raises:
            Conflict: the node has changed since it was read.
            NotFound: there is no such node.
            InvalidRequest: nothing is to change, or the weight is none.
            CouldNotDecide: no answer came.
        """
        request = _update_request(node, weight, draining)
        response = call(self._placing.UpdateNode, request, self._defaults.managing_s(timeout_s))
        return convert.node(response.node)

    def watch_topology(
        self, *, kinds: Iterable[TopologyKind] = (), patience_s: float = PATIENCE_S
    ) -> Generator[TopologyState, None, None]:
        """Yield everything there is, and again whenever something changes, at least every 5 s.

        What changed between two of them may be missed, never the newest. A connection that is
        lost is made anew. Close the iterator to end.

        Args:
            kinds: what to watch; all of it without.
            patience_s: how long nobody may answer before it raises.

        Raises:
            Unavailable, DeadlineExceeded: nobody answered for ``patience_s``.
        """
        gathering = _Gathering()
        seen = watched(
            self._placing.WatchTopology, _kinds_request(kinds), patience_s, ended=_ENDED_EARLY
        )
        with closing(seen) as responses:
            for is_first, response in responses:
                state = gathering.take(response, is_first=is_first)
                if state is not None:
                    yield state

    def watch_route(
        self,
        place: Place | None = None,
        *,
        tenant: str | None = None,
        patience_s: float = PATIENCE_S,
    ) -> Generator[Route, None, None]:
        """Yield where a tenant's callers at a place may go, and again whenever it changes.

        Args:
            place: where the caller is. None: not known; the tenant's home is taken.
            tenant: whose callers; the client's unless given.
            patience_s: how long nobody may answer before it raises.

        Raises:
            Unavailable, DeadlineExceeded: nobody answered for ``patience_s``.
            FailedPrecondition, NotFound, InvalidRequest: as ``route``, at any time.
        """
        request = _route_request(self._defaults.tenant_or(tenant), place)
        seen = watched(self._placing.WatchRoute, request, patience_s, ended=_ENDED_EARLY)
        with closing(seen) as responses:
            for _, response in responses:
                yield convert.route(response.route)


class AsyncOversight:
    """Nodes: who is there, how they fare, and what is set of them: ``Oversight``, for asyncio."""

    _defaults: Defaults

    @property
    @abstractmethod
    def _placing(self) -> topology_service_pb2_grpc.TopologyServiceAsyncStub: ...

    async def nodes(
        self, *, regions: Iterable[str] = (), timeout_s: float | None = None
    ) -> list[Node]:
        """Return the nodes, in order of region and id; those lost in the last day as well."""
        request = _list_request(regions)
        timeout_s = self._defaults.managing_s(timeout_s)
        return [
            convert.node(message)
            async for page in pages_aio(self._placing.ListNodes, request, timeout_s)
            for message in page.nodes
        ]

    async def update_node(
        self,
        node: Node | str,
        *,
        weight: int | None = None,
        draining: bool | None = None,
        timeout_s: float | None = None,
    ) -> Node:
        """Change a node's weight, have it drained, or brought back; it outlasts its restarts."""
        request = _update_request(node, weight, draining)
        response = await call_aio(
            self._placing.UpdateNode, request, self._defaults.managing_s(timeout_s)
        )
        return convert.node(response.node)

    async def watch_topology(
        self, *, kinds: Iterable[TopologyKind] = (), patience_s: float = PATIENCE_S
    ) -> AsyncGenerator[TopologyState, None]:
        """Yield everything there is, and again whenever something changes, at least every 5 s."""
        gathering = _Gathering()
        seen = watched_aio(
            self._placing.WatchTopology, _kinds_request(kinds), patience_s, ended=_ENDED_EARLY
        )
        async with aclosing(seen) as responses:
            async for is_first, response in responses:
                state = gathering.take(response, is_first=is_first)
                if state is not None:
                    yield state

    async def watch_route(
        self,
        place: Place | None = None,
        *,
        tenant: str | None = None,
        patience_s: float = PATIENCE_S,
    ) -> AsyncGenerator[Route, None]:
        """Yield where a tenant's callers at a place may go, and again whenever it changes."""
        request = _route_request(self._defaults.tenant_or(tenant), place)
        seen = watched_aio(self._placing.WatchRoute, request, patience_s, ended=_ENDED_EARLY)
        async with aclosing(seen) as responses:
            async for _, response in responses:
                yield convert.route(response.route)


class _Gathering:
    """Makes states out of what a stream brings."""

    def __init__(self) -> None:
        self._regions: dict[str, Region] = {}
        self._nodes: dict[str, Node] = {}
        self._placements: dict[str, Placement] = {}
        self._is_whole = False

    def take(self, response: pb.WatchTopologyResponse, *, is_first: bool) -> TopologyState | None:
        """Take a message in; return what there is by then, as soon as that is all there is."""
        if is_first:
            # A new stream begins with everything: what was there before need not be any more.
            self._regions, self._nodes, self._placements = {}, {}, {}
            self._is_whole = False
        for change in response.changes:
            match change.WhichOneof("change"):
                case "region":
                    self._regions[change.region.name] = convert.region(change.region)
                case "node":
                    self._nodes[change.node.id] = convert.node(change.node)
                case "tenant":
                    self._placements[change.tenant.name] = convert.placement(change.tenant)
                case "removed_node":
                    self._nodes.pop(change.removed_node, None)
        self._is_whole = self._is_whole or response.snapshot_end
        if not self._is_whole:
            return None
        return TopologyState(
            regions=dict(self._regions),
            nodes=dict(self._nodes),
            placements=dict(self._placements),
            server_time=response.server_time.ToDatetime(tzinfo=UTC),
        )


def _list_request(regions: Iterable[str]) -> pb.ListNodesRequest:
    return pb.ListNodesRequest(
        regions=[text_to_wire(region, "regions") for region in regions], page_size=1000
    )


def _update_request(
    node: Node | str, weight: int | None, draining: bool | None
) -> pb.UpdateNodeRequest:
    if weight is None and draining is None:
        raise refusal("weight", "and `draining` are missing; say what is to change")
    if weight is not None and not 1 <= weight <= _MOST_WEIGHT:
        raise refusal("weight", f"is {weight}; pass 1 to {_MOST_WEIGHT}")
    id_, etag = (node.id, node.etag) if isinstance(node, Node) else (node, "")
    return pb.UpdateNodeRequest(
        node=text_to_wire(id_, "node"), weight=weight, draining=draining, etag=etag
    )


def _route_request(tenant: str | None, place: Place | None) -> pb.WatchRouteRequest:
    return pb.WatchRouteRequest(tenant=tenant_to_wire(tenant), location=place_to_wire(place))


def _kinds_request(kinds: Iterable[TopologyKind]) -> pb.WatchTopologyRequest:
    return pb.WatchTopologyRequest(kinds=[pb.TopologyKind.ValueType(kind.value) for kind in kinds])
