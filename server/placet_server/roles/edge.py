"""The role of a node without a store: it tells those it follows, and says who can do the rest."""

from __future__ import annotations

from collections.abc import Sequence

from placet_server.api.edge import NoStore, edge_handlers
from placet_server.api.node_reports import ReportingBoard
from placet_server.regions.observing import observe_nodes
from placet_server.roles.parts import Parts, Role
from placet_server.upstream.following import Following
from placet_server.upstream.membership import UpstreamMembership
from placet_server.upstream.reports import UpstreamReports


def edge(parts: Parts, following: Following) -> Role:
    """Make what a node without a store has in the place of that."""
    config, streams = parts.config, following.streams
    reports = UpstreamReports(lambda: streams.upstream.channel, every_s=config.rollouts.tick_s)
    reports.observe(parts.telemetry.metrics)
    membership = UpstreamMembership(
        parts.registration,
        streams=streams,
        active=parts.active,
        view=parts.view,
        audience=parts.audience,
        regions=parts.residency.regions,
        clock=parts.clock,
    )
    observe_nodes(parts.telemetry.metrics, parts.view, parts.audience)

    def control_nodes() -> Sequence[str]:
        return parts.view.control_addresses() or config.upstream.addresses

    no_store = NoStore(control_nodes)
    return Role(
        board=ReportingBoard(reports),
        running=[(reports.run(), "upstream-reports")],
        membership=membership,
        placer=no_store,
        settings=no_store,
        in_their_place=edge_handlers(control_nodes, reports),
    )
