"""What is published, and what subscribers are told: changes of items."""

from __future__ import annotations

from placet.v1 import policy_pb2, subscribe_service_pb2
from placet.wire.items import item_to_wire, read_contents
from placet.wire.keys import key_to_wire, read_key
from placet.wire.limits import LIMITS
from placet.wire.reader import Reader
from placet_engine.changes import ChangeSet, ItemChange
from placet_engine.items import ItemKey


def read_change_set(message: policy_pb2.ChangeSet, reader: Reader, *, owner: str) -> ChangeSet:
    """Read a change set for an owner."""
    count = (
        len(message.policies)
        + len(message.template_links)
        + len(message.entities)
        + len(message.deletes)
    )
    if count > LIMITS.max_change_items:
        reader.refuse(
            "change_set", f"has {count} items; publish {LIMITS.max_change_items} at a time"
        )
        return ChangeSet()
    for index, deleted in enumerate(message.deletes):
        if (instead := _NOT_DELETED.get(deleted.kind)) is not None:
            reader.refuse(f"change_set.deletes[{index}].kind", instead)
    return ChangeSet(
        upserts=tuple(read_contents(message, reader, "change_set", owner)),
        deletes=tuple(
            read_key(key, reader, f"change_set.deletes[{index}]")
            for index, key in enumerate(message.deletes)
        ),
        replace_all=message.replace_all,
    )


_NOT_DELETED = {
    policy_pb2.ITEM_KIND_ROLLOUT: "is of a rollout; roll it back instead",
    policy_pb2.ITEM_KIND_CANDIDATE: "is of a rollout; roll it back instead",
    policy_pb2.ITEM_KIND_PLACEMENT: "says where a tenant is placed; place it anew instead",
    policy_pb2.ITEM_KIND_NODE_SETTINGS: "is what was set of a node; update the node instead",
}


def change_to_wire(owner: str, change: ItemChange) -> subscribe_service_pb2.Change:
    """Return one change of an owner's items as a message."""
    if change.after is not None:
        return subscribe_service_pb2.Change(upsert=item_to_wire(change.after))
    return removal_to_wire(owner, change.key)


def removal_to_wire(owner: str, key: ItemKey) -> subscribe_service_pb2.Change:
    """Return as a message that an item of an owner is gone."""
    removal = subscribe_service_pb2.Removal(owner=owner, key=key_to_wire(key))
    return subscribe_service_pb2.Change(removal=removal)


def removal_from_wire(message: subscribe_service_pb2.Removal) -> tuple[str, ItemKey]:
    """Read which item of which owner is gone.

    Raises:
        Malformed: the key is not well formed.
    """
    reader = Reader()
    key = read_key(message.key, reader, "key")
    reader.finish()
    return message.owner, key
