"""A copy of a policy set, kept by the messages of a Subscribe stream.

Pure: messages in, events out, no clock and no connection. What a message
brings is checked before it takes effect: deltas must chain, each item's
digest is computed anew, and the sum of all digests must be the checksum the
server sent. A copy that fails a check keeps what it had and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Generic, Protocol, TypeAlias, TypeVar

from placet import _convert as convert
from placet import wire
from placet._policies import PLATFORM, Item, ItemKey, ItemKind
from placet._values import EntityRef
from placet.v1 import policy_pb2, subscribe_service_pb2


class Digested(Protocol):
    """What a mirror needs to know of an item."""

    @property
    def owner(self) -> str: ...

    @property
    def key(self) -> Hashable: ...

    @property
    def digest(self) -> bytes:
        """SHA-256 over the canonical form of what was read, not of what was sent."""
        ...


ItemT = TypeVar("ItemT", bound=Digested)
Name: TypeAlias = "tuple[str, Hashable]"
"""An item's owner and its key."""


@dataclass(frozen=True, slots=True)
class ItemReader(Generic[ItemT]):
    """How the items of the wire are read. Both raise ``wire.Malformed``."""

    item: Callable[[policy_pb2.Item], ItemT]
    removal: Callable[[subscribe_service_pb2.Removal], Name]


def _item(message: policy_pb2.Item) -> Item:
    """Read an item and compute its digest from what was read."""
    digest = wire.item_from_wire(message).digest
    item = convert.item(message)
    assert item is not None
    return Item(item.owner, item.revision, digest, item.body)


def _removal(message: subscribe_service_pb2.Removal) -> tuple[str, ItemKey]:
    owner, key = wire.removal_from_wire(message)
    kind = ItemKind(key.kind.value)
    if kind is ItemKind.ENTITY:
        return owner, ItemKey(kind, entity=EntityRef(key.type, key.id))
    return owner, ItemKey(kind, key.id)


ITEMS: ItemReader[Item] = ItemReader(_item, _removal)


@dataclass(frozen=True, slots=True)
class Snapshot(Generic[ItemT]):
    """The whole set. What the subscriber had is replaced by it."""

    revision: int
    items: tuple[ItemT, ...]
    checksum: bytes
    platform_revision: int = 0
    """The newest revision that changed the platform's items; 0 also when it is not known."""
    tenant_revision: int = 0
    """The same of the tenant's."""
    owners: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """The owners whose items these are, also those without any, each with the newest revision
    that changed it. The platform's name is empty."""


@dataclass(frozen=True, slots=True)
class Delta(Generic[ItemT]):
    """The changes that lead from one revision to the next. All of them or none."""

    from_revision: int
    to_revision: int
    upserts: tuple[ItemT, ...]
    removals: tuple[Name, ...]
    """Owner and key of each item that is gone."""
    checksum: bytes
    """Of the whole set after the changes."""
    commit_time: datetime | None
    """When the revision was committed, by the server's clock."""
    owner: str | None = None
    """Whose items the revision changed; empty for the platform. None where one is not shown."""
    replaced: tuple[ItemT, ...] = ()
    """What the items that were written or removed had been before, where they had been there."""


class MirrorBroken(Exception):
    """The copy cannot go on from this stream; it keeps what it had.

    ``is_gap`` tells a change that was lost, which a new snapshot repairs, from
    a snapshot that is itself wrong.
    """

    def __init__(self, message: str, *, is_gap: bool) -> None:
        super().__init__(message)
        self.is_gap = is_gap


@dataclass(slots=True)
class _Incoming(Generic[ItemT]):
    """A snapshot of which not everything is there yet."""

    revision: int
    expected_items: int
    items: dict[Name, ItemT]
    owners: dict[str, int]


