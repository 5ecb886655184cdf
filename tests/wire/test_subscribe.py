"""SubscribeService: nothing missed, nothing repeated, nobody slowed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from placet.v1 import policy_pb2, subscribe_service_pb2
from placet.wire import item_from_wire, removal_from_wire
from placet_engine.items import NO_REVISION, ItemKey, checksum
from placet_server.config import SubscribeConfig
from placet_server.policies.residency import Step
from tests.wire.details import info
from tests.wire.service import TENANT, TIMEOUT_S, Service, policy, running_service

_ALLOW = "permit(principal, action, resource);"


@dataclass
class Follower:
    """A subscriber written for these tests alone, apart from the SDK's."""

    items: dict[tuple[str, int, str, str], policy_pb2.Item] = field(default_factory=dict)
    revisions: list[int] = field(default_factory=list)
    cursor: bytes = b""
    checksum: int = 0
    resets: list[int] = field(default_factory=list)
    _incoming: list[policy_pb2.Item] = field(default_factory=list)

    def take(self, response: subscribe_service_pb2.SubscribeResponse) -> str:
        event = response.WhichOneof("event")
        assert event is not None
        getattr(self, f"_{event}", lambda message: None)(getattr(response, event))
        return event

    def _snapshot_begin(self, begin: subscribe_service_pb2.SnapshotBegin) -> None:
        self._incoming = []

    def _snapshot_chunk(self, chunk: subscribe_service_pb2.SnapshotChunk) -> None:
        self._incoming.extend(chunk.items)

    def _snapshot_end(self, end: subscribe_service_pb2.SnapshotEnd) -> None:
        self.items = {_key(item): item for item in self._incoming}
        self.revisions = [end.revision]
        self._advance(end.cursor, end.checksum)

    def _delta(self, delta: subscribe_service_pb2.Delta) -> None:
        assert delta.from_revision == self.revisions[-1], "a gap, or a repeat"
        for change in delta.changes:
            if change.WhichOneof("change") == "upsert":
                self.items[_key(change.upsert)] = change.upsert
            else:
                owner, key = removal_from_wire(change.removal)
                del self.items[owner, int(key.kind), key.id, key.type]
        self.revisions.append(delta.to_revision)
        self._advance(delta.cursor, delta.checksum)

    def _heartbeat(self, heartbeat: subscribe_service_pb2.Heartbeat) -> None:
        self.cursor = heartbeat.cursor

    def _reset_required(self, reset: subscribe_service_pb2.ResetRequired) -> None:
        self.resets.append(reset.reason)
        self.cursor = b""

    def _advance(self, cursor: bytes, announced: bytes) -> None:
        self.cursor = cursor
        self.checksum = int.from_bytes(announced)
        # Recomputed from the content, not from the digests that were sent.
        assert self.checksum == checksum(item_from_wire(item) for item in self.items.values())


def _key(item: policy_pb2.Item) -> tuple[str, int, str, str]:
    key: ItemKey = item_from_wire(item).key
    return item.owner, int(key.kind), key.id, key.type


async def _follow(
    service: Service, follower: Follower, until: int, *, tenant: str = TENANT, **fields: Any
) -> None:
    """Follow until a revision is reached."""
    call = service.subscribe.Subscribe(
        subscribe_service_pb2.SubscribeRequest(tenant=tenant, cursor=follower.cursor, **fields),
        timeout=60,
    )
    try:
        async for response in call:
            follower.take(response)
            if follower.revisions and follower.revisions[-1] >= until:
                return
    finally:
        call.cancel()


async def _stored_checksum(service: Service) -> int:
    """Return the checksum of what the store has, read apart from the feed."""
    items = await service.node.store.read(TENANT)
    return checksum(items.items.values())


