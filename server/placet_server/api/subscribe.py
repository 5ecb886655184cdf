"""SubscribeService: a snapshot, then deltas, for as long as the subscriber keeps up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import grpc

from placet.v1 import policy_pb2, subscribe_service_pb2, subscribe_service_pb2_grpc
from placet.wire import Reader, change_to_wire, duration, item_to_wire, read_kind
from placet_engine.changes import Commit, ItemSet
from placet_engine.items import CHECKSUM_MODULUS, Item, Revision, checksum
from placet_server.api.identity import visible
from placet_server.clock import Clock
from placet_server.errors import CursorRefused, RevisionNotReached, TenantUnknown
from placet_server.policies.active import ActivePolicies
from placet_server.policies.feed import Feed
from placet_server.policies.hub import FellBehind, Hub, NodeLeaving, Subscription
from placet_server.policies.selection import Selection, checksum_steps

_Context = grpc.aio.ServicerContext[Any, Any]
_Response = subscribe_service_pb2.SubscribeResponse
_Reset = subscribe_service_pb2.ResetRequired

_MAX_PATTERNS = 100
_CHUNK_BYTES = 512 * 1024
_RETRY_AFTER_S = 0.5
# A subscriber may come from a node that is ahead of this one; this long it is
# worth waiting for the store to tell.
_CATCH_UP_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Where a subscriber stands. Opaque to subscribers."""

    store_id: str
    fingerprint: str
    position: Revision
    """Every commit up to here was seen, whether it concerned the subscriber or not."""
    chain: Revision
    """``to_revision`` of the last delta sent, or the snapshot's revision."""
    checksum: int

    def to_bytes(self) -> bytes:
        """Return the form that goes over the wire."""
        return (
            f"{self.store_id} {self.fingerprint} {self.position} {self.chain} {self.checksum:x}"
        ).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Cursor:
        """Read what :meth:`to_bytes` wrote.

        Raises:
            CursorRefused: it is something else.
        """
        try:
            store_id, fingerprint, position, chain, total = data.decode().split(" ")
            return cls(
                store_id=store_id,
                fingerprint=fingerprint,
                position=Revision(int(position)),
                chain=Revision(int(chain)),
                checksum=int(total, 16),
            )
        except ValueError:
            raise CursorRefused("is none this service gave out") from None

    def after(self, commit: Commit, selection: Selection) -> Cursor:
        """Return where a subscriber stands that has seen the commit."""
        if not selection.takes_owner(commit.owner):
            return replace(self, position=commit.revision)
        total = self.checksum + checksum_steps(selection.changes(commit))
        return replace(
            self,
            position=commit.revision,
            chain=commit.revision,
            checksum=total % CHECKSUM_MODULUS,
        )


