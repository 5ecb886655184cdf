"""Nodes and routes by both clients, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, closing
from typing import Any, TypeVar

import pytest

import placet
from bench.wires import wire_to
from placet import (
    ChangeSet,
    Conflict,
    Country,
    InRegion,
    InvalidRequest,
    NodeHealth,
    NodeRole,
    NotFound,
    Placement,
    Policy,
    ResidencyRule,
    TopologyKind,
    TopologyState,
)
from placet._overseeing import _Gathering
from placet.v1 import topology_pb2
from placet.v1 import topology_service_pb2 as pb
from placet_server.app import Node
from placet_server.testing import running_server
from tests.sdk.test_client import Asking

TENANT = "acme"
SOON_S = 20.0
_T = TypeVar("_T")


@pytest.fixture(name="node")
async def node_fixture() -> AsyncIterator[Node]:
    async with running_server(node="eu1", region="eu-west") as node:
        yield node


@pytest.fixture(name="ask", params=["threads", "tasks"])
async def ask_fixture(node: Node, request: pytest.FixtureRequest) -> AsyncIterator[Asking]:
    """A client, once the server lists itself."""
    async with placet.aio.Client(node.address) as first:
        await until(first, lambda state: "eu1" in state.nodes and state.nodes["eu1"].takes_calls)
    options: dict[str, Any] = {"tenant": TENANT, "timeout_s": 10}
    if request.param == "threads":
        with placet.Client(node.address, **options) as client:
            yield Asking(client)
    else:
        async with placet.aio.Client(node.address, **options) as aio_client:
            yield Asking(aio_client)


async def until(client: placet.aio.Client, holds: Callable[[TopologyState], bool]) -> TopologyState:
    """Watch until something holds."""
    async with asyncio.timeout(SOON_S), aclosing(client.watch_topology()) as states:
        async for state in states:
            if holds(state):
                return state
    raise AssertionError("the stream ended")


async def test_nodes_are_read_with_all_that_is_known(ask: Asking) -> None:
    (node,) = await ask("nodes")
    assert [node.id] == [found.id for found in await ask("nodes", regions=["eu-west", "us-east"])]
    assert [] == await ask("nodes", regions=["us-east"])

    assert ("eu1", "eu-west", NodeRole.CONTROL) == (node.id, node.region, node.role)
    assert (NodeHealth.SERVING, "", True) == (node.health, node.health_reason, node.takes_calls)
    assert (100, False, "0") == (node.weight, node.draining, node.etag)
    assert node.address.startswith("127.0.0.1:")
    assert node.lease_expire_time > node.renew_time >= node.register_time


async def test_a_node_is_drained_weighed_and_brought_back(ask: Asking) -> None:
    (node,) = await ask("nodes")
    drained = await ask("update_node", node, draining=True)
    assert (True, False) == (drained.draining, drained.takes_calls)
    with pytest.raises(Conflict):
        await ask("update_node", node, weight=7)
    weighed = await ask("update_node", "eu1", weight=7)
    back = await ask("update_node", weighed, draining=False)
    assert (7, False) == (back.weight, back.draining)


@pytest.mark.parametrize(
    ("settings", "error"),
    [({}, InvalidRequest), ({"weight": 0}, InvalidRequest), ({"weight": 1001}, InvalidRequest)],
)
async def test_an_update_of_nothing_is_refused(
    ask: Asking, settings: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match="weight"):
        await ask("update_node", "eu1", **settings)
    with pytest.raises(NotFound):
        await ask("update_node", "nobody", weight=5)


def _taken(number: int, watching: Any) -> list[Any]:
    """Take so many of what is watched by threads."""
    with closing(watching) as states:
        return [state for _, state in zip(range(number), states, strict=False)]


async def _taken_aio(number: int, watching: Any) -> list[Any]:
    found = []
    async with aclosing(watching) as states:
        async for state in states:
            found.append(state)
            if len(found) == number:
                break
    return found


async def test_both_clients_watch_the_topology(node: Node) -> None:
    async with placet.aio.Client(node.address) as client:
        await until(client, lambda state: "eu1" in state.nodes)
        await client.put_tenant(Placement(tenant=TENANT, residency=ResidencyRule.EU_ONLY))
        (state,) = await _taken_aio(1, client.watch_topology())
        (kind,) = await _taken_aio(1, client.watch_topology(kinds=[TopologyKind.TENANT]))
    with placet.Client(node.address) as threads:
        (same,) = await asyncio.to_thread(_taken, 1, threads.watch_topology())

    for found in (state, same):
        assert (6, {"eu1"}, {TENANT}) == (
            len(found.regions),
            found.nodes.keys(),
            found.placements.keys(),
        )
    assert ({}, {}, {TENANT}) == (kind.regions, kind.nodes, kind.placements.keys())
    assert ResidencyRule.EU_ONLY is kind.placements[TENANT].residency
    assert state.server_time.tzinfo is not None


async def test_both_clients_watch_a_route(node: Node) -> None:
    async with placet.aio.Client(node.address, tenant=TENANT) as client:
        await until(client, lambda state: "eu1" in state.nodes)
        await client.publish(
            ChangeSet(policies=[Policy(id="p", cedar="permit(principal,action,resource);")])
        )
        async with asyncio.timeout(SOON_S), aclosing(client.watch_route(Country("IE"))) as routes:
            first = await anext(routes)
            await client.update_node("eu1", draining=True)
            second = await anext(routes)
            while second.regions[0].endpoints:
                second = await anext(routes)
        with pytest.raises(NotFound):
            await _taken_aio(1, client.watch_route(tenant="nobody"))
        with pytest.raises(InvalidRequest):
            await _taken_aio(1, client.watch_route(patience_s=0))
        await client.update_node("eu1", draining=False)
    with placet.Client(node.address, tenant=TENANT) as threads:
        (same,) = await asyncio.to_thread(_taken, 1, threads.watch_route(InRegion("us-east")))

    assert "eu-west" == first.regions[0].region
    assert ["eu1"] == [endpoint.node for endpoint in first.regions[0].endpoints]
    assert "us-east" == same.regions[0].region


async def test_a_watcher_comes_through_a_cut_connection_with_what_is_there_then(
    node: Node,
) -> None:
    async with (
        wire_to(node.address) as wire,
        placet.aio.Client(wire.address) as watcher,
        placet.aio.Client(node.address) as client,
        asyncio.timeout(SOON_S),
        aclosing(watcher.watch_topology(kinds=[TopologyKind.TENANT])) as states,
    ):
        assert {} == (await anext(states)).placements
        wire.drop()
        await client.put_tenant(Placement(tenant=TENANT, residency=ResidencyRule.EU_ONLY))
        state = await anext(states)
        while TENANT not in state.placements:
            state = await anext(states)
        assert 2 <= wire.connections


def test_a_new_stream_begins_with_nothing() -> None:
    """What went while nobody watched is not told: it is just not there any more."""
    gathering = _Gathering()
    both = [pb.TopologyChange(node=topology_pb2.Node(id=id_)) for id_ in ("a", "b")]
    part = pb.WatchTopologyResponse(changes=both[:1])
    assert gathering.take(part, is_first=True) is None
    whole = gathering.take(
        pb.WatchTopologyResponse(changes=both[1:], snapshot_end=True), is_first=False
    )
    again = gathering.take(
        pb.WatchTopologyResponse(changes=both[:1], snapshot_end=True), is_first=True
    )
    assert whole is not None
    assert again is not None
    assert (["a", "b"], ["a"]) == (list(whole.nodes), list(again.nodes))


async def test_nobody_there_is_told_in_time() -> None:
    async with placet.aio.Client("127.0.0.1:1") as client:
        with pytest.raises(placet.Unavailable):
            await _taken_aio(1, client.watch_topology(patience_s=0.3))