async def test_a_subscriber_killed_and_resumed_at_random_misses_and_repeats_nothing() -> None:
    publishes, seed = 1000, 7
    chance = random.Random(seed)
    async with running_service() as service:
        first = await service.publish(policy("p/0", _ALLOW))
        last = first.revision + publishes
        follower = Follower()
        kills = 0

        async def publish_all() -> None:
            for number in range(1, publishes + 1):
                if number % 5 == 0:
                    await service.publish(
                        deletes=[
                            policy_pb2.ItemKey(
                                kind=policy_pb2.ITEM_KIND_POLICY, id=f"p/{number - 1}"
                            )
                        ]
                    )
                else:
                    await service.publish(policy(f"p/{number}", _ALLOW))

        publishing = asyncio.create_task(publish_all())
        while not follower.revisions or follower.revisions[-1] < last:
            patience = chance.randrange(1, 60)
            call = service.subscribe.Subscribe(
                subscribe_service_pb2.SubscribeRequest(tenant=TENANT, cursor=follower.cursor),
                timeout=60,
            )
            async for response in call:
                follower.take(response)
                patience -= 1
                if patience == 0 or (follower.revisions and follower.revisions[-1] >= last):
                    break
            call.cancel()
            kills += 1
        await publishing

        assert follower.checksum == await _stored_checksum(service)
        assert follower.revisions == list(range(first.revision, last + 1)), f"seed {seed}"
        assert len(follower.items) == 1 + publishes - 2 * (publishes // 5)
        assert follower.resets == []
        assert kills > 15


async def test_a_subscriber_that_stops_reading_is_reset_and_others_are_not_slowed() -> None:
    settings = SubscribeConfig(heartbeat_s=0.2, max_waiting=16)
    async with running_service(subscribe=settings) as service:
        await service.publish(policy("start", _ALLOW))
        # Large policies, so that the transport's buffers are soon full.
        text = "// " + "x" * 60_000 + "\n" + _ALLOW
        sleeper = service.subscribe.Subscribe(
            subscribe_service_pb2.SubscribeRequest(tenant=TENANT), timeout=60
        )
        slow, quick = Follower(), Follower()
        unread = aiter(sleeper)
        while slow.take(await anext(unread)) != "snapshot_end":
            pass
        # From here on `sleeper` reads nothing.
        following = asyncio.create_task(_follow(service, quick, until=301))
        for number in range(300):
            await service.publish(policy(f"big/{number % 3}", f"{text} // {number}"))
        await asyncio.wait_for(following, timeout=TIMEOUT_S)

        async for response in unread:
            slow.take(response)

        assert quick.revisions == list(range(quick.revisions[0], 302))
        assert slow.resets == [subscribe_service_pb2.ResetRequired.REASON_SLOW_READER]
        assert slow.revisions == list(range(1, slow.revisions[-1] + 1))
        assert len(service.node.hub) == 0


async def test_a_reader_that_takes_nothing_at_all_is_closed_in_the_end() -> None:
    settings = SubscribeConfig(heartbeat_s=0.2, max_waiting=16, write_timeout_s=0.3)
    async with running_service(subscribe=settings) as service:
        text = "// " + "x" * 90_000 + "\n" + _ALLOW
        for part in range(10):
            await service.publish(*(policy(f"big/{part}-{number}", text) for number in range(40)))
        sleeper = service.subscribe.Subscribe(
            subscribe_service_pb2.SubscribeRequest(tenant=TENANT), timeout=60
        )
        unread = aiter(sleeper)
        await anext(unread)
        await _until(lambda: len(service.node.hub) == 0)

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _drained(unread)

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert info(caught.value).reason == "SLOW_READER"


async def _drained(responses: AsyncIterator[object]) -> None:
    async for _ in responses:
        pass


async def _until(holds: Any) -> None:
    """Wait for something that nothing announces, with a deadline."""
    async with asyncio.timeout(TIMEOUT_S):
        while not holds():  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0.01)


