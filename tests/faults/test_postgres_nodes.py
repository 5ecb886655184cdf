"""Three control nodes on one PostgreSQL, each killed in turn, and the database's primary too.

What is acknowledged is there at the end, once; and every subscriber has it.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

import placet
from tests.faults.ports import free_port
from tests.postgres import Cluster, new_cluster

PUBLISHES = 1_000
TENANTS = ("acme", "globex", "initech", "umbrella")
ALLOW = "permit(principal, action, resource);"
PATIENCE_S = 120.0
SEED = 47


@dataclass(slots=True)
class Nodes:
    """Three `placet serve` on a database."""

    folder: Path
    store_url: str
    ports: list[int] = field(default_factory=lambda: [free_port() for _ in range(3)])
    processes: dict[int, asyncio.subprocess.Process] = field(default_factory=dict)

    @property
    def addresses(self) -> list[str]:
        return [f"127.0.0.1:{port}" for port in self.ports]

    async def start(self, number: int) -> None:
        """Start one; return when it answers."""
        log = (self.folder / f"node-{number}.log").open("ab")
        self.processes[number] = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("placet"),
            *("serve", "--listen", self.addresses[number], "--node", f"node-{number}"),
            *("--store", "postgres", "--store-url", self.store_url),
            cwd=self.folder,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=log,
        )
        log.close()
        async with placet.aio.Client(self.addresses[number]) as client:
            await until(partial(self._answers, number, client))

    async def _answers(self, number: int, client: placet.aio.Client) -> bool:
        assert self.processes[number].returncode is None, "a node ended by itself"
        return await answers(client)

    async def kill(self, number: int) -> None:
        """Kill one; return when it is dead."""
        process = self.processes.pop(number)
        process.send_signal(signal.SIGKILL)
        await process.wait()

    async def kill_all(self) -> None:
        for number in list(self.processes):
            await self.kill(number)


@asynccontextmanager
async def three_nodes(folder: Path, store_url: str) -> AsyncIterator[Nodes]:
    nodes = Nodes(folder, store_url)
    try:
        await asyncio.gather(*map(nodes.start, range(3)))
        yield nodes
    finally:
        await nodes.kill_all()


@asynccontextmanager
async def replicated() -> AsyncIterator[tuple[Cluster, Cluster]]:
    """A primary that acknowledges nothing its replica does not have, and the replica."""
    primary = new_cluster()
    await asyncio.to_thread(primary.start)
    running = [primary]
    try:
        replica = await asyncio.to_thread(primary.replica, name="replica")
        await asyncio.to_thread(replica.start)
        running.append(replica)
        # Since now: the replica's own settings, once it is primary, are to name nobody.
        primary.set(synchronous_standby_names="replica")
        await until(partial(asyncio.to_thread, is_in_step, primary))
        yield primary, replica
    finally:
        for cluster in running:
            if cluster.is_running:
                cluster.stop()


def is_in_step(primary: Cluster) -> bool:
    return primary.run("SELECT sync_state FROM pg_stat_replication") == "sync"


async def answers(client: placet.aio.Client, tenant: str = "nobody") -> bool:
    """Whether a node decides; about a tenant, whether it knows the tenant."""
    try:
        await client.evaluate(("User", "a"), "view", ("Doc", "d"), tenant=tenant, timeout_s=1.0)
    except placet.NotFound:
        return tenant == "nobody"
    except placet.PlacetError:
        return False
    return True


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await holds():  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0.02)


@dataclass(slots=True)
class Publishing:
    """One client that publishes on and on, at any node that answers."""

    clients: list[placet.aio.Client]
    chance: random.Random
    acknowledged: dict[tuple[str, str], int] = field(default_factory=dict)
    repeats: int = 0
    _waiting: list[tuple[int, asyncio.Event]] = field(default_factory=list)

    async def run(self, tenant: str, numbers: Iterable[int]) -> None:
        for number in numbers:
            policy = placet.Policy(id=f"p{number}", cedar=ALLOW)
            revision = await self._publish(tenant, policy)
            self.acknowledged[tenant, policy.id] = revision
            for wanted, reached in self._waiting:
                if len(self.acknowledged) >= wanted:
                    reached.set()

    async def _publish(self, tenant: str, policy: placet.Policy) -> int:
        """Publish once, however often that has to be asked for."""
        for attempt in itertools.count():
            client = self.chance.choice(self.clients)
            try:
                published = await client.publish(
                    placet.ChangeSet(policies=[policy]),
                    tenant=tenant,
                    request_id=f"{tenant}/{policy.id}",
                    message=policy.id,
                    timeout_s=8.0,
                )
            except (placet.CouldNotDecide, placet.Conflict):
                await asyncio.sleep(min(0.02 * 2**attempt, 0.5))
                self.repeats += 1
            else:
                return published.revision
        raise AssertionError

    def of(self, tenant: str) -> dict[str, int]:
        """Return a tenant's policies and the revisions that were acknowledged."""
        return {id_: at for (whose, id_), at in self.acknowledged.items() if whose == tenant}

    async def past(self, count: int) -> None:
        """Wait until as many publishes are acknowledged."""
        reached = asyncio.Event()
        self._waiting.append((count, reached))
        async with asyncio.timeout(PATIENCE_S):
            await reached.wait()


