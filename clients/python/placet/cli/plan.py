"""What a publish would change, worked out with the server's own rules, without asking it to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from placet import ChangeSet, EntityRef, InvalidRequest, Item, ItemKey, ItemKind
from placet._publishing import change_set_to_wire
from placet.cli.failures import Failure
from placet.cli.items import change_word
from placet.wire import LIMITS, Malformed, Reader, read_change_set
from placet_engine import changes, items


def planned_changes(
    change_set: ChangeSet, current: Iterable[Item], *, owner: str
) -> list[tuple[str, ItemKey]]:
    """Return what would be ``added``, ``changed`` and ``removed``.

    Raises:
        InvalidRequest: the change set breaks a rule, and a server would not take it.
        Failure: the owner has what this version cannot read.
    """
    stored = _stored_to_engine(list(current), owner)
    base = changes.ItemSet(
        owner=owner,
        items={body.key: items.Item(owner, items.Revision(1), body) for body in stored},
    )
    edits, _ = changes.resolve(_to_engine(change_set, owner), base)
    return [
        (change_word(base.items.get(edit.key), edit.body), _key(edit.key))
        for edit in sorted(edits, key=lambda edit: edit.key)
    ]


def _stored_to_engine(stored: Sequence[Item], owner: str) -> Iterator[items.Content]:
    """Read what an owner has, which may be more than can be published at a time."""
    for start in range(0, len(stored), LIMITS.max_change_items):
        part = stored[start : start + LIMITS.max_change_items]
        try:
            yield from _to_engine(ChangeSet.of(item.body for item in part), owner).upserts
        except InvalidRequest as error:
            raise Failure(
                f"this version cannot read what the server has; upgrade placet: {error}"
            ) from error


def _to_engine(change_set: ChangeSet, owner: str) -> changes.ChangeSet:
    reader = Reader()
    read = read_change_set(change_set_to_wire(change_set), reader, owner=owner)
    try:
        reader.finish()
    except Malformed as malformed:
        raise InvalidRequest(str(malformed), reason="REQUEST_MALFORMED") from malformed
    return read


def _key(key: items.ItemKey) -> ItemKey:
    kind = ItemKind(key.kind.value)
    if kind is ItemKind.ENTITY:
        return ItemKey(kind, entity=EntityRef(key.type, key.id))
    return ItemKey(kind, key.id)
