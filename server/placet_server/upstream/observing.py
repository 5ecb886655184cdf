"""Which numbers of following are read whenever metrics are collected."""

from __future__ import annotations

from collections.abc import Iterator

from placet_server.telemetry.recorders import Metrics, Point
from placet_server.upstream.following import Following


def observe_upstream(metrics: Metrics, following: Following) -> None:
    """Have what a node follows read with the other metrics."""
    streams, keeper = following.streams, following.keeper

    def followed() -> Iterator[Point]:
        yield int(streams.is_following), {"upstream": streams.upstream.address}

    metrics.observe(
        "placet.upstream.following",
        "{stream}",
        "Whether this node follows an upstream now, and which.",
        followed,
    )
    metrics.observe(
        "placet.upstream.failovers",
        "{failover}",
        "How often this node went from one upstream to another.",
        lambda: streams.failovers,
        monotonic=True,
    )
    metrics.observe(
        "placet.upstream.depth",
        "{node}",
        "How many nodes what this one has came over, up to the one with the store.",
        lambda: len(following.lineage().nodes) - 1,
    )
    metrics.observe(
        "placet.upstream.state.age",
        "s",
        "How long ago the state file was last written to.",
        lambda: [(keeper.age_s, {})] if keeper.writes else [],
    )
    metrics.observe(
        "placet.upstream.state.size", "By", "Size of the state file.", lambda: keeper.bytes
    )