class PolicySetMirror(Generic[ItemT]):
    """The subscriber's copy. Not thread-safe; a stream at a time feeds it."""

    def __init__(self, reader: ItemReader[ItemT]) -> None:
        self._reader = reader
        self._items: dict[Name, ItemT] = {}
        self._checksum = 0
        self._platform_revision = self._tenant_revision = 0
        self._owners: dict[str, int] = {}
        self._incoming: _Incoming[ItemT] | None = None
        self.has_snapshot = False
        """Whether there ever was one."""
        self.is_following = False
        """Whether the stream goes on from what is held: it was resumed, or its snapshot is in."""
        self.revision = 0
        """The revision of the items held."""
        self.position = 0
        """The revision up to which everything that concerns the subscriber is held."""
        self.cursor = b""
        """Where the next stream may go on. Empty: with a snapshot."""

    @property
    def items(self) -> Mapping[Name, ItemT]:
        """The items held, by owner and key. A view: it changes with the next message."""
        return self._items

    @property
    def owners(self) -> Mapping[str, int]:
        """The owners whose items are held, as in a snapshot. A view, too."""
        return self._owners

    def snapshot(self) -> Snapshot[ItemT]:
        """Return what is held now."""
        return Snapshot(
            self.revision,
            tuple(self._items.values()),
            _to_bytes(self._checksum),
            self._platform_revision,
            self._tenant_revision,
            MappingProxyType(dict(self._owners)),
        )

    def begin_stream(self) -> None:
        """Expect a stream that goes on at ``cursor``; half a snapshot of another is dropped."""
        self._incoming = None
        self.is_following = self.cursor != b""

    def forget(self) -> None:
        """Let go of all that is held. The next stream begins with a snapshot."""
        self._items = {}
        self._checksum = 0
        self._platform_revision = self._tenant_revision = 0
        self.revision = 0
        self.start_over()

    def start_over(self) -> None:
        """Ask the next stream for a snapshot. What is held stays until it is complete."""
        self.cursor = b""

    def apply(
        self, message: subscribe_service_pb2.SubscribeResponse
    ) -> Snapshot[ItemT] | Delta[ItemT] | None:
        """Take a message of the stream; return the event it completes, if any.

        Raises:
            MirrorBroken: the message does not fit what is held.
        """
        match message.WhichOneof("event"):
            case "snapshot_begin":
                self._begin(message.snapshot_begin)
            case "snapshot_chunk":
                self._extend(message.snapshot_chunk)
            case "snapshot_end":
                return self._complete(message.snapshot_end)
            case "delta":
                return self._advance(message.delta)
            case "heartbeat":
                self._confirm(message.heartbeat)
            case _:
                # ResetRequired and GoAway are about the stream, not about the set; so
                # is, presumably, what this version does not know.
                pass
        return None

    def _begin(self, message: subscribe_service_pb2.SnapshotBegin) -> None:
        if self._incoming is not None:
            raise MirrorBroken("a snapshot began within another", is_gap=False)
        self._incoming = _Incoming(message.revision, message.items, {}, {})
        self.is_following = False

    def _extend(self, message: subscribe_service_pb2.SnapshotChunk) -> None:
        if self._incoming is None:
            raise MirrorBroken("part of a snapshot came before its beginning", is_gap=False)
        for sent in message.items:
            name, item = self._read(sent, is_gap=False)
            if name in self._incoming.items:
                raise MirrorBroken(f"the snapshot has `{name[1]}` twice", is_gap=False)
            self._incoming.items[name] = item
        for owned in message.owners:
            if owned.owner in self._incoming.owners:
                raise MirrorBroken(f"the snapshot has `{owned.owner}` twice", is_gap=False)
            self._incoming.owners[owned.owner] = owned.revision

    def _complete(self, message: subscribe_service_pb2.SnapshotEnd) -> Snapshot[ItemT]:
        incoming, self._incoming = self._incoming, None
        if incoming is None:
            raise MirrorBroken("a snapshot ended that had not begun", is_gap=False)
        if (incoming.revision, incoming.expected_items) != (message.revision, len(incoming.items)):
            raise MirrorBroken(
                f"the snapshot announced {incoming.expected_items} items at revision "
                f"{incoming.revision} and came to {len(incoming.items)} at {message.revision}",
                is_gap=False,
            )
        checksum = _sum_of_digests(incoming.items.values())
        if _to_bytes(checksum) != message.checksum:
            raise MirrorBroken("the snapshot's checksum is not that of its items", is_gap=False)
        if incoming.owners and not incoming.owners.keys() >= {owner for owner, _ in incoming.items}:
            raise MirrorBroken(
                "the snapshot has items of owners that it does not name", is_gap=False
            )
        self._items = incoming.items
        self._owners = incoming.owners
        self._checksum = checksum
        self._platform_revision = message.platform_revision
        self._tenant_revision = message.tenant_revision
        self.has_snapshot = True
        self.is_following = True
        self._stand_at(message.revision, message.cursor)
        return self.snapshot()

    def _advance(self, message: subscribe_service_pb2.Delta) -> Delta[ItemT]:
        if not self.is_following:
            raise MirrorBroken("changes came before the snapshot they apply to", is_gap=False)
        if message.from_revision != self.revision:
            raise MirrorBroken(
                f"changes from revision {message.from_revision} on came where those from "
                f"{self.revision} on were due",
                is_gap=True,
            )
        if message.to_revision < message.from_revision:
            raise MirrorBroken("changes came that lead back in time", is_gap=True)
        step = _Step(self._items, self._checksum)
        upserts: list[ItemT] = []
        removals: list[Name] = []
        for change in message.changes:
            if change.HasField("upsert"):
                name, item = self._read(change.upsert, is_gap=True)
                step.put(name, item)
                upserts.append(item)
            else:
                name = self._read_removal(change.removal)
                step.put(name, None)
                removals.append(name)
        if _to_bytes(step.checksum) != message.checksum:
            raise MirrorBroken(
                f"the checksum at revision {message.to_revision} is not that of the items held",
                is_gap=True,
            )
        replaced = step.commit()
        self._checksum = step.checksum
        owner = message.owner if message.HasField("owner") else None
        self._note_owners(owner, message.to_revision, removals)
        self._stand_at(message.to_revision, message.cursor)
        return Delta(
            message.from_revision,
            message.to_revision,
            tuple(upserts),
            tuple(removals),
            message.checksum,
            message.commit_time.ToDatetime(tzinfo=UTC) if message.HasField("commit_time") else None,
            owner,
            replaced,
        )

    def _note_owners(self, owner: str | None, revision: int, removals: Iterable[Name]) -> None:
        """Note whose revision it was, and who is held no longer.

        Another owner's items go when the subscriber may not hold them any more, and then all do.
        """
        if owner is None:
            return
        if owner == PLATFORM:
            self._platform_revision = revision
        else:
            self._tenant_revision = revision
        self._owners[owner] = revision
        for other in {name[0] for name in removals} - {owner}:
            self._owners.pop(other, None)

    def _confirm(self, message: subscribe_service_pb2.Heartbeat) -> None:
        """Note where to go on. How far the node is says nothing about what it has sent."""
        if message.cursor and self.is_following:
            self.cursor = message.cursor
            self.position = max(self.position, message.revision)

    def _stand_at(self, revision: int, cursor: bytes) -> None:
        self.revision = self.position = revision
        self.cursor = cursor

    def _read(self, message: policy_pb2.Item, *, is_gap: bool) -> tuple[Name, ItemT]:
        try:
            item = self._reader.item(message)
        except wire.Malformed as error:
            raise MirrorBroken(f"an item cannot be read: {error}", is_gap=is_gap) from error
        if item.digest != message.digest:
            raise MirrorBroken(
                f"`{item.key}` does not have the digest that was sent with it; the server may be "
                "newer than this client",
                is_gap=is_gap,
            )
        return (item.owner, item.key), item

    def _read_removal(self, message: subscribe_service_pb2.Removal) -> Name:
        try:
            return self._reader.removal(message)
        except wire.Malformed as error:
            raise MirrorBroken(f"a removal cannot be read: {error}", is_gap=True) from error


