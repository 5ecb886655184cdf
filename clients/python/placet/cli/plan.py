"""What a publish would change, worked out with the server's own rules, without asking it to."""

from __future__ import annotations

from collections.abc import Iterable

from placet import ChangeSet, EntityRef, Item, ItemKey, ItemKind
from placet._publishing import change_set_to_wire
from placet.cli.items import change_word
from placet.wire import Reader, read_change_set
from placet_engine import changes, items


def planned_changes(
    change_set: ChangeSet, current: Iterable[Item], *, owner: str
) -> list[tuple[str, ItemKey]]:
    """Return what would be ``added``, ``changed`` and ``removed``."""
    stored = _to_engine(ChangeSet.of(item.body for item in current), owner).upserts
    base = changes.ItemSet(
        owner=owner,
        items={body.key: items.Item(owner, items.Revision(1), body) for body in stored},
    )
    edits, _ = changes.resolve(_to_engine(change_set, owner), base)
    return [
        (change_word(base.items.get(edit.key), edit.body), _key(edit.key))
        for edit in sorted(edits, key=lambda edit: edit.key)
    ]


def _to_engine(change_set: ChangeSet, owner: str) -> changes.ChangeSet:
    return read_change_set(change_set_to_wire(change_set), Reader(), owner=owner)


def _key(key: items.ItemKey) -> ItemKey:
    kind = ItemKind(key.kind.value)
    if kind is ItemKind.ENTITY:
        return ItemKey(kind, entity=EntityRef(key.type, key.id))
    return ItemKey(kind, key.id)
