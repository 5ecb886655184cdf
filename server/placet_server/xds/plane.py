"""The control plane of clients that speak xDS: its parts, and what keeps them going."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from placet_server.config import XdsConfig
from placet_server.regions.audience import Audience
from placet_server.regions.directory import Directory
from placet_server.regions.nodes import NodeView
from placet_server.telemetry.recorders import Metrics, Point
from placet_server.xds.addresses import Addresses, host_port
from placet_server.xds.answers import Answers
from placet_server.xds.clients import Balancing, Kind
from placet_server.xds.roster import Roster


class ControlPlane:
    """Knows what clients are to be told, and who they are.

    Args:
        config: what clients get that do not say, and how many there may be.
        directory: where callers may go.
        view: the nodes there are.
        is_known: whether there is a tenant of that name.
        audience: whose routes change, and who is told when the node is about to stop.
    """

    def __init__(
        self,
        config: XdsConfig,
        *,
        directory: Directory,
        view: NodeView,
        is_known: Callable[[str], bool],
        audience: Audience,
    ) -> None:
        self._view = view
        self._regions = directory.residency.regions
        self._addresses = Addresses(self._hosts, audience.routes)
        self.answers = Answers(
            directory=directory,
            is_known=is_known,
            addresses=self._addresses,
            routes=audience.routes,
            balancing=Balancing(config.balancing),
        )
        self.roster = Roster(max_clients=config.max_clients, audience=audience)

    async def run(self) -> None:
        """Keep clients up to date until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._addresses.run(), name="xds-addresses")
            tasks.create_task(self.roster.run(), name="xds-clients")

    def observe(self, metrics: Metrics) -> None:
        """Have clients, and what they are sent, read with the other metrics."""
        metrics.observe(
            "placet.xds.clients",
            "{client}",
            "Connected xDS clients, by their library.",
            self._counted,
        )
        metrics.observe(
            "placet.xds.responses",
            "{response}",
            "Responses to xDS clients, by type of resource.",
            lambda: [
                (count, {"type": type_.name.lower()}) for type_, count in self.roster.sent.items()
            ],
            monotonic=True,
        )
        metrics.observe(
            "placet.xds.refusals",
            "{response}",
            "Responses that xDS clients did not take over, by library and type of resource.",
            lambda: [
                (count, {"library": kind.value, "type": type_.name.lower()})
                for (kind, type_), count in self.roster.refused.items()
            ],
            monotonic=True,
        )

    def _hosts(self) -> Iterator[str]:
        """Yield the hosts that nodes are reached at, and those that the file of regions names."""
        for node in self._view.nodes.values():
            if node.takes_calls:
                yield host_port(node.registration.address)[0]
        for region in self._regions:
            for address in region.endpoints:
                yield host_port(address)[0]

    def _counted(self) -> Iterator[Point]:
        """Yield a number for each library, so that one that is 0 by now says so."""
        counts = self.roster.counts()
        for kind in Kind:
            yield counts[kind], {"library": kind.value}
