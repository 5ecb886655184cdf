"""Every scenario by name, in the order they are run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.measure import Context
from bench.scenarios import (
    balancing,
    failover,
    local,
    many,
    publishing,
    relays,
    sets,
    stores,
    subscribers,
    unary,
    xds,
)
from bench.servers import Variant


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing to measure of a variant."""

    name: str
    run: Callable[[Context, Variant], None]
    every_variant: bool = False
    """Whether it says something about the transport, and is run for every variant."""

    @property
    def about(self) -> str:
        """One line on what it does."""
        return (self.run.__doc__ or "").strip().splitlines()[0]


SCENARIOS: tuple[Scenario, ...] = (
    Scenario("hot", unary.run_hot, every_variant=True),
    Scenario("cold", unary.run_cold, every_variant=True),
    Scenario("mixed", unary.run_mixed),
    Scenario("overload", unary.run_overload, every_variant=True),
    Scenario("sizes", sets.run_sizes),
    Scenario("tenants", sets.run_tenants),
    Scenario("batch", many.run_batches, every_variant=True),
    Scenario("stream", many.run_stream, every_variant=True),
    Scenario("publish", publishing.run),
    Scenario("subscribers", subscribers.run),
    Scenario("nodes", subscribers.run_nodes),
    Scenario("relays", relays.run),
    Scenario("local", local.run),
    Scenario("failover", failover.run),
    Scenario("xds", xds.run),
    Scenario("balancing", balancing.run),
    Scenario("stores", stores.run),
)
PEERS = "peers"
"""Run beside these: the comparison of all systems."""
