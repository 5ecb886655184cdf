"""Has what operators set, which comes with the node's revisions, reach those it concerns."""

from __future__ import annotations

from placet_engine.items import Item, ItemKey, ItemKind, NodeSettings
from placet_server.policies.active import ActivePolicies
from placet_server.regions.moves import Moves
from placet_server.regions.registry import Registry


class TopologyFollower:
    """Follows the items of the topology for as long as :meth:`run` runs.

    Args:
        active: has them, as of the revision this node has got to.
        registry: is told what is set of nodes.
        onward: what moves when where a tenant is placed changed.
    """

    def __init__(self, active: ActivePolicies, registry: Registry, onward: Moves) -> None:
        self._active = active
        self._registry = registry
        self._onward = onward
        self._taken: dict[ItemKey, Item] = {}

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
                    self._registry.take_settings(key.id, None)
                elif isinstance(item.body, NodeSettings):
                    self._registry.take_settings(key.id, item.body, item.revision)
        if any(key.kind is ItemKind.PLACEMENT for key in changed):
            self._onward.move()
