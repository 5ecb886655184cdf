"""Several processes on one address, behind each front: callers see one server."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest

from placet.v1 import (
    decision_pb2,
    policy_pb2,
    policy_service_pb2,
    subscribe_service_pb2,
    topology_service_pb2,
)
from tests.cli.shell import PATIENCE_S, Process, running
from tests.front.served import FRONTS, served
from tests.wire.service import TENANT, TIMEOUT_S, Connection, connected, policy, request

_ALLOW = policy("allow", "permit(principal, action, resource);")
_FORBID = policy("stop", "forbid(principal, action, resource);")
_CONNECTIONS = 64

pytestmark = pytest.mark.parametrize("front", FRONTS)


@asynccontextmanager
async def _one_to_each(
    address: str, worker: Callable[[Connection], Awaitable[str]] | None = None
) -> AsyncIterator[tuple[Connection, Connection]]:
    """Connect to each of two workers. The kernel deals connections out as it likes."""
    async with AsyncExitStack() as stack:
        found: dict[str, Connection] = {}
        for _ in range(_CONNECTIONS):
            connection = await stack.enter_async_context(connected(address))
            found.setdefault(await (worker or _worker)(connection), connection)
            if len(found) == 2:
                break
        assert len(found) == 2, "all connections came to the same worker"
        one, other = found.values()
        yield one, other


async def test_long_connections_are_dealt_out_again(front: str, tmp_path: Path) -> None:
    """Whoever keeps calling on one channel meets both workers, and no call fails."""
    (tmp_path / "placet.toml").write_text("[server]\nmax_connection_age_s = 0.2\n")
    with served(tmp_path, front, "--workers", "2") as (address, process):
        async with connected(address) as connection, asyncio.timeout(PATIENCE_S):
            workers = {await _worker(connection)}
            while len(workers) < 2:
                workers.add(await _worker(connection))
        result = process.end()

    assert len(workers) == 2
    assert result.code == 0


async def test_workers_are_nodes_that_share_an_endpoint(front: str, tmp_path: Path) -> None:
    with served(tmp_path, front, "--workers", "2", "--region", "eu-west") as (address, process):
        async with connected(address) as connection, asyncio.timeout(PATIENCE_S):
            await connection.publish(_ALLOW)
            weights: list[int] = []
            while weights != [200]:
                route = await connection.topology.GetRoute(
                    topology_service_pb2.GetRouteRequest(tenant=TENANT), timeout=TIMEOUT_S
                )
                (here,) = (one for one in route.route.regions if one.region == "eu-west")
                assert {address} >= {one.address for one in here.endpoints}
                weights = [one.weight for one in here.endpoints]
            listed = await connection.topology.ListNodes(
                topology_service_pb2.ListNodesRequest(), timeout=TIMEOUT_S
            )
        result = process.end()

    assert ["test-node.0", "test-node.1"] == [node.id for node in listed.nodes]
    assert result.code == 0


async def _worker(connection: Connection) -> str:
    """Return what tells a worker from the others: its decision ids have an origin in common."""
    await connection.publish(_ALLOW)
    return (await _decided(connection)).decision_id.partition("-")[0]


async def _edge_worker(connection: Connection) -> str:
    """The same of one that nobody can publish on, once it has what it follows."""
    return (await _decided(connection)).decision_id.partition("-")[0]


def _children(process: Process) -> set[int]:
    found = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False
    )
    return {int(pid) for pid in found.stdout.split()}


async def test_what_one_worker_publishes_the_other_enforces(front: str, tmp_path: Path) -> None:
    with served(tmp_path, front, "--workers", "2") as (address, process):
        async with _one_to_each(address) as (one, other):
            published = await one.publish(_FORBID)
            waited_for = await other.evaluate.Evaluate(
                request(min_revision=published.revision), timeout=TIMEOUT_S
            )
            await one.publish(
                deletes=[policy_pb2.ItemKey(kind=policy_pb2.ITEM_KIND_POLICY, id="stop")]
            )
            async with asyncio.timeout(TIMEOUT_S):
                while not await _is_allowed(other):  # noqa: ASYNC110  # no event tells
                    await asyncio.sleep(0.005)
        result = process.end(signal.SIGTERM)

    assert waited_for.decision.outcome == decision_pb2.OUTCOME_DENY
    assert result.code == 0
    assert "Traceback" not in result.err


async def _is_allowed(connection: Connection) -> bool:
    answer = await connection.evaluate.Evaluate(request(), timeout=TIMEOUT_S)
    return answer.decision.outcome == decision_pb2.OUTCOME_ALLOW


async def test_of_publishes_to_both_that_expect_the_same_one_wins(
    front: str, tmp_path: Path
) -> None:
    with served(tmp_path, front, "--workers", "2") as (address, process):
        async with _one_to_each(address) as connections:
            head = (await connections[0].publish(_ALLOW)).revision
            results = await asyncio.gather(
                *(
                    connection.policy.Publish(
                        policy_service_pb2.PublishRequest(
                            tenant=TENANT,
                            change_set=policy_pb2.ChangeSet(
                                policies=[policy(f"p{number}", _ALLOW.cedar)]
                            ),
                            expected_revision=head,
                        ),
                        timeout=TIMEOUT_S,
                    )
                    for number, connection in enumerate(connections * 2)
                ),
                return_exceptions=True,
            )
        process.end()

    lost = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
    assert [error.code() for error in lost] == [grpc.StatusCode.ABORTED] * 3


async def test_a_subscriber_goes_on_at_the_other_worker(front: str, tmp_path: Path) -> None:
    """Its cursor is good there, and it misses and repeats nothing."""
    with served(tmp_path, front, "--workers", "2") as (address, process):
        async with _one_to_each(address) as (one, other):
            _, cursor = await _until_cursor(one, b"")
            published = await one.publish(_FORBID)
            await other.evaluate.Evaluate(
                request(min_revision=published.revision), timeout=TIMEOUT_S
            )
            events, _ = await _until_cursor(other, cursor)
        process.end()

    assert [event.WhichOneof("event") for event in events] == ["delta"]
    assert [change.upsert.policy.id for change in events[0].delta.changes] == ["stop"]


async def _until_cursor(
    connection: Connection, cursor: bytes
) -> tuple[list[subscribe_service_pb2.SubscribeResponse], bytes]:
    """Subscribe until something changed that one can go on from."""
    call = connection.subscribe.Subscribe(
        subscribe_service_pb2.SubscribeRequest(tenant=TENANT, cursor=cursor), timeout=TIMEOUT_S
    )
    events = []
    async for event in call:
        kind = event.WhichOneof("event")
        if kind != "heartbeat":
            events.append(event)
        if kind in ("snapshot_end", "delta"):
            break
    call.cancel()
    last = events[-1]
    return events, last.snapshot_end.cursor or last.delta.cursor


async def test_a_worker_that_is_killed_is_started_again(front: str, tmp_path: Path) -> None:
    """Callers of the other worker notice nothing."""
    with served(tmp_path, front, "--workers", "2") as (address, process):
        async with _one_to_each(address) as (one, other):
            before = _children(process)
            victim = await _pid_of(one, other, before)
            os.kill(victim, signal.SIGKILL)
            process.wait_for("a worker died", in_="err")
            process.wait_for("a worker serves again", in_="err")
            answers = [await _is_allowed(other) for _ in range(20)]
        async with _one_to_each(address) as both:
            after = _children(process)
            again = [await _is_allowed(connection) for connection in both]
        result = process.end()

    assert answers == [True] * 20
    assert again == [True] * 2
    assert len(before) == len(after) == 2
    assert before - after == {victim}
    assert result.code == 0


async def _pid_of(one: Connection, other: Connection, pids: Iterable[int]) -> int:
    """Return the process that serves the one connection and not the other."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
        try:
            await other.evaluate.Evaluate(request(), timeout=0.5)
            return pid
        except grpc.aio.AioRpcError:
            continue
        finally:
            os.kill(pid, signal.SIGCONT)
    raise AssertionError("no process serves only the other connection")