class SubscribeService(subscribe_service_pb2_grpc.SubscribeServiceServicer):
    """Streams the node's policies to whoever follows them."""

    def __init__(
        self,
        *,
        active: ActivePolicies,
        feed: Feed,
        hub: Hub,
        clock: Clock,
        store_id: str,
        heartbeat_s: float,
    ) -> None:
        self._active = active
        self._feed = feed
        self._hub = hub
        self._clock = clock
        self._store_id = store_id
        self._heartbeat_s = heartbeat_s

    async def Subscribe(
        self, request: subscribe_service_pb2.SubscribeRequest, context: _Context
    ) -> AsyncIterator[_Response]:
        """Send the subscriber's policy set and then every change to it."""
        selection = _selection(request)
        if selection.tenant and selection.tenant not in self._active.tenants:
            raise TenantUnknown(selection.tenant)
        cursor = await self._known_cursor(request.cursor, selection) if request.cursor else None
        if isinstance(cursor, _Reset):
            yield _Response(reset_required=cursor)
            return
        with self._hub.subscription() as subscription:
            # INVARIANT: nothing waits between here and the end of `_missed` or
            # `_sets`: what they do not see is in the subscription.
            if cursor is not None:
                missed = self._missed(cursor)
                if missed is None:
                    yield _Response(reset_required=self._reset(_Reset.REASON_COMPACTED))
                    return
            else:
                missed = []
                sets = self._sets(selection)
                items = [
                    item
                    for owned in sets
                    for key, item in owned.items.items()
                    if selection.takes(key)
                ]
                cursor = Cursor(
                    store_id=self._store_id,
                    fingerprint=selection.fingerprint,
                    position=self._active.revision,
                    chain=Revision(max(owned.revision for owned in sets)),
                    checksum=checksum(items),
                )
                platform, *own = sets
                tenant_revision = own[0].revision if selection.tenant else Revision(0)
                for response in _snapshot(items, cursor, platform.revision, tenant_revision):
                    yield response
            async for response in self._follow(subscription, missed, cursor, selection):
                yield response

    async def _follow(
        self,
        subscription: Subscription,
        missed: Iterable[Commit],
        cursor: Cursor,
        selection: Selection,
    ) -> AsyncIterator[_Response]:
        """Send a delta for each commit that concerns the subscriber, and heartbeats."""
        for earlier in missed:
            if selection.takes_owner(earlier.owner):
                yield _delta(earlier, cursor, selection)
            cursor = cursor.after(earlier, selection)
        # Tells at once how current what was sent is, and how stale the node.
        yield self._heartbeat(cursor)
        sent_at = self._clock.monotonic()
        while True:
            try:
                commit = await subscription.next(self._heartbeat_s)
            except FellBehind:
                yield _Response(reset_required=self._reset(_Reset.REASON_SLOW_READER))
                return
            except NodeLeaving:
                yield _Response(
                    go_away=subscribe_service_pb2.GoAway(retry_after=duration(_RETRY_AFTER_S))
                )
                return
            response = None
            if commit is not None:
                if commit.revision <= cursor.position:
                    # The node's memory was ahead of the subscription when it was opened.
                    continue
                if selection.takes_owner(commit.owner):
                    response = _delta(commit, cursor, selection)
                cursor = cursor.after(commit, selection)
            now = self._clock.monotonic()
            if response is None and (commit is None or now - sent_at >= self._heartbeat_s):
                response = self._heartbeat(cursor)
            if response is not None:
                yield response
                sent_at = now

    async def _known_cursor(self, data: bytes, selection: Selection) -> Cursor | _Reset:
        """Read a cursor; if it is of another store, or this node is far behind it, a reset."""
        cursor = Cursor.from_bytes(data)
        if not cursor.fingerprint.startswith(selection.filter_fingerprint):
            raise CursorRefused("is of another tenant or filter")
        may_see_the_same = cursor.fingerprint == selection.fingerprint
        if cursor.store_id != self._store_id or not may_see_the_same:
            return self._reset(_Reset.REASON_UNKNOWN_CURSOR)
        try:
            await self._active.wait_for(cursor.position, _CATCH_UP_S)
        except RevisionNotReached:
            return self._reset(_Reset.REASON_UNKNOWN_CURSOR)
        return cursor

    def _missed(self, cursor: Cursor) -> list[Commit] | None:
        return self._feed.window.after(cursor.position)

    def _sets(self, selection: Selection) -> list[ItemSet]:
        """Return what there is now of the owners that concern the subscriber."""
        owners = [selection.tenant] if selection.tenant else self._active.tenants
        return [
            self._active.platform,
            *(self._active.items(owner) for owner in owners if selection.takes_owner(owner)),
        ]

    def _reset(self, reason: _Reset.Reason.ValueType) -> _Reset:
        return _Reset(reason=reason, earliest_revision=self._feed.window.earliest)

    def _heartbeat(self, cursor: Cursor) -> _Response:
        heartbeat = subscribe_service_pb2.Heartbeat(
            revision=cursor.position,
            cursor=cursor.to_bytes(),
            staleness=duration(self._active.node_staleness_s()),
        )
        heartbeat.server_time.FromDatetime(self._clock.now())
        return _Response(heartbeat=heartbeat)


def _selection(request: subscribe_service_pb2.SubscribeRequest) -> Selection:
    reader = Reader()
    tenant = reader.tenant(request.tenant, platform=True)
    patterns = request.filter.policy_ids
    if len(patterns) > _MAX_PATTERNS:
        reader.refuse("filter.policy_ids", f"has more than {_MAX_PATTERNS} entries; use prefixes")
    for index, pattern in enumerate(patterns):
        if not pattern or "*" in pattern[:-1]:
            reader.refuse(
                f"filter.policy_ids[{index}]",
                f"is `{pattern}`; use an id, or a prefix with one `*` at its end",
            )
    kinds = frozenset(
        read_kind(kind, reader, f"filter.kinds[{index}]")
        for index, kind in enumerate(request.filter.kinds)
    )
    reader.finish()
    return Selection(tenant, tuple(patterns), kinds, visible())


def _snapshot(
    items: Sequence[Item], cursor: Cursor, platform: Revision, tenant: Revision
) -> Iterator[_Response]:
    yield _Response(
        snapshot_begin=subscribe_service_pb2.SnapshotBegin(revision=cursor.chain, items=len(items))
    )
    for chunk in _chunks(map(item_to_wire, items)):
        yield _Response(snapshot_chunk=subscribe_service_pb2.SnapshotChunk(items=chunk))
    yield _Response(
        snapshot_end=subscribe_service_pb2.SnapshotEnd(
            revision=cursor.chain,
            checksum=cursor.checksum.to_bytes(32),
            cursor=cursor.to_bytes(),
            platform_revision=platform,
            tenant_revision=tenant,
        )
    )


def _chunks(messages: Iterable[policy_pb2.Item]) -> Iterator[list[policy_pb2.Item]]:
    """Group messages so that none of the chunks is near the limit of one gRPC message."""
    chunk: list[policy_pb2.Item] = []
    size = 0
    for message in messages:
        chunk.append(message)
        size += message.ByteSize()
        if size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _delta(commit: Commit, cursor: Cursor, selection: Selection) -> _Response:
    after = cursor.after(commit, selection)
    delta = subscribe_service_pb2.Delta(
        from_revision=cursor.chain,
        to_revision=commit.revision,
        changes=[change_to_wire(commit.owner, change) for change in selection.changes(commit)],
        checksum=after.checksum.to_bytes(32),
        cursor=after.to_bytes(),
    )
    delta.commit_time.FromDatetime(commit.time)
    return _Response(delta=delta)
