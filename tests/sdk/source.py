"""What a server would send of a policy set that a test changes: messages, and the truth."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from placet import wire
from placet.v1 import subscribe_service_pb2 as pb
from placet_engine.changes import ItemChange
from placet_engine.items import (
    PLATFORM,
    TOPOLOGY,
    Body,
    Item,
    ItemKey,
    Placement,
    Policy,
    Revision,
    checksum,
)
from placet_engine.model import Layer

TENANT = "acme"


def policy(name: str, cedar: str = "permit(principal, action, resource);", **fields: str) -> Policy:
    """Write a policy of the tenant."""
    return Policy(id=name, cedar=cedar, **fields)  # type: ignore[arg-type]  # text fields only


def platform_policy(name: str, cedar: str) -> Policy:
    """Write a policy of the platform."""
    return Policy(id=name, cedar=cedar, layer=Layer.PLATFORM)


class Source:
    """A policy set with its history. Cursors are revisions as text."""

    def __init__(self, *bodies: Body) -> None:
        self._items: dict[tuple[str, ItemKey], Item] = {}
        self._owners: dict[str, int] = {}
        self._deltas: list[pb.SubscribeResponse] = []
        self.revision = 0
        if bodies:
            self.commit(*bodies)

    @property
    def items(self) -> dict[tuple[str, ItemKey], Item]:
        """The set as it is, by owner and key."""
        return dict(self._items)

    @property
    def checksum(self) -> bytes:
        """The checksum of the set as it is."""
        return checksum(self._items.values()).to_bytes(32)

    def commit(
        self, *bodies: Body, remove: Iterable[ItemKey] = (), owner: str = TENANT
    ) -> pb.SubscribeResponse:
        """Make one revision of some changes; return the delta that tells of it."""
        before, self.revision = self.revision, self.revision + 1
        changes = []
        for body in bodies:
            known = self._items.get((owner, body.key))
            item = Item(owner, Revision(self.revision), body)
            self._items[owner, body.key] = item
            changes.append(ItemChange(known, item))
        changes += [ItemChange(self._items.pop((owner, key)), None) for key in remove]
        if changes:
            self._owners[owner] = self.revision
        delta = pb.Delta(
            from_revision=before,
            to_revision=self.revision,
            changes=[wire.change_to_wire(owner, change) for change in changes],
            checksum=self.checksum,
            cursor=self.cursor,
            owner=owner,
        )
        delta.commit_time.FromDatetime(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
        self._deltas.append(pb.SubscribeResponse(delta=delta))
        return self._deltas[-1]

    def place(self, tenant: str, *withdrawn: str) -> pb.SubscribeResponse:
        """Make one revision that places a tenant, and takes all that some tenants have away."""
        message = self.commit(Placement(tenant=tenant), owner=TOPOLOGY)
        for owner, key in [name for name in self._items if name[0] in withdrawn]:
            del self._items[owner, key]
            removal = message.delta.changes.add().removal
            removal.CopyFrom(wire.removal_to_wire(owner, key).removal)
        for owner in withdrawn:
            self._owners.pop(owner, None)
        message.delta.checksum = self.checksum
        return message

    def withhold(self) -> pb.SubscribeResponse:
        """Make one revision of which the subscriber is shown nothing."""
        message = self.commit()
        message.delta.ClearField("owner")
        return message

    def commit_to_platform(self, *bodies: Body) -> pb.SubscribeResponse:
        """Make one revision of changes to what applies to every tenant."""
        return self.commit(*bodies, owner=PLATFORM)

    @property
    def cursor(self) -> bytes:
        """Where a subscriber stands that has everything."""
        return str(self.revision).encode()

    def snapshot(self, *, chunk: int = 2) -> list[pb.SubscribeResponse]:
        """Return the messages of a snapshot."""
        items = [wire.item_to_wire(item) for item in self._items.values()]
        return [
            pb.SubscribeResponse(
                snapshot_begin=pb.SnapshotBegin(revision=self.revision, items=len(items))
            ),
            pb.SubscribeResponse(
                snapshot_chunk=pb.SnapshotChunk(
                    owners=(
                        pb.OwnerRevision(owner=owner, revision=revision)
                        for owner, revision in self._owners.items()
                    )
                )
            ),
            *(
                pb.SubscribeResponse(snapshot_chunk=pb.SnapshotChunk(items=items[at : at + chunk]))
                for at in range(0, len(items), chunk)
            ),
            pb.SubscribeResponse(
                snapshot_end=pb.SnapshotEnd(
                    revision=self.revision, checksum=self.checksum, cursor=self.cursor
                )
            ),
        ]

    def since(self, cursor: bytes) -> list[pb.SubscribeResponse]:
        """Return what a subscriber at a cursor lacks; all of it without one."""
        return self._deltas[int(cursor) :] if cursor else self.snapshot()

    def heartbeat(self, *, staleness_s: float = 0.0) -> pb.SubscribeResponse:
        """Say that there is nothing more."""
        return pb.SubscribeResponse(
            heartbeat=pb.Heartbeat(
                revision=self.revision,
                cursor=self.cursor,
                staleness=wire.duration(staleness_s),
            )
        )


def reset(reason: pb.ResetRequired.Reason.ValueType) -> pb.SubscribeResponse:
    """Say that the stream cannot go on."""
    return pb.SubscribeResponse(reset_required=pb.ResetRequired(reason=reason))


def go_away(retry_after_s: float) -> pb.SubscribeResponse:
    """Say that the node is about to stop."""
    return pb.SubscribeResponse(go_away=pb.GoAway(retry_after=wire.duration(retry_after_s)))
