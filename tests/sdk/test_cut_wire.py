"""Followers of a real server whose wire is cut at random, while policies change all the time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

import placet
from bench.wires import Wire, wire_to
from placet import Delta, Snapshot
from placet._backoff import Backoff
from placet._channel import Destination, Dialing
from placet._mirror import ITEMS
from placet._opening import following, subscribe_request
from placet._subscription import FollowOptions, Subscription
from placet.local.aio import LocalEvaluator
from placet_engine.changes import ChangeSet
from placet_engine.items import ItemKey, ItemKind, Policy, checksum
from placet_server.app import Node
from placet_server.config import SubscribeConfig
from placet_server.testing import running_server

TENANT = "acme"
_PUBLISHES = 1000
_SOON_S = 30.0
_OPTIONS = {"grpc.initial_reconnect_backoff_ms": 100, "grpc.min_reconnect_backoff_ms": 100}


@pytest.fixture(name="node", params=[10, 10_000], ids=["few kept", "all kept"])
async def node_fixture(request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    """Run a server that keeps so few commits that cursors grow too old, or all of them."""
    config = SubscribeConfig(heartbeat_s=0.05, max_window_commits=request.param)
    async with running_server(subscribe=config) as node:
        await node.publisher.publish(TENANT, _change(0), timeout_s=_SOON_S)
        yield node


def _change(number: int) -> ChangeSet:
    """Write one policy of ten; at times remove another one."""
    policy = Policy(
        id=f"p{number % 10}", cedar=f"permit(principal, action, resource) when {{ {number} > 0 }};"
    )
    deletes = (ItemKey(ItemKind.POLICY, f"p{(number - 5) % 10}"),) if number % 10 == 7 else ()
    return ChangeSet(upserts=(policy,), deletes=deletes)


async def _publish_and_cut(node: Node, wire: Wire, rng: random.Random) -> int:
    """Publish many changes; cut ten times, and half of those times wait for the follower."""
    revision, cuts = 0, set(rng.sample(range(1, _PUBLISHES), 10))
    await wire.wait_connected(timeout_s=_SOON_S)
    for number in range(1, _PUBLISHES + 1):
        result = await node.publisher.publish(TENANT, _change(number), timeout_s=_SOON_S)
        revision = int(result.revision)
        if number in cuts:
            wire.drop()
            if rng.random() < 0.5:
                await wire.wait_connected(timeout_s=_SOON_S)
    return revision


async def test_a_follower_ends_with_what_the_store_has(node: Node) -> None:
    async with wire_to(node.address) as wire, _following(wire.address) as subscription:
        follower = asyncio.create_task(_replay(subscription, lambda: _PUBLISHES + 1))
        last = await _publish_and_cut(node, wire, random.Random(1))
        assert last == _PUBLISHES + 1
        replayed = await asyncio.wait_for(follower, _SOON_S)

        stored = node.active.items(TENANT).items
        assert {key.id: item.digest for key, item in stored.items()} == replayed
        truth = checksum([*stored.values(), *node.active.platform.items.values()]).to_bytes(32)
        assert truth == subscription._follower._mirror.snapshot().checksum
    assert wire.connections > 4


def _following(address: str) -> AbstractAsyncContextManager[Subscription[placet.Item]]:
    options = FollowOptions(
        stale_after_s=_SOON_S,
        max_waiting_deltas=4,
        backoff=Backoff(first_s=0.001, most_s=0.05),
    )
    destination = Destination(address, Dialing(options=tuple(_OPTIONS.items())))
    return following(destination, subscribe_request(TENANT), ITEMS, options)


async def _replay(
    subscription: Subscription[placet.Item], until: Callable[[], int]
) -> dict[str, bytes]:
    """Keep a set by the events alone, as a user would, and check that they chain."""
    held: dict[str, bytes] = {}
    revision = None
    async for event in subscription:
        match event:
            case Snapshot():
                assert revision is None or event.revision >= revision
                held = {item.key.id: item.digest for item in event.items}
                revision = event.revision
            case Delta():
                assert event.from_revision == revision, "nothing is missed and nothing repeated"
                revision = event.to_revision
                for _, key in event.removals:
                    assert isinstance(key, placet.ItemKey)
                    del held[key.id]
                held |= {item.key.id: item.digest for item in event.upserts}
        if revision == until():
            return held
    raise AssertionError("the subscription ended")


async def test_a_local_evaluator_ends_with_the_servers_decision(node: Node) -> None:
    question = (("User", "alice"), "view", ("Document", "one"))
    rng = random.Random(3)

    async with (
        wire_to(node.address) as wire,
        placet.aio.Client(node.address, tenant=TENANT, timeout_s=_SOON_S) as client,
        LocalEvaluator(
            wire.address, tenant=TENANT, timeout_s=_SOON_S, options=tuple(_OPTIONS.items())
        ) as evaluator,
    ):
        last = await _publish_and_cut(node, wire, rng)
        local = await evaluator.evaluate(*question, min_revision=last)
        remote = await client.evaluate(*question, min_revision=last)

    assert remote.revision == local.revision == last
    assert (remote.outcome, remote.reasons) == (local.outcome, local.reasons)
