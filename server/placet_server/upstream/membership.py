"""A node without a store among the others: what it knows of them, and what they know of it."""

from __future__ import annotations

import asyncio

from placet_engine.items import NodeSettings, Revision
from placet_engine.placement.nodes import Registration
from placet_engine.placement.regions import Regions
from placet_server.clock import Clock
from placet_server.policies.active import ActivePolicies
from placet_server.regions.audience import Audience
from placet_server.regions.following import TopologyFollower
from placet_server.regions.joining import Joining
from placet_server.regions.nodes import NodeView
from placet_server.upstream.nodes import NodesFollower
from placet_server.upstream.registering import OwnRegistrar, UpstreamRegistrar
from placet_server.upstream.streams import UpstreamStreams


class UpstreamMembership(Joining):
    """Has a lease upstream, and passes on what those who follow this node ask for.

    Args:
        registration: what the node is, without its address: that is known once it listens.
        streams: know who is followed.
        active: has where tenants are placed.
        view: is kept up to date for those who read.
        audience: who watches it.
        regions: the regions there are.
        clock: the time.
    """

    def __init__(
        self,
        registration: Registration,
        *,
        streams: UpstreamStreams,
        active: ActivePolicies,
        view: NodeView,
        audience: Audience,
        regions: Regions,
        clock: Clock,
    ) -> None:
        self.registrar = UpstreamRegistrar(lambda: streams.upstream.channel)
        """Grants leases, by having others grant them."""
        own = OwnRegistrar(self.registrar, lambda: streams.lineage.nodes[1:])
        super().__init__(registration, own, clock)
        self._nodes = NodesFollower(
            lambda: streams.upstream.channel,
            view=view,
            regions=regions,
            listened=self.informed.set,
        )
        self.follower = TopologyFollower(active, self, audience.routes)
        """Tells those who watch when tenants were placed."""

    def take_settings(self, id_: str, settings: NodeSettings | None, revision: Revision) -> None:
        """See ``TakesSettings``. What is set of nodes comes with the nodes."""

    async def run(self) -> None:
        """Keep what is known of nodes up to date until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.follower.run(), name="topology-placements")
            tasks.create_task(self._nodes.run(), name="topology-nodes")
