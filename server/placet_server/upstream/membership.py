"""A node without a store among the others: what it knows of them, and what they know of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from placet_engine.items import NodeSettings, Revision
from placet_engine.placement.nodes import Condition, Registration
from placet_engine.placement.regions import Regions
from placet_server.clock import Clock
from placet_server.policies.active import ActivePolicies
from placet_server.regions.announcing import Announcer
from placet_server.regions.audience import Audience
from placet_server.regions.following import TopologyFollower
from placet_server.regions.nodes import NodeView
from placet_server.upstream.nodes import NodesFollower
from placet_server.upstream.registering import OwnRegistrar, UpstreamRegistrar
from placet_server.upstream.streams import UpstreamStreams


class UpstreamMembership:
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
        self._registration = registration
        self._streams = streams
        self._clock = clock
        self._announcer: Announcer | None = None
        self._nodes = NodesFollower(lambda: streams.upstream.channel, view=view, regions=regions)
        self.registrar = UpstreamRegistrar(lambda: streams.upstream.channel)
        """Grants leases, by having others grant them."""
        self.follower = TopologyFollower(active, self, audience.news)
        """Tells those who watch when tenants were placed."""

    def take_settings(self, id_: str, settings: NodeSettings | None, revision: Revision) -> None:
        """See ``TakesSettings``. What is set of nodes comes with the nodes."""

    async def run(self) -> None:
        """Keep what is known of nodes up to date until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.follower.run(), name="topology-placements")
            tasks.create_task(self._nodes.run(), name="topology-nodes")

    async def join(
        self,
        address: str,
        *,
        condition: Callable[[], Condition],
        follow: Callable[[bool], Awaitable[None]],
    ) -> None:
        """Be one of the nodes until cancelled.

        Args:
            address: where clients reach this one, ``host:port``. Empty: they cannot.
            condition: tells how it fares.
            follow: is called with whether it is to drain, whenever an operator says so.
        """
        own = OwnRegistrar(self.registrar, lambda: self._streams.lineage.nodes[1:])
        self._announcer = Announcer(
            registrar=own, condition=condition, follow=follow, clock=self._clock
        )
        await self._announcer.run(replace(self._registration, address=address))

    def drain(self) -> None:
        """Tell the others that this node has begun to stop."""
        if self._announcer is not None:
            self._announcer.drain()

    async def leave(self) -> None:
        """Tell them that it is gone. Not while :meth:`join` runs."""
        if self._announcer is not None:
            await self._announcer.leave()
