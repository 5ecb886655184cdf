"""Which numbers of a node are read whenever metrics are collected."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from placet_engine.cache import CacheStatistics
from placet_server.policies.active import ActivePolicies
from placet_server.policies.hub import Hub
from placet_server.telemetry.recorders import Metrics


class CacheNumbers(Protocol):
    """A cache of decisions, as far as it is measured."""

    @property
    def max_bytes(self) -> int:
        """Return the memory it may take."""

    def statistics(self) -> CacheStatistics:
        """Return how it does."""


def observe_node(
    metrics: Metrics, *, active: ActivePolicies, cache: CacheNumbers, hub: Hub
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
    caches = (
        ("hits", "{request}", "Requests whose decision was remembered.", True),
        ("exact_hits", "{request}", "Those of them that had not even to be read.", True),
        ("misses", "{request}", "Requests that had to be decided.", True),
        ("evictions", "{entry}", "Decisions forgotten to make room for others.", True),
        ("entries", "{entry}", "Decisions that are remembered now.", False),
    )
    observe("placet.cache.size", "By", "Memory they take.", lambda: cache.statistics().bytes)
    for name, unit, description, monotonic in caches:
        observe(
            f"placet.cache.{name}",
            unit,
            description,
            partial(_of_cache, cache, name),
            monotonic=monotonic,
        )
    observe(
        "placet.cache.limit",
        "By",
        "Memory they may take.",
        lambda: cache.max_bytes,
    )


def _of_cache(cache: CacheNumbers, name: str) -> int:
    value: int = getattr(cache.statistics(), name)
    return value