async def test_workers_end_with_their_supervisor(front: str, tmp_path: Path) -> None:
    """At once, though they would drain for longer than the test waits."""
    with served(tmp_path, front, "--workers", "2", "--drain-s", "600") as (_, process):
        workers = _children(process)
        process.end(signal.SIGKILL)
        async with asyncio.timeout(PATIENCE_S):
            while any(_runs(pid) for pid in workers):  # noqa: ASYNC110  # no event tells
                await asyncio.sleep(0.02)

    assert len(workers) == 2


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    # A zombie has ended; who should reap it is none of ours.
    return state != "Z"


def test_a_port_that_is_taken_is_told(front: str, tmp_path: Path) -> None:
    """Also by a server that shares its port among workers of its own."""
    with served(tmp_path, front, "--workers", "2") as (address, first):
        with running(
            *f"serve --front {front} --workers 2 --listen {address} --store-path o.db".split(),
            cwd=tmp_path,
        ) as second:
            result = second.end(None)
        first.end()

    assert (result.code, result.out) == (1, "")
    assert f"error: cannot listen on `{address}`: it is in use" in result.err


def test_workers_that_cannot_start_say_why(front: str, tmp_path: Path) -> None:
    (tmp_path / "placet.db").write_bytes(b"not a database, but long enough to look at" * 100)
    with running(
        *f"serve --front {front} --workers 2 --listen 127.0.0.1:0".split(), cwd=tmp_path
    ) as process:
        result = process.end(None)

    assert (result.code, result.out) == (1, "")
    assert re.search(r"^error: `.*placet.db`: .*restore it from a backup", result.err, re.MULTILINE)
    assert "Traceback" not in result.err


def test_a_store_that_cannot_be_shared_is_refused(front: str, tmp_path: Path) -> None:
    with running(
        *f"serve --front {front} --workers 2 --store memory".split(), cwd=tmp_path
    ) as process:
        result = process.end(None)

    assert (result.code, result.out) == (2, "")
    assert "which processes cannot share; use `sqlite`, or one worker" in result.err


async def test_workers_follow_and_start_from_one_file(front: str, tmp_path: Path) -> None:
    """Each follows by itself; the first writes the file, and all of them read it."""
    state = tmp_path / "edge.state"
    follow = ("--workers", "2", "--upstream", "{control}", "--state", str(state))
    with served(tmp_path, "grpc") as (control, _):
        arguments = [control if part == "{control}" else part for part in follow]
        async with connected(control) as connection:
            published = await connection.publish(_ALLOW)
            with served(tmp_path, front, *arguments) as (address, process):
                async with _one_to_each(address, _edge_worker) as workers:
                    for worker in workers:
                        decision = await _decided(worker, published.revision)
                        assert decision.outcome == decision_pb2.OUTCOME_ALLOW
                process.end()

    with served(tmp_path, front, *arguments) as (address, process):
        async with _one_to_each(address, _edge_worker) as workers:
            for worker in workers:
                decision = await _decided(worker, published.revision)
                assert decision.outcome == decision_pb2.OUTCOME_ALLOW
                assert decision.staleness.ToTimedelta().total_seconds() > 0
        process.end()


async def _decided(worker: Connection, revision: int = 0) -> decision_pb2.Decision:
    """Ask until the worker has got what it follows."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                asked = request(min_revision=revision)
                return (await worker.evaluate.Evaluate(asked, timeout=TIMEOUT_S)).decision
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