async def test_heartbeats_come_with_a_cursor_that_resumes() -> None:
    async with running_service(subscribe=SubscribeConfig(heartbeat_s=0.05)) as service:
        await service.publish(policy("p", _ALLOW))
        await service.publish(policy("p", _ALLOW), tenant="other")
        follower = Follower()
        call = service.subscribe.Subscribe(
            subscribe_service_pb2.SubscribeRequest(tenant=TENANT), timeout=TIMEOUT_S
        )
        async for response in call:
            if follower.take(response) == "heartbeat":
                break
        call.cancel()
        await service.publish(policy("q", _ALLOW))

        await _follow(service, follower, until=3)

    # The snapshot is at the tenant's revision, not at the store's.
    assert follower.revisions == [1, 3]


async def test_a_commit_that_was_in_the_snapshot_already_is_not_sent_again() -> None:
    """A node's memory moves just before its subscribers are told: both may be seen."""
    async with running_service() as service:
        await service.publish(policy("p", _ALLOW))
        follower = Follower()
        following = asyncio.create_task(_follow(service, follower, until=2))
        await _until(lambda: follower.revisions)
        for commit in await service.node.store.commits(NO_REVISION, limit=1):
            service.node.hub.broadcast(Step(commit))
        await service.publish(policy("q", _ALLOW))
        await asyncio.wait_for(following, TIMEOUT_S)

    assert follower.revisions == [1, 2]


async def test_other_tenants_changes_are_not_sent_and_the_platform_s_are() -> None:
    async with running_service() as service:
        await service.publish(policy("p", _ALLOW))
        follower = Follower()
        following = asyncio.create_task(_follow(service, follower, until=3))
        await service.publish(policy("secret", _ALLOW), tenant="other")
        await service.publish(policy("guard", "forbid(principal, action, resource);"), tenant="")
        await asyncio.wait_for(following, TIMEOUT_S)

    assert {("", "guard"), (TENANT, "p")} == {(key[0], key[2]) for key in follower.items}


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["orders/*"], {"orders/read", "orders/write"}),
        (["orders/read"], {"orders/read"}),
        (["orders/read", "users/*"], {"orders/read", "users/read"}),
        (["*"], {"orders/read", "orders/write", "users/read"}),
        (["none"], set()),
    ],
)
async def test_filters_by_id_and_prefix(patterns: list[str], expected: set[str]) -> None:
    ids = ("orders/read", "orders/write", "users/read")
    async with running_service() as service:
        await service.publish(policy("first", _ALLOW))
        follower = Follower()
        wanted = subscribe_service_pb2.SubscribeFilter(policy_ids=patterns)
        following = asyncio.create_task(_follow(service, follower, until=4, filter=wanted))
        for id_ in ids:
            await service.publish(policy(id_, _ALLOW))
        await asyncio.wait_for(following, TIMEOUT_S)
        fresh = Follower()
        await _follow(service, fresh, until=4, filter=wanted)

    assert expected - {"first"} == {key[2] for key in follower.items} - {"first"}
    assert (follower.items, follower.checksum) == (fresh.items, fresh.checksum)


async def test_an_empty_delta_changes_nothing_but_the_revision() -> None:
    async with running_service() as service:
        await service.publish(policy("kept", _ALLOW))
        follower = Follower()
        wanted = subscribe_service_pb2.SubscribeFilter(policy_ids=["kept"])
        following = asyncio.create_task(_follow(service, follower, until=2, filter=wanted))
        await _until(lambda: follower.revisions)
        before = follower.checksum
        await service.publish(policy("other", _ALLOW))
        await asyncio.wait_for(following, TIMEOUT_S)

    assert (follower.revisions, follower.checksum) == ([1, 2], before)


async def test_a_cursor_too_old_is_told_to_start_again() -> None:
    async with running_service(
        subscribe=SubscribeConfig(heartbeat_s=0.2, max_window_commits=3)
    ) as service:
        await service.publish(policy("p", _ALLOW))
        follower = Follower()
        await _follow(service, follower, until=1)
        for number in range(5):
            await service.publish(policy(f"q{number}", _ALLOW))
        response = await _first(service, cursor=follower.cursor)

        await _follow(service, Follower(), until=6)

    assert response.reset_required.reason == subscribe_service_pb2.ResetRequired.REASON_COMPACTED
    assert response.reset_required.earliest_revision == 3


