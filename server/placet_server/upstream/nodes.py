"""Has a node without a store know the others: as they are seen upstream, message by message."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

import grpc
import grpc.aio

from placet.v1 import topology_service_pb2, topology_service_pb2_grpc
from placet.wire import Malformed, Reader, read_node
from placet_engine.placement.regions import Regions
from placet_server.regions.nodes import NodeView

log = logging.getLogger(__name__)

_pb = topology_service_pb2

# Messages come every 5 s at least.
_SILENCE_S = 10.0
_PAUSE_S = 1.0


class NodesFollower:
    """Follows the nodes for as long as :meth:`run` runs. What it has stays while nobody is there.

    Args:
        channel: returns the connection to whoever is followed now.
        view: is kept up to date for those who read.
        regions: the regions as this node knows them.
        listened: is called when all nodes have come that there are upstream.
        rng: spreads what many nodes do at the same time.
    """

    def __init__(
        self,
        channel: Callable[[], grpc.aio.Channel],
        *,
        view: NodeView,
        regions: Regions,
        listened: Callable[[], None] = lambda: None,
        rng: random.Random | None = None,
    ) -> None:
        self._channel = channel
        self._view = view
        self._regions = regions
        self._listened = listened
        self._rng = rng or random.Random()  # noqa: S311  # spreads, guards nothing
        self._failure = ""
        self._differing: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                await self._follow(self._channel())
                self._failure = ""
            except (grpc.aio.AioRpcError, TimeoutError, Malformed) as error:
                self._tell(error)
            except Exception:  # a node must not lose sight of the others in silence
                log.exception("following the nodes failed; starting again")
            await asyncio.sleep(_PAUSE_S * self._rng.uniform(0.1, 1.0))

    async def _follow(self, channel: grpc.aio.Channel) -> None:
        """Take what a stream brings until it ends, or another upstream is followed."""
        kinds = [_pb.TOPOLOGY_KIND_REGION, _pb.TOPOLOGY_KIND_NODE]
        call = topology_service_pb2_grpc.TopologyServiceStub(channel).WatchTopology(
            _pb.WatchTopologyRequest(kinds=kinds)
        )
        at_first: set[str] | None = set()
        try:
            while self._channel() is channel:
                async with asyncio.timeout(_SILENCE_S):
                    message = await call.read()
                if not isinstance(message, _pb.WatchTopologyResponse):
                    return
                seen = self._take(message)
                if at_first is not None:
                    at_first |= seen
                    if message.snapshot_end:
                        for id_ in self._view.nodes.keys() - at_first:
                            self._view.drop(id_)
                        at_first = None
                        self._listened()
                # Loads were gathered where they come from.
                self._view.beat()
        finally:
            call.cancel()

    def _take(self, message: _pb.WatchTopologyResponse) -> set[str]:
        """Take a message in; return the nodes that it has."""
        seen = set()
        regions: dict[str, str] = {}
        for change in message.changes:
            match change.WhichOneof("change"):
                case "node":
                    reader = Reader()
                    node = read_node(change.node, reader, "node")
                    reader.finish()
                    seen.add(node.id)
                    self._view.put(node)
                case "removed_node":
                    self._view.drop(change.removed_node)
                case "region":
                    regions[change.region.name] = change.region.jurisdiction
        self._compare(regions)
        return seen

    def _compare(self, upstream: dict[str, str]) -> None:
        """Say so when regions here are under another law than upstream: one of the two is wrong."""
        differing = frozenset(
            name
            for name, jurisdiction in upstream.items()
            if name in self._regions and self._regions.jurisdiction(name) != jurisdiction
        )
        if differing - self._differing:
            log.error(
                "regions are under another law upstream; give all nodes the same topology.file",
                extra={"regions": sorted(differing)},
            )
        self._differing |= differing

    def _tell(self, error: Exception) -> None:
        """Say once why the nodes are not followed."""
        why = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
        if why != self._failure:
            self._failure = str(why)
            log.warning("the nodes cannot be followed now", extra={"reason": why})
