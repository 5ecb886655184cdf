"""Following over a real connection to a server that does whatever the test says."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest

import placet
from placet import Delta, Snapshot, State, StateChange
from placet._backoff import Backoff
from placet._mirror import ITEMS
from placet._opening import opener, subscribe_request
from placet._subscription import FollowOptions, Subscription
from placet.v1 import subscribe_service_pb2 as pb
from tests.sdk.scripted import (
    Context,
    Script,
    ScriptedServer,
    end,
    fail,
    info,
    say,
    scripted_server,
)
from tests.sdk.source import TENANT, Source, go_away, policy, reset

_CODE = grpc.StatusCode
_SOON_S = 10.0
_IN_NO_TIME = Backoff(first_s=0.001, most_s=0.001)


class Following:
    """A subscription to a scripted server, with what was seen of it."""

    def __init__(self, server: ScriptedServer, **options: Any) -> None:
        self.changes: list[StateChange] = []
        self.slept_s: list[float] = []
        self.now_s = 1000.0
        self._server = server
        self._options = FollowOptions(
            **{"backoff": _IN_NO_TIME, "on_state_change": self.changes.append, **options}
        )

    async def __aenter__(self) -> Subscription[placet.Item]:
        self._channel = grpc.aio.insecure_channel(
            self._server.address, [("grpc.initial_reconnect_backoff_ms", 100)]
        )
        self.subscription = Subscription(
            opener(self._channel, subscribe_request(TENANT)),
            ITEMS,
            self._options,
            clock=lambda: self.now_s,
            sleep=self._sleep,
            rng=random.Random(0),
        )
        return await self.subscription.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        await self.subscription.aclose()
        await self._channel.close()

    async def _sleep(self, delay_s: float) -> None:
        """Note the delay, and do not wait for it."""
        self.slept_s.append(delay_s)
        await asyncio.sleep(min(delay_s, 0.01))

    @property
    def states(self) -> list[State]:
        return [change.after for change in self.changes]


async def _next(subscription: Subscription[placet.Item]) -> Any:
    return await subscription.next_event(timeout_s=_SOON_S)


def _ids(subscription: Subscription[placet.Item]) -> set[str]:
    return {item.key.id for item in subscription._follower._mirror.items.values()}


async def test_a_snapshot_comes_and_then_what_changes() -> None:
    source = Source(policy("a"), policy("b"))
    snapshot, delta = source.snapshot(), source.commit(policy("c"))

    async with scripted_server(say(*snapshot, delta)) as server, Following(server) as subscription:
        first, second = await _next(subscription), await _next(subscription)

        assert isinstance(first, Snapshot)
        assert {"a", "b"} == {item.body.id for item in first.items}
        assert isinstance(second, Delta)
        assert ["c"] == [item.body.id for item in second.upserts]
        assert (2, State.READY) == (subscription.revision, subscription.state)
        assert source.checksum == second.checksum

    assert [TENANT] == [request.tenant for request in server.streams]


async def test_an_async_for_ends_when_the_subscription_is_closed() -> None:
    source = Source(policy("a"))

    async with scripted_server(say(*source.snapshot())) as server:
        events = []
        async with Following(server) as subscription:
            async for event in subscription:
                events.append(event)
                await subscription.aclose()

    assert 1 == len(events)


@pytest.mark.parametrize(
    "then",
    [
        end,
        fail(_CODE.UNAVAILABLE),
        fail(_CODE.INTERNAL),
        fail(_CODE.RESOURCE_EXHAUSTED),
        fail(_CODE.FAILED_PRECONDITION, "old", info("NODE_STALE")),
    ],
    ids=["end", "unavailable", "internal", "exhausted", "stale"],
)
async def test_a_stream_that_broke_goes_on_where_it_was(
    then: Callable[[Context], Awaitable[None]],
) -> None:
    source = Source(policy("a"))
    snapshot, cursor = source.snapshot(), source.cursor
    missed = source.commit(policy("b"))

    async with (
        scripted_server(say(*snapshot, then=then), say(missed)) as server,
        Following(server) as subscription,
    ):
        first, second = await _next(subscription), await _next(subscription)

    assert isinstance(first, Snapshot)
    assert isinstance(second, Delta)
    assert [b"", cursor] == [request.cursor for request in server.streams]


async def test_a_stale_node_may_be_better_the_next_time() -> None:
    source = Source(policy("a"))
    stale = fail(_CODE.FAILED_PRECONDITION, "old", info("NODE_STALE"))

    async with (
        scripted_server(say(then=stale), say(*source.snapshot())) as server,
        Following(server) as subscription,
    ):
        assert isinstance(await _next(subscription), Snapshot)


async def test_ready_stale_and_ready_again() -> None:
    source = Source(policy("a"))
    back = asyncio.Event()

    async def come_back(request: pb.SubscribeRequest, context: Context) -> AsyncIterator[Any]:
        await back.wait()
        yield source.heartbeat()
        await asyncio.Event().wait()

    async with scripted_server(say(*source.snapshot(), then=end), come_back) as server:
        following = Following(server)
        async with following as subscription:
            await subscription.wait_for([State.STALE], timeout_s=_SOON_S)
            following.now_s += 40.0
            held_s = subscription.staleness()
            assert held_s is not None
            assert 40.0 == held_s.total_seconds()
            assert isinstance(subscription.last_error, placet.Unavailable)

            back.set()
            await subscription.wait_ready(timeout_s=_SOON_S)
            fresh_s = subscription.staleness()
            assert fresh_s is not None
            assert 0.0 == fresh_s.total_seconds()

    assert [State.READY, State.STALE, State.READY] == following.states[:3]


async def test_what_was_missed_makes_nobody_ready_before_all_of_it_is_there() -> None:
    source = Source(policy("a"))
    snapshot = source.snapshot()
    missed = [source.commit(policy("b")), source.commit(policy("c"))]

    async with (
        scripted_server(say(*snapshot, then=end), say(*missed)) as server,
        Following(server) as subscription,
    ):
        for _ in range(3):
            await _next(subscription)

        assert (3, State.STALE) == (subscription.revision, subscription.state)


async def test_a_change_is_a_sign_of_life_once_the_stream_has_caught_up() -> None:
    source = Source(policy("a"))
    snapshot = source.snapshot()
    go_on = asyncio.Event()

    async def changing(request: pb.SubscribeRequest, context: Context) -> AsyncIterator[Any]:
        for message in snapshot:
            yield message
        await go_on.wait()
        yield source.commit(policy("b"))
        await asyncio.Event().wait()

    async with scripted_server(changing) as server:
        following = Following(server)
        async with following as subscription:
            await _next(subscription)
            following.now_s += 4.0
            go_on.set()
            await _next(subscription)

            age = subscription.staleness()
            assert age is not None
            assert 0.0 == age.total_seconds()


async def test_a_node_that_is_behind_itself_is_seen() -> None:
    source = Source(policy("a"))
    behind = source.heartbeat(staleness_s=60.0)

    async with (
        scripted_server(say(*source.snapshot(), behind)) as server,
        Following(server) as subscription,
    ):
        await subscription.wait_for([State.STALE], timeout_s=_SOON_S)

        age = subscription.staleness()
        assert age is not None
        assert 60.0 == age.total_seconds()


async def test_a_heartbeat_before_the_new_snapshot_makes_nobody_ready() -> None:
    """It says that the node is well, and nothing of what is held from before."""
    source = Source(policy("a"))
    old = source.snapshot()
    source.commit(policy("b"))

    async def heartbeat_first(request: pb.SubscribeRequest, context: Context) -> AsyncIterator[Any]:
        for message in (source.heartbeat(), *source.snapshot()):
            yield message
        await asyncio.Event().wait()

    start_over = reset(pb.ResetRequired.REASON_COMPACTED)
    async with scripted_server(say(*old, start_over), heartbeat_first) as server:
        following = Following(server)
        async with following as subscription:
            await subscription.wait_until(lambda: subscription.revision == 2, timeout_s=_SOON_S)

    ready_at = [change.revision for change in following.changes if change.after is State.READY]
    assert [1, 2] == ready_at


async def test_silence_is_noticed_and_the_connection_made_anew() -> None:
    source = Source(policy("a"))

    async with scripted_server(say(*source.snapshot()), say(source.heartbeat())) as server:
        following = Following(server, stale_after_s=0.2)
        async with following as subscription:
            await subscription.wait_for([State.STALE], timeout_s=_SOON_S)
            assert "silent for 0.2 s" in str(subscription.last_error)
            await subscription.wait_ready(timeout_s=_SOON_S)

    assert [b"", source.cursor] == [request.cursor for request in server.streams[:2]]


async def test_a_server_that_was_killed_is_found_again_at_its_place() -> None:
    source = Source(policy("a"))

    async with scripted_server(say(*source.snapshot()), say(source.heartbeat())) as server:
        async with Following(server) as subscription:
            await subscription.wait_ready(timeout_s=_SOON_S)
            await server.kill()
            await subscription.wait_for([State.STALE], timeout_s=_SOON_S)

            await server.start()
            await subscription.wait_ready(timeout_s=_SOON_S)

        assert source.cursor == server.streams[-1].cursor


async def test_go_away_is_obeyed_and_waited_for() -> None:
    source = Source(policy("a"))
    leaving = say(*source.snapshot(), go_away(7.5))

    async with scripted_server(leaving, say(source.heartbeat())) as server:
        following = Following(server)
        async with following as subscription:
            await subscription.wait_for([State.STALE], timeout_s=_SOON_S)
            await subscription.wait_ready(timeout_s=_SOON_S)

    assert 7.5 <= following.slept_s[0] < 7.6
    assert source.cursor == server.streams[1].cursor


@pytest.mark.parametrize("reason", [0, 1, 2, 3, 99])
async def test_a_reset_brings_a_new_snapshot(reason: int) -> None:
    source = Source(policy("a"))
    old = source.snapshot()
    source.commit(policy("b"))
    start_over = reset(pb.ResetRequired.Reason.ValueType(reason))

    async with (
        scripted_server(say(*old, then=end), say(start_over), say(*source.snapshot())) as server,
        Following(server) as subscription,
    ):
        first, second = await _next(subscription), await _next(subscription)

    assert (1, 2) == (len(first.items), len(second.items))
    assert [b"", b"1", b""] == [request.cursor for request in server.streams]


@pytest.mark.parametrize(
    "refusal",
    [
        fail(_CODE.OUT_OF_RANGE, "gone", info("CURSOR_COMPACTED")),
        fail(_CODE.INVALID_ARGUMENT, "of another filter", info("CURSOR_REFUSED")),
    ],
    ids=["compacted", "refused"],
)
async def test_a_cursor_that_is_refused_is_given_up(
    refusal: Callable[[Context], Awaitable[None]],
) -> None:
    source = Source(policy("a"))

    async with (
        scripted_server(
            say(*source.snapshot(), then=end), say(then=refusal), say(*source.snapshot())
        ) as server,
        Following(server) as subscription,
    ):
        assert isinstance(await _next(subscription), Snapshot)
        assert isinstance(await _next(subscription), Snapshot)
        assert State.READY is subscription.state

    assert [b"", b"1", b""] == [request.cursor for request in server.streams]


async def test_a_gap_brings_a_new_snapshot_and_never_a_wrong_set() -> None:
    source = Source(policy("a"))
    snapshot = source.snapshot()
    source.commit(policy("lost"))
    after_the_gap = source.commit(policy("c"))

    async with (
        scripted_server(say(*snapshot, after_the_gap), say(*source.snapshot())) as server,
        Following(server) as subscription,
    ):
        first, second = await _next(subscription), await _next(subscription)

    assert isinstance(first, Snapshot)
    assert isinstance(second, Snapshot)
    assert {"a", "lost", "c"} == {item.body.id for item in second.items}
    assert [b"", b""] == [request.cursor for request in server.streams]


async def test_a_snapshot_that_is_wrong_is_an_error_and_asked_for_again() -> None:
    source = Source(policy("a"))
    wrong = source.snapshot()
    wrong[-1].snapshot_end.checksum = b"\0" * 32

    async with scripted_server(say(*wrong), say(*source.snapshot())) as server:
        following = Following(server)
        async with following as subscription:
            assert isinstance(await _next(subscription), Snapshot)

    assert [State.ERROR, State.READY] == following.states[:2]
    assert isinstance(following.changes[0].error, placet.Internal)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (_CODE.INVALID_ARGUMENT, placet.InvalidRequest),
        (_CODE.NOT_FOUND, placet.NotFound),
        (_CODE.PERMISSION_DENIED, placet.PermissionDenied),
        (_CODE.UNAUTHENTICATED, placet.Unauthenticated),
        (_CODE.FAILED_PRECONDITION, placet.FailedPrecondition),
        (_CODE.UNIMPLEMENTED, placet.Unsupported),
    ],
    ids=lambda value: getattr(value, "name", None),
)
async def test_an_error_that_trying_again_will_not_mend_ends_it_at_once(
    code: grpc.StatusCode, expected: type[placet.PlacetError]
) -> None:
    async with (
        scripted_server(say(then=fail(code, "no"))) as server,
        Following(server) as subscription,
    ):
        with pytest.raises(expected):
            await subscription.wait_ready(timeout_s=_SOON_S)
        with pytest.raises(expected):
            await _next(subscription)
        with pytest.raises(expected):
            await subscription.wait_ready(timeout_s=_SOON_S)

        assert State.ERROR is subscription.state
        assert isinstance(subscription.last_error, expected)

    assert 1 == len(server.streams)


async def test_such_an_error_later_keeps_what_is_held_and_the_tries_go_on() -> None:
    source = Source(policy("a"))

    async with scripted_server(
        say(*source.snapshot(), then=end),
        say(then=fail(_CODE.UNAUTHENTICATED, "expired")),
        say(source.heartbeat()),
    ) as server:
        following = Following(server)
        async with following as subscription:
            await subscription.wait_for([State.ERROR], timeout_s=_SOON_S)
            assert {"a"} == _ids(subscription)
            await subscription.wait_ready(timeout_s=_SOON_S)

    assert [State.READY, State.STALE, State.ERROR, State.READY] == following.states[:4]


async def test_delays_grow_while_nothing_comes_and_start_again_when_something_did() -> None:
    source = Source(policy("a"))
    backoff = Backoff(first_s=0.001, most_s=1.0)
    away: list[Script] = [say(then=fail(_CODE.UNAVAILABLE)) for _ in range(4)]

    async with scripted_server(
        *away, say(*source.snapshot(), then=end), say(source.heartbeat())
    ) as server:
        following = Following(server, backoff=backoff)
        async with following as subscription:
            await subscription.wait_ready(timeout_s=_SOON_S)
            await subscription.wait_for([State.STALE], timeout_s=_SOON_S)
            await subscription.wait_ready(timeout_s=_SOON_S)

    rng = random.Random(0)
    assert [backoff.delay_s(failures, rng) for failures in (1, 2, 3, 4, 1)] == following.slept_s[:5]


async def test_a_slow_reader_gets_one_snapshot_for_many_changes() -> None:
    source = Source(policy("a"))
    messages = source.snapshot()
    messages += [source.commit(policy(f"p{number}")) for number in range(100)]
    done = asyncio.Event()

    async def all_at_once(request: pb.SubscribeRequest, context: Context) -> AsyncIterator[Any]:
        for message in messages:
            yield message
        await done.wait()
        yield source.commit(policy("last"))
        await asyncio.Event().wait()

    async with (
        scripted_server(all_at_once) as server,
        Following(server, max_waiting_deltas=8) as subscription,
    ):
        await subscription.wait_until(lambda: subscription.revision == 101, timeout_s=_SOON_S)

        snapshot = await _next(subscription)
        done.set()
        delta = await _next(subscription)

    assert isinstance(snapshot, Snapshot)
    assert (101, 101) == (snapshot.revision, len(snapshot.items))
    assert isinstance(delta, Delta)
    assert (101, 102) == (delta.from_revision, delta.to_revision)


async def test_waiting_for_a_state_that_does_not_come_says_why() -> None:
    async with (
        scripted_server(say(then=fail(_CODE.UNAVAILABLE, "not today"))) as server,
        Following(server) as subscription,
    ):
        with pytest.raises(placet.DeadlineExceeded, match="connecting after"):
            await subscription.wait_ready(timeout_s=0.2)


async def test_a_callback_that_fails_does_not_stop_the_following() -> None:
    source = Source(policy("a"))

    def fails(change: StateChange) -> None:
        raise RuntimeError(change)

    async with (
        scripted_server(say(*source.snapshot())) as server,
        Following(server, on_state_change=fails) as subscription,
    ):
        assert isinstance(await _next(subscription), Snapshot)


async def test_a_subscription_that_is_not_open_says_so() -> None:
    async with scripted_server() as server:
        following = Following(server)
        async with following as subscription:
            pass
        with pytest.raises(placet.Unavailable, match="is closed"):
            await subscription.wait_ready(timeout_s=1)
        assert await subscription.next_event() is None


async def test_a_closed_client_ends_its_subscriptions() -> None:
    source = Source(policy("a"))

    async with scripted_server(say(*source.snapshot())) as server:
        client = placet.aio.Client(server.address, tenant=TENANT)
        async with client.subscribe() as subscription:
            assert isinstance(await subscription.next_event(timeout_s=_SOON_S), Snapshot)
            await client.aclose()

            assert await subscription.next_event(timeout_s=_SOON_S) is None
            assert State.READY is not subscription.state


async def test_what_is_followed_can_be_narrowed() -> None:
    async with (
        scripted_server() as server,
        placet.aio.Client(server.address, tenant=TENANT) as client,
    ):
        narrowed = client.subscribe(
            policy_ids=["orders/*"],
            kinds=[placet.ItemKind.POLICY],
            subscriber="me",
            region="eu-west",
        )
        async with narrowed as subscription:
            with pytest.raises(placet.DeadlineExceeded):
                await subscription.wait_ready(timeout_s=0.2)

    (request,) = server.streams
    assert (["orders/*"], [1]) == (list(request.filter.policy_ids), list(request.filter.kinds))
    assert ("me", "eu-west") == (request.subscriber, request.region)


# ---------------------------------------------------------------------------- for threads


async def test_threads_follow_as_event_loops_do() -> None:
    source = Source(policy("a"))
    snapshot, go_on = source.snapshot(), threading.Event()
    changes: list[StateChange] = []

    async def two_steps(request: pb.SubscribeRequest, context: Context) -> AsyncIterator[Any]:
        for message in snapshot:
            yield message
        await asyncio.to_thread(go_on.wait, _SOON_S)
        yield source.commit(policy("b"))
        await asyncio.Event().wait()

    def follow(address: str) -> list[Any]:
        client = placet.Client(address, tenant=TENANT)
        with client, client.subscribe(on_state_change=changes.append) as subscription:
            subscription.wait_ready(timeout_s=_SOON_S)
            events = [subscription.next_event(timeout_s=_SOON_S)]
            with pytest.raises(TimeoutError):
                subscription.next_event(timeout_s=0.05)
            go_on.set()
            events.append(subscription.next_event(timeout_s=_SOON_S))
            assert (2, State.READY) == (subscription.revision, subscription.state)
            assert subscription.staleness() is not None
            assert subscription.last_error is None
        return events

    async with scripted_server(two_steps) as server:
        first, second = await asyncio.to_thread(follow, server.address)

    assert isinstance(first, Snapshot)
    assert isinstance(second, Delta)
    assert State.READY is changes[0].after


async def test_a_thread_that_waits_is_freed_when_another_closes() -> None:
    source = Source(policy("a"))

    def follow(address: str) -> list[Any]:
        with placet.Client(address, tenant=TENANT) as client, client.subscribe() as subscription:
            events = []
            for event in subscription:
                events.append(event)
                threading.Timer(0.05, subscription.close).start()
            return events

    async with scripted_server(say(*source.snapshot())) as server:
        events = await asyncio.wait_for(asyncio.to_thread(follow, server.address), _SOON_S)

    assert 1 == len(events)


async def test_threads_see_what_ended_it() -> None:
    def follow(address: str) -> None:
        with placet.Client(address, tenant=TENANT) as client, client.subscribe() as subscription:
            with pytest.raises(placet.NotFound):
                subscription.wait_ready(timeout_s=_SOON_S)
            with pytest.raises(placet.NotFound):
                next(subscription)

    async with scripted_server(say(then=fail(_CODE.NOT_FOUND, "no tenant"))) as server:
        await asyncio.to_thread(follow, server.address)


def test_it_has_to_be_opened_first() -> None:
    with placet.Client("127.0.0.1:1", tenant=TENANT) as client:
        subscription = client.subscribe()

        assert (State.CONNECTING, None) == (subscription.state, subscription.staleness())
        with pytest.raises(placet.Unavailable, match="`with`"):
            next(subscription)
