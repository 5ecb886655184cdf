"""Which numbers of a node are read whenever metrics are collected."""

from __future__ import annotations

from placet_engine.cache import VerdictCache
from placet_server.policies.active import ActivePolicies
from placet_server.policies.hub import Hub
from placet_server.telemetry.recorders import Metrics


def observe_node(
    metrics: Metrics, *, active: ActivePolicies, cache: VerdictCache, hub: Hub
) -> None:
    """Have the numbers of policies, cache and subscribers read with the other metrics."""
    observe = metrics.observe
    observe(
        "placet.revision",
        "{revision}",
        "The revision of the store this node decides by.",
        lambda: active.revision,
    )
    observe(
        "placet.staleness",
        "s",
        "How long ago this node was last known to be at the store's head.",
        active.node_staleness_s,
    )
    observe(
        "placet.tenants",
        "{tenant}",
        "Tenants this node decides for.",
        lambda: len(active.tenants),
    )
    observe(
        "placet.subscribers", "{subscriber}", "Streams that follow this node.", lambda: len(hub)
    )
    observe(
        "placet.subscriber.resets",
        "{reset}",
        "Subscribers that had to start over because they fell behind.",
        lambda: hub.resets,
        monotonic=True,
    )
    observe(
        "placet.cache.hits",
        "{lookup}",
        "Decisions that were remembered.",
        lambda: cache.statistics().hits,
        monotonic=True,
    )
    observe(
        "placet.cache.misses",
        "{lookup}",
        "Decisions that had to be made.",
        lambda: cache.statistics().misses,
        monotonic=True,
    )
    observe(
        "placet.cache.entries",
        "{entry}",
        "Decisions that are remembered now.",
        lambda: cache.statistics().entries,
    )
    observe(
        "placet.cache.max_entries",
        "{entry}",
        "Decisions that can be remembered.",
        lambda: cache.statistics().max_entries,
    )
