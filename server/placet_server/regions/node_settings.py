"""What operators set of nodes: an item of the topology's for each node, kept in the store."""

from __future__ import annotations

from dataclasses import replace

from placet_engine.changes import Edit
from placet_engine.items import (
    NO_REVISION,
    TOPOLOGY,
    Item,
    ItemKey,
    ItemKind,
    NodeSettings,
    Revision,
)
from placet_server.clock import Clock
from placet_server.errors import NodeChanged
from placet_server.store.contract import CommitInfo, RevisionConflict, Store

_TRIES = 5


class NodeSettingsKeeper:
    """Writes settings of nodes.

    Args:
        store: where they are kept.
        clock: dates what is written.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def update(
        self,
        node: str,
        *,
        weight: int | None = None,
        draining: bool | None = None,
        etag: str = "",
        author: str = "",
    ) -> Revision:
        """Change what is set of a node; return the revision from which on that holds.

        Args:
            node: its id.
            weight: the weight it is to have; None: as it is.
            draining: whether it is to drain; None: as it is.
            etag: of the node as the caller read it. Empty: however it is.
            author: who asks.

        Raises:
            NodeChanged: the node is not at ``etag``. Nothing was changed.
            RevisionConflict: others write all the time.
        """
        key = ItemKey(ItemKind.NODE_SETTINGS, node)
        for tries_left in reversed(range(_TRIES)):
            items = await self._store.read(TOPOLOGY)
            item = items.items.get(key)
            former = _settings(item, node)
            revision = item.revision if item is not None else NO_REVISION
            changed = replace(
                former,
                weight=former.weight if weight is None else weight,
                draining=former.draining if draining is None else draining,
            )
            if changed == former:
                # A repeat, whose etag is the one before.
                return revision
            if etag and etag != str(revision):
                raise NodeChanged(node)
            info = CommitInfo(
                time=self._clock.now(), author=author, message=_message(former, changed)
            )
            try:
                commit = await self._store.append(
                    TOPOLOGY, [Edit(key, changed)], expected=items.revision, info=info
                )
            except RevisionConflict:
                # Somebody placed a tenant, or set something of another node.
                if not tries_left:
                    raise
                continue
            return commit.revision
        raise AssertionError("the last try either returns or raises")


def _settings(item: Item | None, node: str) -> NodeSettings:
    if item is None:
        return NodeSettings(node=node)
    assert isinstance(item.body, NodeSettings)
    return item.body


def _message(former: NodeSettings, changed: NodeSettings) -> str:
    """Say for the history what changed."""
    parts = []
    if changed.weight != former.weight:
        parts.append(f"weight {changed.weight}")
    if changed.draining != former.draining:
        parts.append("drain" if changed.draining else "bring back")
    return f"node {changed.node}: {', '.join(parts)}"
