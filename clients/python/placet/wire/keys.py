"""Keys of items, as messages and in the engine's form."""

from __future__ import annotations

import re

from placet.v1 import policy_pb2, value_pb2
from placet.wire.reader import Reader
from placet_engine.items import ItemKey, ItemKind

_NAMED = (
    ItemKind.POLICY,
    ItemKind.TEMPLATE_LINK,
    ItemKind.PLACEMENT,
    ItemKind.NODE_SETTINGS,
)
_ITEM_ID = re.compile(r"[A-Za-z0-9._/:@#+-]{1,256}")


def key_to_wire(key: ItemKey) -> policy_pb2.ItemKey:
    """Return the key of an item as a message."""
    kind = key.kind.value
    if key.kind is ItemKind.ENTITY:
        uid = value_pb2.EntityUid(type=key.type, id=key.id)
        return policy_pb2.ItemKey(kind=kind, entity=uid)  # type: ignore[arg-type]
    return policy_pb2.ItemKey(kind=kind, id=key.id)  # type: ignore[arg-type]


def read_key(message: policy_pb2.ItemKey, reader: Reader, field: str) -> ItemKey:
    """Read the key of an item."""
    kind = read_kind(message.kind, reader, f"{field}.kind")
    if kind is ItemKind.ENTITY:
        uid = reader.uid(message.entity.type, message.entity.id, f"{field}.entity")
        return ItemKey(kind, uid.id, uid.type)
    if kind in _NAMED:
        return ItemKey(kind, read_item_id(message.id, reader, f"{field}.id"))
    return ItemKey(kind)


def read_kind(number: int, reader: Reader, field: str) -> ItemKind:
    """Read a kind of item."""
    return reader.choice(ItemKind, number, field, ItemKind.POLICY)


def read_item_id(id_: str, reader: Reader, field: str) -> str:
    """Read the id of a policy, template or template link."""
    if not _ITEM_ID.fullmatch(id_):
        what = f"is `{id_[:80]}`" if id_ else "is missing"
        reader.refuse(field, f"{what}; use 1 to 256 letters, digits and `._-/:@#+`")
    return id_
