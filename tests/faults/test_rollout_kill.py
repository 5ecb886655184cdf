"""Nodes that drive rollouts killed with SIGKILL in every state: each step is taken, and once.

Of several processes on one store one takes the steps, and any may. So two are run, one of them is
killed, and the other has to go on from exactly where the rollout stood.
"""

from __future__ import annotations

import asyncio
import datetime
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from placet.v1 import policy_pb2, rollout_pb2
from placet.v1 import rollout_service_pb2 as pb
from placet_engine.items import ROLLOUT_KEY, RolloutRecord
from placet_engine.rollouts.record import RolloutState
from placet_server.store.tables import leaders
from placet_server.stores import opened_database
from tests.faults.ports import free_port
from tests.faults.victims import open_store
from tests.postgres import new_schema
from tests.wire.service import TENANT, TIMEOUT_S, Connection, connected, policy, request

ALLOW = policy("all", "permit(principal, action, resource);")
HARMLESS = policy("more", 'permit(principal, action == Action::"edit", resource);')
S = rollout_pb2
LONG_S, SHORT_S = 3600, 0.5


@dataclass(slots=True)
class Nodes:
    """Two `placet serve` on one store."""

    place: str
    """A file, or the URL of a database."""
    folder: Path
    processes: dict[int, asyncio.subprocess.Process]
    connections: dict[int, Connection]

    async def kill(self, port: int) -> None:
        """Kill one of them, and wait until it is dead."""
        process = self.processes.pop(port)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        del self.connections[port]

    @property
    def any(self) -> Connection:
        """One that lives."""
        return next(iter(self.connections.values()))


@asynccontextmanager
async def two_nodes(place: str, folder: Path) -> AsyncIterator[Nodes]:
    async with AsyncExitStack() as stack:
        nodes = Nodes(place, folder, {}, {})
        for number in range(2):
            await start_node(nodes, stack, f"node-{number}")
        yield nodes


async def start_node(nodes: Nodes, stack: AsyncExitStack, name: str) -> int:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("placet"),
        "serve",
        "--listen",
        f"127.0.0.1:{port}",
        *store_options(nodes.place),
        cwd=nodes.folder,
        env={
            "PLACET_SERVER_NODE": name,
            "PLACET_ROLLOUTS_TICK_S": "0.05",
            "PLACET_ROLLOUTS_NODE_LEASE_S": "2",
            "PLACET_ROLLOUTS_MIN_SAMPLES": "1",
            "PLACET_ROLLOUTS_SHADOW_PERCENT": "100",
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    nodes.processes[port] = process
    stack.push_async_callback(ended, process)
    connection = await stack.enter_async_context(connected(f"127.0.0.1:{port}"))
    async with asyncio.timeout(TIMEOUT_S * 3):
        await connection.channel.channel_ready()
    nodes.connections[port] = connection
    return port


def store_options(place: str) -> tuple[str, ...]:
    if "://" in place:
        return ("--store", "postgres", "--store-url", place)
    return ("--store-path", place)


async def ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGKILL)
        await process.wait()


async def start(connection: Connection, plan: rollout_pb2.RolloutPlan) -> rollout_pb2.Rollout:
    started = await connection.rollouts.StartRollout(
        pb.StartRolloutRequest(
            tenant=TENANT, change_set=policy_pb2.ChangeSet(policies=[HARMLESS]), plan=plan
        ),
        timeout=TIMEOUT_S,
        metadata=(("placet-actor", "ann"),),
    )
    return started.rollout


def canary(bake_s: float) -> rollout_pb2.RolloutPlan:
    steps = [rollout_pb2.CanaryStep(share_percent=share) for share in (10, 50, 100)]
    for step in steps:
        step.bake_time.FromTimedelta(datetime.timedelta(seconds=bake_s))
    return rollout_pb2.RolloutPlan(canary=rollout_pb2.CanaryStrategy(steps=steps))


def scheduled() -> rollout_pb2.RolloutPlan:
    plan = rollout_pb2.RolloutPlan()
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
    plan.scheduled.start_time.FromDatetime(soon)
    return plan


def manual(deadline_s: float | None = None) -> rollout_pb2.RolloutPlan:
    plan = rollout_pb2.RolloutPlan(manual=rollout_pb2.ManualStrategy())
    if deadline_s is not None:
        time = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=deadline_s)
        plan.manual.deadline.FromDatetime(time)
    return plan


async def steer(connection: Connection, call: str, message: Any) -> rollout_pb2.Rollout:
    answer = await getattr(connection.rollouts, call)(
        message, timeout=TIMEOUT_S, metadata=(("placet-actor", "bob"),)
    )
    rollout: rollout_pb2.Rollout = answer.rollout
    return rollout


async def until(
    connection: Connection, id_: str, holds: Callable[[rollout_pb2.Rollout], bool]
) -> rollout_pb2.Rollout:
    """Ask on and on, with requests for the guards in between, until something holds."""
    async with asyncio.timeout(TIMEOUT_S * 3):
        while True:
            got = await connection.rollouts.GetRollout(
                pb.GetRolloutRequest(tenant=TENANT, rollout_id=id_), timeout=TIMEOUT_S
            )
            if holds(got.rollout):
                return got.rollout
            await connection.evaluate.Evaluate(request(), timeout=TIMEOUT_S)


def has_come_to(step: int, rollout: rollout_pb2.Rollout) -> bool:
    return rollout.step >= step or rollout.state == S.ROLLOUT_STATE_COMPLETED


async def nothing(connection: Connection, rollout: rollout_pb2.Rollout) -> rollout_pb2.Rollout:
    return rollout


