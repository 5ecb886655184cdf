"""Nodes that are processes of their own, killed and hung: routes leave them out in time."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, aclosing, asynccontextmanager
from pathlib import Path

import pytest

import placet
from placet import ChangeSet, NodeHealth, Policy, Route, TopologyKind
from tests.cli.shell import Process, serving

TENANT = "acme"
ALLOW = Policy(id="p", cedar="permit(principal, action, resource);")
# Far above what it takes on a machine that has nothing else to do: see DECISIONS, 44.
SOON_S = 30.0
NAMES = ("c1", "c2", "c3")


class Fleet:
    """Control nodes on one store, by name."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.addresses: dict[str, str] = {}
        self.processes: dict[str, Process] = {}
        options = ("--store-path", str(folder / "placet.db"), "--region", "eu-west")
        for name in NAMES:
            served = serving(folder, *options, "--node", name)
            self.addresses[name], self.processes[name] = stack.enter_context(served)


@pytest.fixture(name="fleet")
def fleet_fixture(tmp_path: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        fleet = Fleet(tmp_path, stack)
        yield fleet
        for process in fleet.processes.values():
            process.send(signal.SIGCONT)


@asynccontextmanager
async def routes(fleet: Fleet) -> AsyncIterator[AsyncIterator[Route]]:
    """Watch at the first node where callers may go."""
    async with placet.aio.Client(fleet.addresses["c1"], tenant=TENANT, timeout_s=10) as client:
        await client.publish(ChangeSet(policies=[ALLOW]))
        async with asyncio.timeout(4 * SOON_S), aclosing(client.watch_route()) as watched:
            yield watched


async def until(watched: AsyncIterator[Route], *names: str) -> float:
    """Wait until a route leads to these nodes and to no others; return how long that took."""
    began_s = time.monotonic()
    async for route in watched:
        found = {endpoint.node for one in route.regions for endpoint in one.endpoints}
        if found == set(names):
            took_s = time.monotonic() - began_s
            assert took_s < SOON_S
            return took_s
    raise AssertionError("the stream ended")


async def test_a_killed_node_and_a_hung_one_are_left_out_of_routes(fleet: Fleet) -> None:
    async with routes(fleet) as watched:
        await until(watched, *NAMES)
        fleet.processes["c2"].send(signal.SIGKILL)
        await until(watched, "c1", "c3")
        fleet.processes["c3"].send(signal.SIGSTOP)
        await until(watched, "c1")
        # It comes back to itself, and finds its place again.
        fleet.processes["c3"].send(signal.SIGCONT)
        await until(watched, "c1", "c3")

    async with placet.aio.Client(fleet.addresses["c1"]) as client:
        async with asyncio.timeout(SOON_S):
            async with aclosing(client.watch_topology(kinds=[TopologyKind.NODE])) as states:
                async for state in states:
                    if state.nodes["c2"].health is NodeHealth.LOST:
                        break


async def test_a_node_that_is_told_to_stop_is_left_out_before_it_does(fleet: Fleet) -> None:
    async with routes(fleet) as watched:
        await until(watched, *NAMES)
        fleet.processes["c2"].send(signal.SIGTERM)
        await until(watched, "c1", "c3")
        result = await asyncio.to_thread(fleet.processes["c2"].end, None)
    assert 0 == result.code
    async with placet.aio.Client(fleet.addresses["c1"]) as client, asyncio.timeout(SOON_S):
        while "c2" in {node.id for node in await client.nodes()}:
            pass