@dataclass(slots=True)
class Follower:
    """A subscriber of one node, and what it has been told."""

    revisions: list[int] = field(default_factory=list)
    snapshots: int = 0
    held: dict[str, int] = field(default_factory=dict)

    async def run(self, client: placet.aio.Client, tenant: str) -> None:
        async with client.subscribe(tenant=tenant) as subscription:
            async for event in subscription:
                if isinstance(event, placet.Snapshot):
                    self.snapshots += 1
                    self.held = {item.key.id: item.revision for item in event.items}
                else:
                    assert event.from_revision == self.revisions[-1]
                    self.held |= {item.key.id: item.revision for item in event.upserts}
                revision = (
                    event.revision if isinstance(event, placet.Snapshot) else event.to_revision
                )
                assert not self.revisions or revision >= self.revisions[-1]
                self.revisions.append(revision)


@pytest.mark.slow
async def test_nothing_acknowledged_is_lost_when_nodes_and_the_primary_die(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        primary, replica = await stack.enter_async_context(replicated())
        url = f"postgresql://placet@127.0.0.1:{primary.port},127.0.0.1:{replica.port}/postgres"
        nodes = await stack.enter_async_context(three_nodes(tmp_path, url))
        clients = [
            await stack.enter_async_context(placet.aio.Client(address))
            for address in nodes.addresses
        ]
        publishing = Publishing(clients, random.Random(SEED))
        followers = {(number, tenant): Follower() for number in range(3) for tenant in TENANTS}
        async with asyncio.TaskGroup() as group:
            for tenant in TENANTS:
                await publishing.run(tenant, [0])
                for client in clients:
                    await until(partial(answers, client, tenant))
            following = [
                group.create_task(follower.run(clients[number], tenant))
                for (number, tenant), follower in followers.items()
            ]
            publishers = [
                group.create_task(publishing.run(tenant, range(1, PUBLISHES // len(TENANTS))))
                for tenant in TENANTS
            ]
            for number, count in enumerate((150, 350, 800)):
                await publishing.past(count)
                await nodes.kill(number)
                if number == 1:
                    await publishing.past(500)
                    primary.kill()
                    await asyncio.to_thread(replica.promote)
                    await publishing.past(501)
                await nodes.start(number)
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*publishers)
            for (_, tenant), follower in followers.items():
                await until(partial(has_all, follower, publishing.of(tenant)))
            for task in following:
                task.cancel()

        histories = {
            tenant: [line async for line in clients[0].history(tenant=tenant)] for tenant in TENANTS
        }

    assert len(publishing.acknowledged) == PUBLISHES
    lines = [line for history in histories.values() for line in history]
    # Each publish once, and revisions without a gap: nothing else was committed.
    assert sorted(line.revision for line in lines) == list(range(1, PUBLISHES + 1))
    made = {(line.owner, line.message): line.revision for line in lines}
    assert made == publishing.acknowledged
    assert publishing.repeats > 0, "no publish was disturbed: nothing was tested"


async def has_all(follower: Follower, items: dict[str, int]) -> bool:
    return follower.held == items
