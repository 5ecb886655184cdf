"""Nodes without a store that lose what they follow: killed, hung, cut off, gone for good.

The nodes are `placet serve` in processes of their own: a control node, and chains below it.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import placet
from tests.faults.ports import free_port
from tests.faults.test_failover import ALLOW, ASKED, TENANT, TIMEOUT_S, Served, answering
from tests.waiting import until_it

_STALE_AFTER_S = 0.5
_SETTINGS = (
    ("PLACET_UPSTREAM_STALE_AFTER_S", str(_STALE_AFTER_S)),
    ("PLACET_UPSTREAM_PREFER_AFTER_S", "0.5"),
    ("PLACET_UPSTREAM_STATE_EVERY_S", "0.1"),
    ("PLACET_SUBSCRIBE_HEARTBEAT_S", "0.1"),
)
_START_TIMEOUT_S = 60.0


@dataclass
class Chain:
    """Processes, each with a name; those below follow those above."""

    folder: Path
    nodes: dict[str, Served] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Served:
        return self.nodes[name]

    async def publish(self, id_: str, cedar: str = ALLOW) -> int:
        """Publish a policy at the control node."""
        async with self.client("control") as client:
            change_set = placet.ChangeSet(policies=[placet.Policy(id=id_, cedar=cedar)])
            return (await client.publish(change_set, timeout_s=TIMEOUT_S)).revision

    def client(self, name: str) -> placet.aio.Client:
        return placet.aio.Client(self[name].address, tenant=TENANT, timeout_s=TIMEOUT_S)

    async def decides_by(self, name: str, revision: int) -> placet.Decision:
        """Ask a node, and have it decide by a revision at least."""
        async with self.client(name) as client:
            return await client.evaluate(*ASKED, min_revision=revision)


@asynccontextmanager
async def running(folder: Path, *shape: tuple[str, Sequence[str]]) -> AsyncIterator[Chain]:
    """Run nodes, given as their names and those of the ones they follow, in order."""
    chain = Chain(folder)
    async with AsyncExitStack() as stack:
        for name, follows in shape:
            node = Served(
                name,
                f"127.0.0.1:{free_port()}",
                folder,
                follows=tuple(chain[above].address for above in follows),
                settings=_SETTINGS,
            )
            chain.nodes[name] = node
            stack.push_async_callback(node.end)
            await node.start()
            await answering(node)
            if name == "control":
                await chain.publish("all")
        for name, _ in shape:
            await deciding(chain, name)
        yield chain


async def deciding(chain: Chain, name: str) -> None:
    """Wait until a node decides."""

    async def decides() -> bool:
        try:
            await chain.decides_by(name, 1)
        except placet.Unavailable:
            return False
        return True

    await until_it(decides, timeout_s=_START_TIMEOUT_S)


@dataclass
class Asking:
    """Calls that never pause, and how stale the answers were."""

    staleness_s: list[float] = field(default_factory=list)
    failures: list[placet.PlacetError] = field(default_factory=list)

    @asynccontextmanager
    async def of(self, chain: Chain, name: str) -> AsyncIterator[Asking]:
        """Ask a node for the length of the block."""
        task = asyncio.create_task(self._ask(chain, name))
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _ask(self, chain: Chain, name: str) -> None:
        async with chain.client(name) as client:
            while True:
                try:
                    decision = await client.evaluate(*ASKED)
                    self.staleness_s.append(decision.staleness.total_seconds())
                except placet.PlacetError as error:
                    self.failures.append(error)

    async def until(
        self, holds: Callable[[float], bool], *, timeout_s: float = _START_TIMEOUT_S
    ) -> None:
        """Wait for an answer whose staleness is as it should be."""
        seen = len(self.staleness_s)

        async def is_there() -> bool:
            return any(map(holds, self.staleness_s[seen:]))

        await until_it(is_there, timeout_s=timeout_s)


_SHORT_S = 2.0
_OUTAGES = [_SHORT_S, pytest.param(120.0, marks=pytest.mark.soak)]


@pytest.mark.parametrize("outage_s", _OUTAGES)
async def test_answers_go_on_while_the_control_plane_is_gone(
    tmp_path: Path, outage_s: float
) -> None:
    """Killed with SIGKILL; it comes back with what was published before anybody follows again."""
    async with running(
        tmp_path, ("control", ()), ("relay", ["control"]), ("leaf", ["relay"])
    ) as chain:
        async with Asking().of(chain, "leaf") as asking:
            await asking.until(lambda stale_s: stale_s < 1)
            await chain["control"].signal(signal.SIGKILL)
            await asking.until(
                lambda stale_s: stale_s > outage_s, timeout_s=outage_s + _START_TIMEOUT_S
            )
            await chain["control"].start()
            await answering(chain["control"])
            last = 0
            for number in range(20):
                last = await chain.publish(f"p{number}")
            decision = await chain.decides_by("leaf", last)
            await asking.until(lambda stale_s: stale_s < 1)

        assert asking.failures == []
        assert decision.revision == last
        # It says how stale it is, without a gap: each answer is about as old as the one before.
        grew = max(asking.staleness_s)
        assert outage_s < grew < outage_s + TIMEOUT_S


async def test_an_edge_that_is_killed_starts_from_its_file_without_anybody(tmp_path: Path) -> None:
    async with running(tmp_path, ("control", ()), ("edge", ["control"])) as chain:
        last = await chain.publish("more")
        await chain.decides_by("edge", last)
        state = tmp_path / "edge.state"

        async def is_kept() -> bool:
            return state.exists() and b"more" in state.read_bytes()

        await until_it(is_kept)
        await chain["control"].signal(signal.SIGKILL)
        stale_s = 0.0
        for _ in range(3):
            await chain["edge"].signal(signal.SIGKILL)
            await chain["edge"].start()
            await deciding(chain, "edge")
            decision = await chain.decides_by("edge", last)
            assert (decision.revision, decision.allowed) == (last, True)
            assert decision.staleness.total_seconds() > stale_s
            stale_s = decision.staleness.total_seconds()

        await chain["control"].start()
        await answering(chain["control"])
        last = await chain.publish("stop", "forbid(principal, action, resource);")
        decision = await chain.decides_by("edge", last)
        assert not decision.allowed

        async def is_current() -> bool:
            fresh = await chain.decides_by("edge", last)
            return fresh.staleness.total_seconds() < _STALE_AFTER_S

        await until_it(is_current)


async def test_an_edge_killed_while_it_writes_starts_all_the_same(tmp_path: Path) -> None:
    """Killed at any moment of many writes, it has the one before or the one after."""
    chance = random.Random(5)
    async with running(tmp_path, ("control", ()), ("edge", ["control"])) as chain:
        known = 1
        for round_ in range(6):
            publishing = asyncio.create_task(publish_on(chain, f"r{round_}"))
            await asyncio.sleep(chance.uniform(0.0, 0.5))
            await chain["edge"].signal(signal.SIGKILL)
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
            # Nobody there to help it.
            await chain["control"].signal(signal.SIGSTOP)
            await chain["edge"].start()
            await deciding(chain, "edge")
            revision = (await chain.decides_by("edge", 1)).revision
            assert revision >= known
            known = revision
            await chain["control"].signal(signal.SIGCONT)
            last = await chain.publish(f"after{round_}")
            await chain.decides_by("edge", last)


async def publish_on(chain: Chain, name: str) -> None:
    number = 0
    async with chain.client("control") as client:
        while True:
            number += 1
            policy = placet.Policy(id=f"{name}/{number}", cedar=ALLOW)
            await client.publish(placet.ChangeSet(policies=[policy]))


async def test_a_relay_that_hangs_is_left_and_followed_again_when_it_is_back(
    tmp_path: Path,
) -> None:
    async with running(
        tmp_path,
        ("control", ()),
        ("one", ["control"]),
        ("two", ["control"]),
        ("leaf", ["one", "two"]),
    ) as chain:
        async with Asking().of(chain, "leaf") as asking:
            await chain["one"].signal(signal.SIGSTOP)
            last = await chain.publish("while-it-hangs")
            decision = await chain.decides_by("leaf", last)
            await asking.until(lambda stale_s: stale_s < _STALE_AFTER_S)
            assert decision.revision == last

            await chain["one"].signal(signal.SIGCONT)
            await chain["two"].signal(signal.SIGSTOP)
            last = await chain.publish("while-the-other-hangs")
            await chain.decides_by("leaf", last)
            await chain["two"].signal(signal.SIGCONT)
        assert asking.failures == []
        # Noticed by its silence, and not by TCP.
        assert max(asking.staleness_s) < 10 * _STALE_AFTER_S


async def test_publishes_get_through_while_relays_die_all_the_time(tmp_path: Path) -> None:
    """Whoever is killed when: in the end everybody has the same, and nobody failed a call."""
    chance = random.Random(9)
    async with running(
        tmp_path,
        ("control", ()),
        ("one", ["control"]),
        ("two", ["control", "one"]),
        ("leaf", ["one", "two"]),
    ) as chain:
        async with Asking().of(chain, "leaf") as asking:
            last = 0
            for number in range(12):
                killed = chain[chance.choice(["one", "two"])]
                await killed.signal(signal.SIGKILL)
                for change in range(chance.randrange(1, 6)):
                    last = await chain.publish(f"p{number}/{change}")
                await killed.start()
                await asyncio.sleep(chance.uniform(0.0, 0.3))
            decision = await chain.decides_by("leaf", last)
        assert decision.revision == last
        assert asking.failures == []
        stored = await items_at(chain["control"])
        for name in ("one", "two", "leaf"):
            await chain.decides_by(name, last)
            assert await items_at(chain[name]) == stored


async def items_at(node: Served) -> dict[str, bytes]:
    """Return what a node sends of the tenant."""
    async with (
        placet.aio.Client(node.address, tenant=TENANT, timeout_s=TIMEOUT_S) as client,
        client.subscribe() as subscription,
    ):
        event = await subscription.next_event(timeout_s=TIMEOUT_S)
        assert isinstance(event, placet.Snapshot)
        return {item.key.id: item.digest for item in event.items}
