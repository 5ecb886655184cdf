"""Nodes under stock xDS clients: killed, hung, drained; and their control planes, too.

The clients are gRPC's own for Python, and Envoy, which balance by what the control plane sends.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import placet
from tests.envoy_client import envoy_client, until_all_answer
from tests.faults.test_failover import Served, fleet
from tests.stock_client import StockClient, bootstrap, stock_client
from tests.waiting import until_it

# Far above what it takes on a machine that has nothing else to do: see DECISIONS, 49.
_SOON_S = 5.0
_BOTH = 2


@asynccontextmanager
async def under_load(
    nodes: list[Served], *, deadline_s: float = 2.0, servers: slice = slice(0, 1)
) -> AsyncIterator[StockClient]:
    """Have a client call on and on, told where to by these nodes, once all are in use."""
    given = bootstrap(*(node.address for node in nodes[servers]))
    async with stock_client(given) as client:

        async def all_answer() -> bool:
            return len(await client.nodes(times=3 * len(nodes))) == len(nodes)

        await until_it(all_answer, timeout_s=6 * _SOON_S)
        await client.begin(deadline_s=deadline_s)
        yield client


async def listed(nodes: list[Served]) -> set[str]:
    """Return the nodes that calls are sent to, by the first one."""
    async with placet.aio.Client(nodes[0].address) as client:
        return {node.id for node in await client.nodes() if node.takes_calls}


async def until_listed(nodes: list[Served], *names: str) -> None:
    async def are_they() -> bool:
        return await listed(nodes) == set(names)

    await until_it(are_they, timeout_s=6 * _SOON_S)


async def test_a_node_that_is_killed_costs_no_call(tmp_path: Path) -> None:
    async with fleet(tmp_path) as nodes, under_load(nodes) as client:
        await nodes[2].signal(signal.SIGKILL)
        await until_listed(nodes, "node-0", "node-1")
        after = await client.nodes(times=20)
        load = await client.end()
    assert [] == load["errors"]
    assert {"node-0", "node-1"} == after.keys()
    assert load["longest_gap_s"] < _SOON_S


async def test_a_node_that_hangs_gets_no_more_calls_once_its_lease_lapses(tmp_path: Path) -> None:
    async with fleet(tmp_path) as nodes, under_load(nodes, deadline_s=0.5) as client:
        await nodes[2].signal(signal.SIGSTOP)
        await until_listed(nodes, "node-0", "node-1")
        after = await client.nodes(times=20)
        await nodes[2].signal(signal.SIGCONT)
        await until_listed(nodes, "node-0", "node-1", "node-2")
        load = await client.end()
    # What was under way there is nobody's to save but the caller's deadline.
    assert {"DEADLINE_EXCEEDED"} >= {error["code"] for error in load["errors"]}
    assert {"node-0", "node-1"} == after.keys()
    assert load["longest_gap_s"] < _SOON_S


async def test_a_node_that_is_drained_or_stopped_costs_no_call(tmp_path: Path) -> None:
    async with fleet(tmp_path) as nodes, under_load(nodes) as client:
        async with placet.aio.Client(nodes[0].address) as operator:
            await operator.update_node("node-1", draining=True)
        await nodes[2].signal(signal.SIGTERM)
        await until_listed(nodes, "node-0")
        after = await client.nodes(times=20)
        load = await client.end()
    assert [] == load["errors"]
    assert {"node-0"} == after.keys()


async def test_clients_go_on_when_their_control_plane_is_killed(tmp_path: Path) -> None:
    async with fleet(tmp_path) as nodes, under_load(nodes) as client:
        await nodes[0].signal(signal.SIGKILL)
        after = await client.nodes(times=50)
        load = await client.end()
    assert [] == load["errors"]
    assert {"node-1", "node-2"} == after.keys()


@pytest.mark.parametrize("is_new", [True, False])
async def test_the_second_control_plane_serves_when_the_first_is_gone(
    is_new: bool, tmp_path: Path
) -> None:
    async with fleet(tmp_path) as nodes:
        given = bootstrap(*(node.address for node in nodes[:2]))
        async with stock_client(given) as client:
            if not is_new:
                await client.nodes()
            await nodes[0].signal(signal.SIGKILL)
            found: Counter[str] = await client.nodes("xds:///ANY.residency.placet")
            assert {"node-1", "node-2"} >= found.keys()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
async def test_a_node_that_is_lost_costs_no_call_through_envoy(
    how: signal.Signals, tmp_path: Path
) -> None:
    async with (
        fleet(tmp_path) as nodes,
        envoy_client(tmp_path, [node.address for node in nodes], "-t", "acme") as envoy,
        stock_client() as client,
    ):
        await until_all_answer(client, envoy, *(node.name for node in nodes))
        await client.begin(envoy)
        await nodes[2].signal(how)
        await until_listed(nodes, "node-0", "node-1")
        await until_all_answer(client, envoy, "node-0", "node-1")
        load = await client.end()
    assert [] == load["errors"]
    assert load["longest_gap_s"] < _SOON_S


async def test_one_name_for_all_control_planes_leads_to_one_that_is_there(tmp_path: Path) -> None:
    """What bootstraps are to say, with numbers in the place of a name with several addresses."""
    async with fleet(tmp_path) as nodes:
        given = bootstrap("ipv4:" + ",".join(node.address for node in nodes[:2]))
        async with stock_client(given) as client:
            await client.nodes()
            await nodes[0].signal(signal.SIGKILL)
            async with placet.aio.Client(nodes[1].address) as operator:
                await operator.update_node("node-2", draining=True)

            # It has all it asks for, and learns of what changes all the same.
            async def has_heard() -> bool:
                return {"node-1"} == (await client.nodes(times=10)).keys()

            await until_it(has_heard, timeout_s=6 * _SOON_S)
