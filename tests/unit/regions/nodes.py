"""Nodes for tests, and control nodes that time passes for by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from placet_engine.placement.nodes import Condition, NodeHealth, NodeRole, Registration
from placet_server.regions.leases import LeaseTerms
from placet_server.regions.registry import Registry
from placet_server.regions.sharing import Sharing
from placet_server.store.contract import Store
from placet_server.testing import ManualClock

WELL = Condition()
UNWELL = Condition(health=NodeHealth.NOT_SERVING, health_reason="no disk")
LEASE_S = 0.6


def registration(id_: str = "n1", instance: str = "first", **fields: Any) -> Registration:
    """Return what a node says that registers."""
    given = {"region": "eu-west", "role": NodeRole.EDGE, "address": f"{id_}.test:7717"}
    return Registration(id=id_, instance=instance, **{**given, **fields})


def new_registry(clock: ManualClock, **terms: Any) -> Registry:
    """Return a registry in which nobody is yet."""
    return Registry(clock=clock, terms=LeaseTerms(**{"lease_s": LEASE_S, **terms}))


def healths(registry: Registry) -> dict[str, NodeHealth]:
    """Return the health of each node."""
    return {id_: node.health for id_, node in registry.view.nodes.items()}


def pass_time(clock: ManualClock, seconds: float, *registries: Registry) -> None:
    """Let time pass in small steps, as it does for registries that are kept."""
    for _ in range(round(seconds / 0.05)):
        clock.advance(0.05)
        for registry in registries:
            registry.sweep()


@dataclass
class Control:
    """A control node, as far as it knows of nodes."""

    store: Store
    clock: ManualClock
    id: str = "c1"
    instance: str = "first"
    registry: Registry = field(init=False)
    sharing: Sharing = field(init=False)

    def __post_init__(self) -> None:
        self.registry = new_registry(self.clock)
        self.sharing = Sharing(
            store=self.store,
            registry=self.registry,
            clock=self.clock,
            node=self.id,
            instance=self.instance,
        )

    def keep(self, *others: tuple[str, str]) -> None:
        """Renew its own lease, and those of others, or register where there is none."""
        for id_, instance in ((self.id, self.instance), *others):
            node = self.registry.view.nodes.get(id_)
            if node is None or node.registration.instance != instance:
                role = NodeRole.CONTROL if id_ == self.id else NodeRole.EDGE
                self.registry.register(registration(id_, instance, role=role))
            self.registry.renew(id_, instance, WELL)
