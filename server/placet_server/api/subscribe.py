"""SubscribeService: a snapshot, then deltas, for as long as the subscriber keeps up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import grpc

from placet.v1 import subscribe_service_pb2, subscribe_service_pb2_grpc
from placet.wire import (
    Reader,
    change_to_wire,
    duration,
    read_kind,
    removal_to_wire,
    snapshot_to_wire,
)
from placet_engine.changes import Commit, ItemSet
from placet_engine.items import CHECKSUM_MODULUS, PLATFORM, TOPOLOGY, Item, Revision, checksum
from placet_server.api.identity import visible
from placet_server.clock import Clock
from placet_server.errors import (
    CursorRefused,
    NodeNotReady,
    PlacetError,
    RegionForbidden,
    RevisionNotReached,
)
from placet_server.policies.active import ActivePolicies
from placet_server.policies.feed import Feed
from placet_server.policies.hub import FellBehind, Hub, NodeLeaving, Subscription
from placet_server.policies.residency import Step
from placet_server.policies.selection import Selection
from placet_server.policies.source import Lineage
from placet_server.policies.viewing import Seen, Turn, View
from placet_server.regions.directory import Directory

_Context = grpc.aio.ServicerContext[Any, Any]
_Response = subscribe_service_pb2.SubscribeResponse
_Reset = subscribe_service_pb2.ResetRequired

_MAX_PATTERNS = 100
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

    def after(self, commit: Commit, seen: Seen | None) -> Cursor:
        """Return where a subscriber stands that has got what it gets of a commit."""
        if seen is None:
            return replace(self, position=commit.revision)
        return replace(
            self,
            position=commit.revision,
            chain=commit.revision,
            checksum=(self.checksum + seen.checksum_step) % CHECKSUM_MODULUS,
        )


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What a stream without a cursor begins with."""

    items: list[Item]
    owners: dict[str, Revision]
    cursor: Cursor
    end: subscribe_service_pb2.SnapshotEnd


