"""Which addresses of a region take calls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from placet_engine.placement.nodes import Node, NodeRole
from placet_engine.placement.regions import Regions
from placet_engine.placement.routing import Endpoint
from placet_server.regions.nodes import NodeView

_STEPS = 20
"""Utilization is told in so many steps: routes need not be sent anew for less."""


class Endpoints:
    """Tells endpoints by region, out of what is known of nodes.

    Args:
        view: the nodes.
        regions: may name addresses of nodes that register elsewhere.
    """

    def __init__(self, view: NodeView, regions: Regions) -> None:
        self._view = view
        self._regions = regions
        self._found: dict[str, tuple[Endpoint, ...]] = {}
        self._found_at = (-1, -1)

    def __call__(self, region: str) -> tuple[Endpoint, ...]:
        """Return the addresses in a region that callers may be sent to, in order of their nodes.

        These are the nodes that serve and do not drain. Workers that share an address are one
        endpoint, of their weights together.
        """
        now = (self._view.membership.count, self._view.loads.count)
        if now != self._found_at:
            self._found, self._found_at = self._by_region(), now
        return self._found.get(region, ())

    def _by_region(self) -> dict[str, tuple[Endpoint, ...]]:
        sharing: dict[str, dict[str, list[Node]]] = {
            region.name: {} for region in self._regions if region.endpoints
        }
        for node in self._view.listed():
            if node.takes_calls:
                at = sharing.setdefault(node.registration.region, {})
                at.setdefault(node.registration.address, []).append(node)
        return {
            region: (
                *(_endpoint(address, nodes) for address, nodes in at.items()),
                *_named(self._addresses(region), at),
            )
            for region, at in sharing.items()
        }

    def _addresses(self, name: str) -> Sequence[str]:
        region = self._regions.get(name)
        return region.endpoints if region is not None else ()


def _endpoint(address: str, nodes: Sequence[Node]) -> Endpoint:
    mean = sum(node.condition.load.utilization for node in nodes) / len(nodes)
    return Endpoint(
        node=nodes[0].id,
        address=address,
        weight=sum(node.weight for node in nodes),
        utilization=round(mean * _STEPS) / _STEPS,
        is_control=all(node.registration.role is NodeRole.CONTROL for node in nodes),
    )


def _named(addresses: Iterable[str], known: Iterable[str]) -> list[Endpoint]:
    """Return what the file of regions names, but for what is known already."""
    return [
        Endpoint(node="", address=address) for address in addresses if address not in set(known)
    ]