async def paused(connection: Connection, rollout: rollout_pb2.Rollout) -> rollout_pb2.Rollout:
    asked = pb.PauseRolloutRequest(tenant=TENANT, rollout_id=rollout.id)
    return await steer(connection, "PauseRollout", asked)


async def approve(connection: Connection, rollout: rollout_pb2.Rollout) -> rollout_pb2.Rollout:
    asked = pb.ApproveRolloutRequest(tenant=TENANT, rollout_id=rollout.id, etag=rollout.etag)
    return await steer(connection, "ApproveRollout", asked)


async def promote(connection: Connection, rollout: rollout_pb2.Rollout) -> rollout_pb2.Rollout:
    asked = pb.PromoteRolloutRequest(
        tenant=TENANT, rollout_id=rollout.id, etag=rollout.etag, all_steps=True
    )
    return await steer(connection, "PromoteRollout", asked)


async def roll_back(connection: Connection, rollout: rollout_pb2.Rollout) -> rollout_pb2.Rollout:
    asked = pb.RollBackRequest(tenant=TENANT, rollout_id=rollout.id, etag=rollout.etag)
    return await steer(connection, "RollBack", asked)


Doing = Callable[[Connection, rollout_pb2.Rollout], Awaitable[rollout_pb2.Rollout]]


@pytest.mark.parametrize(
    ("plan", "prepare", "finish", "state"),
    [
        pytest.param(
            lambda: canary(SHORT_S), nothing, nothing, S.ROLLOUT_STATE_COMPLETED, id="running"
        ),
        pytest.param(
            lambda: canary(LONG_S), paused, promote, S.ROLLOUT_STATE_COMPLETED, id="paused"
        ),
        pytest.param(
            lambda: canary(LONG_S), nothing, roll_back, S.ROLLOUT_STATE_ROLLED_BACK, id="baking"
        ),
        pytest.param(scheduled, nothing, nothing, S.ROLLOUT_STATE_COMPLETED, id="scheduled"),
        pytest.param(manual, nothing, approve, S.ROLLOUT_STATE_COMPLETED, id="awaiting approval"),
        pytest.param(
            lambda: manual(1.0),
            nothing,
            nothing,
            S.ROLLOUT_STATE_ROLLED_BACK,
            id="awaiting approval in time",
        ),
    ],
)
async def test_a_rollout_outlives_the_node_that_started_it(
    tmp_path: Path,
    plan: Callable[[], rollout_pb2.RolloutPlan],
    prepare: Doing,
    finish: Doing,
    state: int,
) -> None:
    place = str(tmp_path / "placet.db")
    async with two_nodes(place, tmp_path) as nodes:
        first, second = nodes.connections
        await nodes.connections[first].publish(ALLOW)
        rollout = await start(nodes.connections[first], plan())
        rollout = await prepare(nodes.connections[first], rollout)
        await nodes.kill(first)
        await finish(nodes.connections[second], rollout)
        ended_as = await until(nodes.any, rollout.id, lambda it: it.state == state)

    assert ended_as.id == rollout.id
    await check_steps(place)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "placet.db") if request.param == "sqlite" else new_schema()


async def test_the_node_that_leads_is_followed(place: str, tmp_path: Path) -> None:
    async with two_nodes(place, tmp_path) as nodes:
        await nodes.any.publish(ALLOW)
        rollout = await start(nodes.any, canary(SHORT_S))
        await until(nodes.any, rollout.id, partial(has_come_to, 1))
        leader = await leading_node(place)
        ports = list(nodes.connections)
        await nodes.kill(ports[int(leader.removeprefix("node-"))])
        await until(nodes.any, rollout.id, lambda it: it.state == S.ROLLOUT_STATE_COMPLETED)

        assert await leading_node(place) != leader
    await check_steps(place)


async def leading_node(place: str) -> str:
    """Return the name of the node that took the steps last."""
    async with opened_database(place) as opened:
        holder = await opened.database.read(lambda it: it.scalar(select(leaders.c.holder)))
    return str(holder).split()[0]


async def test_a_rollout_outlives_all_nodes(tmp_path: Path) -> None:
    place = str(tmp_path / "placet.db")
    async with AsyncExitStack() as stack:
        nodes = Nodes(place, tmp_path, {}, {})
        port = await start_node(nodes, stack, "only")
        await nodes.any.publish(ALLOW)
        rollout = await start(nodes.any, canary(SHORT_S))
        for round_number in range(3):
            await until(nodes.any, rollout.id, partial(has_come_to, round_number))
            await nodes.kill(port)
            port = await start_node(nodes, stack, "only")
        await until(nodes.any, rollout.id, lambda it: it.state == S.ROLLOUT_STATE_COMPLETED)

    await check_steps(place)


async def check_steps(place: str) -> None:
    """Every step is in the history once, in order, and nothing follows the end."""
    store = await open_store(place)
    try:
        versions = await store.versions(TENANT, ROLLOUT_KEY, limit=100)
        kept = await store.read(TENANT)
    finally:
        await store.aclose()
    history = []
    for item in reversed(versions):
        assert isinstance(item.body, RolloutRecord)
        history.append((item.body.rollout.state, item.body.rollout.step))
    running = [step for state, step in history if state is RolloutState.RUNNING]
    assert running == list(range(len(running)))
    assert [state.is_final for state, _ in history] == [False] * (len(history) - 1) + [True]
    is_done = history[-1][0] is RolloutState.COMPLETED
    assert (HARMLESS.id in {key.id for key in kept.items}) is is_done