class _Step(Generic[ItemT]):
    """Changes gathered over the items held, which stay as they are until the commit."""

    def __init__(self, items: dict[Name, ItemT], checksum: int) -> None:
        self._items = items
        self._changes: dict[Name, ItemT | None] = {}
        self.checksum = checksum

    def put(self, name: Name, item: ItemT | None) -> None:
        """Set an item, or remove it."""
        before = self._changes[name] if name in self._changes else self._items.get(name)
        if before is None and item is None:
            raise MirrorBroken(f"`{name[1]}` was removed, which was not there", is_gap=True)
        gained = int.from_bytes(item.digest) if item is not None else 0
        lost = int.from_bytes(before.digest) if before is not None else 0
        self.checksum = (self.checksum + gained - lost) % _MODULUS
        self._changes[name] = item

    def commit(self) -> tuple[ItemT, ...]:
        """Make the changes; return what was there before them."""
        replaced = [self._items[name] for name in self._changes if name in self._items]
        for name, item in self._changes.items():
            if item is None:
                self._items.pop(name, None)
            else:
                self._items[name] = item
        return tuple(replaced)


_MODULUS = 1 << 256


def _sum_of_digests(items: Iterable[Digested]) -> int:
    return sum(int.from_bytes(item.digest) for item in items) % _MODULUS


def _to_bytes(checksum: int) -> bytes:
    return checksum.to_bytes(32)