class SubscribeService(subscribe_service_pb2_grpc.SubscribeServiceServicer):
    """Streams the node's policies to whoever follows them."""

    def __init__(
        self,
        *,
        active: ActivePolicies,
        feed: Feed,
        hub: Hub,
        clock: Clock,
        directory: Directory,
        lineage: Callable[[], Lineage],
        heartbeat_s: float,
    ) -> None:
        self._active = active
        self._feed = feed
        self._hub = hub
        self._clock = clock
        self._directory = directory
        self._residency = directory.residency
        self._lineage = lineage
        self._heartbeat_s = heartbeat_s

    async def Subscribe(
        self, request: subscribe_service_pb2.SubscribeRequest, context: _Context
    ) -> AsyncIterator[_Response]:
        """Send the subscriber's policy set and then every change to it."""
        selection = _selection(request)
        if not self._active.is_loaded:
            raise NodeNotReady
        self._check_tenant(selection.tenant, request.region)
        origin = self._origin(selection, request.region)
        await context.send_initial_metadata(_told(self._lineage()))
        cursor = None
        if request.cursor:
            cursor = await self._known_cursor(request.cursor, selection, origin)
        if isinstance(cursor, _Reset):
            yield _Response(reset_required=cursor)
            return
        with self._hub.subscription(is_of_node=not selection.tenant) as subscription:
            # INVARIANT: nothing waits between here and the end of `_missed` or
            # `_sets`: what they do not see is in the subscription.
            view = View(selection, self._residency, request.region)
            if cursor is not None:
                missed = self._missed(cursor)
                if missed is None or view.is_turned_by(missed):
                    yield _Response(reset_required=self._reset(_Reset.REASON_COMPACTED))
                    return
            else:
                missed = []
                snapshot = self._snapshot(view, origin)
                cursor = snapshot.cursor
                for response in snapshot_to_wire(
                    snapshot.items, snapshot.owners, revision=cursor.chain, end=snapshot.end
                ):
                    yield response
            async for response in self._follow(subscription, missed, cursor, view):
                yield response

    def _check_tenant(self, tenant: str, region: str) -> None:
        """See that there is a tenant to follow, and that its policies may go where they are to."""
        if not tenant:
            return
        if tenant not in self._active.tenants:
            raise self._directory.refusal(tenant)
        if not self._residency.may_go(tenant, region):
            raise self._forbidden(tenant, region)

    async def _follow(
        self, subscription: Subscription, missed: Iterable[Commit], cursor: Cursor, view: View
    ) -> AsyncIterator[_Response]:
        """Send a delta for each commit that concerns the subscriber, and heartbeats."""
        for earlier in missed:
            seen = view.see(Step(earlier))
            assert not isinstance(seen, Turn), "what was missed turns nothing, or is not sent"
            if seen is not None:
                yield _delta(earlier, cursor, seen)
            cursor = cursor.after(earlier, seen)
        # Tells at once how current what was sent is, and how stale the node.
        yield self._heartbeat(cursor)
        sent_at = self._clock.monotonic()
        while True:
            try:
                step = await subscription.next(self._heartbeat_s)
            except FellBehind:
                yield _Response(reset_required=self._reset(_Reset.REASON_SLOW_READER))
                return
            except NodeLeaving:
                yield _Response(
                    go_away=subscribe_service_pb2.GoAway(retry_after=duration(_RETRY_AFTER_S))
                )
                return
            response = None
            if step is not None:
                if step.revision <= cursor.position:
                    # It was in the snapshot already.
                    continue
                seen = view.see(step)
                if seen is Turn.SHOWN_AGAIN:
                    yield _Response(reset_required=self._reset(_Reset.REASON_COMPACTED))
                    return
                if seen is Turn.FORBIDDEN:
                    raise self._forbidden(view.selection.tenant, view.region)
                assert not isinstance(seen, Turn)
                if seen is not None:
                    response = _delta(step.commit, cursor, seen)
                cursor = cursor.after(step.commit, seen)
            now = self._clock.monotonic()
            if response is None and (step is None or now - sent_at >= self._heartbeat_s):
                response = self._heartbeat(cursor)
            if response is not None:
                yield response
                sent_at = now

    async def _known_cursor(
        self, data: bytes, selection: Selection, origin: str
    ) -> Cursor | _Reset:
        """Read a cursor; if it is of another store, or this node is far behind it, a reset."""
        cursor = Cursor.from_bytes(data)
        if cursor.fingerprint != selection.fingerprint:
            raise CursorRefused("is of another tenant or filter")
        if cursor.store_id != origin:
            return self._reset(_Reset.REASON_UNKNOWN_CURSOR)
        try:
            await self._active.wait_for(cursor.position, _CATCH_UP_S)
        except RevisionNotReached:
            return self._reset(_Reset.REASON_UNKNOWN_CURSOR)
        return cursor

    def _missed(self, cursor: Cursor) -> list[Commit] | None:
        return self._feed.window.after(cursor.position)

    def _snapshot(self, view: View, origin: str) -> _Snapshot:
        """Take what there is now."""
        selection, sets = view.selection, self._sets(view)
        items = [
            item for owned in sets for key, item in owned.items.items() if selection.takes(key)
        ]
        position = self._active.revision
        newest = Revision(max(owned.revision for owned in sets))
        cursor = Cursor(
            store_id=origin,
            fingerprint=selection.fingerprint,
            position=position,
            # Every revision concerns whoever follows everybody.
            chain=newest if selection.tenant else position,
            checksum=checksum(items),
        )
        owners = {owned.owner: owned.revision for owned in sets}
        end = subscribe_service_pb2.SnapshotEnd(
            checksum=cursor.checksum.to_bytes(32),
            cursor=cursor.to_bytes(),
            platform_revision=owners[PLATFORM],
            tenant_revision=owners[selection.tenant] if selection.tenant else 0,
            staleness=duration(self._active.node_staleness_s()),
        )
        return _Snapshot(items, owners, cursor, end)

    def _sets(self, view: View) -> list[ItemSet]:
        """Return what there is now of the owners that concern the subscriber."""
        tenant = view.selection.tenant
        owners = [tenant] if tenant else [TOPOLOGY, *self._active.tenants]
        return [
            self._active.platform,
            *(self._active.items(owner) for owner in owners if view.takes_owner(owner)),
        ]

    def _origin(self, selection: Selection, region: str) -> str:
        """Return what a cursor is good for, beside the selection.

        Who follows everything is not shown what may not be where the node is, or the subscriber,
        nor what it may not see. Elsewhere, or later, more may be shown, which somebody who goes on
        from here would never get.
        """
        store_id = self._lineage().store_id
        if selection.tenant:
            return store_id
        regions = self._residency.regions
        laws = sorted({regions.jurisdiction(regions.here), regions.jurisdiction(region)})
        return f"{store_id}/{'+'.join(laws)}{selection.visible.fingerprint}"

    def _forbidden(self, tenant: str, region: str) -> PlacetError:
        if not self._residency.is_here(tenant):
            return self._directory.refusal(tenant)
        return RegionForbidden(tenant, self._residency.rule(tenant), region)

    def _reset(self, reason: _Reset.Reason.ValueType) -> _Reset:
        return _Reset(reason=reason, earliest_revision=self._feed.window.earliest)

    def _heartbeat(self, cursor: Cursor) -> _Response:
        heartbeat = subscribe_service_pb2.Heartbeat(
            revision=cursor.position,
            cursor=cursor.to_bytes(),
            staleness=duration(self._active.node_staleness_s()),
            upstreams=self._lineage().nodes,
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


def _told(lineage: Lineage) -> tuple[tuple[str, str], ...]:
    """Return what a stream's initial metadata says of what is followed."""
    upstreams = ",".join(quote(node, safe="") for node in lineage.nodes)
    return (("placet-store", lineage.store_id), ("placet-upstreams", upstreams))


def _delta(commit: Commit, cursor: Cursor, seen: Seen) -> _Response:
    after = cursor.after(commit, seen)
    delta = subscribe_service_pb2.Delta(
        from_revision=cursor.chain,
        to_revision=commit.revision,
        changes=[
            *(change_to_wire(commit.owner, change) for change in seen.changes),
            *(removal_to_wire(owner, key) for owner, key in seen.removals),
        ],
        checksum=after.checksum.to_bytes(32),
        cursor=after.to_bytes(),
    )
    delta.commit_time.FromDatetime(commit.time)
    if seen.owner is not None:
        delta.owner = seen.owner
    return _Response(delta=delta)
