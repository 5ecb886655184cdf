"""A control node among the others: what it knows of nodes, and what they know of it."""

from __future__ import annotations

import asyncio
import logging

from placet_engine.placement.nodes import Registration
from placet_server.clock import Clock
from placet_server.config import TopologyConfig
from placet_server.policies.active import ActivePolicies
from placet_server.regions.announcing import LocalRegistrar
from placet_server.regions.audience import Audience
from placet_server.regions.following import TopologyFollower
from placet_server.regions.joining import Joining
from placet_server.regions.keeping import keep
from placet_server.regions.leases import LeaseTerms
from placet_server.regions.nodes import NodeView
from placet_server.regions.probing import Asker, Prober, ProbeTiming
from placet_server.regions.registry import Registry
from placet_server.regions.sharing import Sharing
from placet_server.store.contract import Store, StoreError

log = logging.getLogger(__name__)


class Membership(Joining):
    """Holds the leases of nodes, and one of its own.

    Args:
        registration: what the node is, without its address: that is known once it listens.
        store: by which control nodes tell each other of their nodes.
        active: has what operators set.
        view: is kept up to date for those who read.
        audience: who watches it.
        asker: asks nodes whether they serve.
        clock: the time.
        config: how long things take.
    """

    def __init__(
        self,
        registration: Registration,
        *,
        store: Store,
        active: ActivePolicies,
        view: NodeView,
        audience: Audience,
        asker: Asker,
        clock: Clock,
        config: TopologyConfig,
    ) -> None:
        self.registry = Registry(
            clock=clock,
            terms=LeaseTerms(
                lease_s=config.lease_s, max_renewals_per_second=config.max_renewals_per_second
            ),
            view=view,
        )
        """The nodes."""
        self.registrar = LocalRegistrar(self.registry)
        """Grants leases."""
        super().__init__(registration, self.registrar, clock)
        self.follower = TopologyFollower(active, self.registry, audience.routes)
        """Has the registry know what operators set."""
        self.prober = Prober(
            asker=asker,
            targets=lambda: self.registry.to_probe(self.registration.address),
            report=self.registry.take_probes,
            clock=clock,
            timing=ProbeTiming(every_s=config.probe_every_s, timeout_s=config.probe_timeout_s),
        )
        """Asks nodes whether they serve."""
        self._sharing = Sharing(
            store=store,
            registry=self.registry,
            clock=clock,
            node=registration.id,
            instance=registration.instance,
            share_s=config.share_s,
            listened=self.informed.set,
        )

    async def run(self) -> None:
        """Keep what is known of nodes up to date until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.follower.run(), name="topology-settings")
            tasks.create_task(keep(self.registry, self._clock), name="topology-leases")
            tasks.create_task(self._sharing.run(), name="topology-sharing")
            tasks.create_task(self.prober.run(), name="topology-probes")

    async def leave(self) -> None:
        """Tell them that it is gone. Not while :meth:`join` runs."""
        await super().leave()
        if not self.has_joined:
            return
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                await self._sharing.leave()
        except (StoreError, TimeoutError):
            # They find out by themselves.
            log.info("could not tell the other control nodes that this one stops")


_LAST_WORDS_S = 2.0
