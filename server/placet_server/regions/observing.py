"""Which numbers of nodes are read whenever metrics are collected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from placet_engine.placement.nodes import Node, NodeHealth
from placet_server.regions.audience import Audience
from placet_server.regions.membership import Membership
from placet_server.regions.nodes import NodeView
from placet_server.telemetry.recorders import Metrics, Point


def observe_membership(metrics: Metrics, membership: Membership, audience: Audience) -> None:
    """Have what this node knows of others read with the other metrics."""
    registry, prober = membership.registry, membership.prober
    observe_nodes(metrics, registry.view, audience)
    metrics.observe(
        "placet.topology.lapses",
        "{lease}",
        "Leases that this node granted and that lapsed.",
        lambda: registry.lapses,
        monotonic=True,
    )
    metrics.observe(
        "placet.topology.probe_failures",
        "{probe}",
        "Times that a node did not answer this one, or said that it does not serve.",
        lambda: prober.failed,
        monotonic=True,
    )


def observe_nodes(metrics: Metrics, view: NodeView, audience: Audience) -> None:
    """Have the nodes counted, and those who watch them."""
    metrics.observe(
        "placet.topology.nodes",
        "{node}",
        "Nodes that this one knows, by the region they are in and by what is known of them.",
        lambda: _counted(view),
    )
    metrics.observe(
        "placet.topology.watchers",
        "{stream}",
        "Streams that watch routes and nodes.",
        lambda: len(audience),
    )


def _counted(view: NodeView) -> Iterator[Point]:
    """Yield a number for each state in each region, so that one that is 0 by now says so."""
    counts = Counter((node.registration.region, _state(node)) for node in view.nodes.values())
    for region in {region for region, _ in counts}:
        for state in _STATES:
            yield counts[region, state], {"node_region": region, "state": state}


_DRAINING = "draining"
_STATES = (*(health.name.lower() for health in NodeHealth), _DRAINING)


def _state(node: Node) -> str:
    is_draining = node.draining and node.health is not NodeHealth.LOST
    return _DRAINING if is_draining else node.health.name.lower()
