"""Has what operators set, which comes with the node's revisions, reach those it concerns."""

from __future__ import annotations

from typing import Protocol

from placet_engine.items import NO_REVISION, Item, ItemKey, ItemKind, NodeSettings, Revision
from placet_server.policies.active import ActivePolicies
from placet_server.regions.moves import Moves


class TakesSettings(Protocol):
    """Is told what operators set of nodes: a registry, or whoever learns it in another way."""

    def take_settings(self, id_: str, settings: NodeSettings | None, revision: Revision) -> None:
        """Note what is set of a node, and by which revision; None: nothing any more."""
        ...


class TopologyFollower:
    """Follows the items of the topology, and which tenants there are, while :meth:`run` runs.

    Args:
        active: has them, as of the revision this node has got to.
        registry: is told what is set of nodes.
        onward: what moves when where a tenant is placed changed, or one came or went.
    """

    def __init__(self, active: ActivePolicies, registry: TakesSettings, onward: Moves) -> None:
        self._active = active
        self._registry = registry
        self._onward = onward
        self._taken: dict[ItemKey, Item] = {}
        self._tenants: set[str] = set()

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            seen = self._active.revision
            self.take()
            await self._active.wait_past(seen)

    def take(self) -> None:
        """Have everybody know what the node knows now."""
        items = self._active.topology.items
        changed = [
            key
            for key in items.keys() | self._taken.keys()
            if items.get(key) is not self._taken.get(key)
        ]
        self._taken = dict(items)
        for key in changed:
            if key.kind is ItemKind.NODE_SETTINGS:
                item = items.get(key)
                if item is None:
                    self._registry.take_settings(key.id, None, NO_REVISION)
                elif isinstance(item.body, NodeSettings):
                    self._registry.take_settings(key.id, item.body, item.revision)
        has_moved = any(key.kind is ItemKind.PLACEMENT for key in changed)
        if has_moved or self._active.tenants.keys() != self._tenants:
            self._tenants = set(self._active.tenants)
            self._onward.move()