async def test_a_cursor_of_another_store_is_told_to_start_again() -> None:
    follower = Follower()
    async with running_service() as service:
        await service.publish(policy("p", _ALLOW))
        await _follow(service, follower, until=1)
    async with running_service() as service:
        await service.publish(policy("p", _ALLOW))
        response = await _first(service, cursor=follower.cursor)

    assert (
        response.reset_required.reason == subscribe_service_pb2.ResetRequired.REASON_UNKNOWN_CURSOR
    )


async def test_a_cursor_of_another_filter_is_refused() -> None:
    follower = Follower()
    async with running_service() as service:
        await service.publish(policy("p", _ALLOW))
        await _follow(service, follower, until=1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _first(
                service,
                cursor=follower.cursor,
                filter=subscribe_service_pb2.SubscribeFilter(policy_ids=["p"]),
            )

    assert info(caught.value).reason == "CURSOR_REFUSED"


async def test_a_cursor_survives_a_restart_of_the_node(tmp_path: Any) -> None:
    follower = Follower()
    async with running_service(path=tmp_path / "placet.db") as service:
        await service.publish(policy("p", _ALLOW))
        await _follow(service, follower, until=1)
        await service.publish(policy("q", _ALLOW))
    async with running_service(path=tmp_path / "placet.db") as service:
        await service.publish(policy("r", _ALLOW))
        await _follow(service, follower, until=3)

        assert follower.checksum == await _stored_checksum(service)
    assert follower.revisions == [1, 2, 3]


async def test_subscribers_are_told_when_the_node_leaves() -> None:
    events: list[str] = []
    async with running_service() as service:
        await service.publish(policy("p", _ALLOW))
        follower = Follower()
        call = service.subscribe.Subscribe(
            subscribe_service_pb2.SubscribeRequest(tenant=TENANT), timeout=TIMEOUT_S
        )
        responses = aiter(call)
        while follower.take(await anext(responses)) != "snapshot_end":
            pass
        service.node.hub.leave()
        async for response in responses:
            events.append(follower.take(response))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _first(service)

    assert events[-1] == "go_away"
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_there_are_no_more_subscriptions_than_allowed() -> None:
    async with running_service(
        subscribe=SubscribeConfig(heartbeat_s=0.2, max_subscriptions=2)
    ) as service:
        await service.publish(policy("p", _ALLOW))
        calls = [
            service.subscribe.Subscribe(
                subscribe_service_pb2.SubscribeRequest(tenant=TENANT), timeout=TIMEOUT_S
            )
            for _ in range(2)
        ]
        for call in calls:
            await call.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _first(service)
        for call in calls:
            call.cancel()
        await _until(lambda: len(service.node.hub) == 0)
        await _first(service)

    assert info(caught.value).reason == "TOO_MANY_SUBSCRIBERS"


async def test_a_relay_gets_every_tenant() -> None:
    async with running_service() as service:
        await service.publish(policy("a", _ALLOW), tenant="one")
        follower = Follower()
        following = asyncio.create_task(_follow(service, follower, until=3, tenant=""))
        await service.publish(policy("b", _ALLOW), tenant="two")
        await service.publish(policy("c", _ALLOW), tenant="one")
        await asyncio.wait_for(following, TIMEOUT_S)

    assert {("one", "a"), ("two", "b"), ("one", "c")} == {
        (key[0], key[2]) for key in follower.items
    }


async def _first(service: Service, **fields: Any) -> subscribe_service_pb2.SubscribeResponse:
    call = service.subscribe.Subscribe(
        subscribe_service_pb2.SubscribeRequest(tenant=TENANT, **fields), timeout=TIMEOUT_S
    )
    try:
        response = await call.read()
        assert isinstance(response, subscribe_service_pb2.SubscribeResponse), await call.code()
        return response
    finally:
        call.cancel()
