"""Nodes that die, hang, are cut off or slow down under callers who never pause.

The nodes are `placet serve` in processes of their own on one store, and the callers are both of
the SDK's clients. No call may fail; how long a caller waits at most is bounded generously here,
over what it waits without any fault on this machine, and measured in `bench/`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import placet
from bench.wires import Island, can_make_islands, island, wire_to
from placet import Balancing, EndpointState
from placet.local import LocalEvaluator
from tests.faults.ports import free_port

TENANT = "acme"
ASKED = (("User", "alice"), "view", ("Document", "one"))
ALLOW = "permit(principal, action, resource);"
START_TIMEOUT_S = 60.0
TIMEOUT_S = 20.0
KILLED_S, HUNG_S = 0.1, 1.0
"""The longest gap a caller may see, beside what it sees without any fault."""
CALLERS = 4


@dataclass(slots=True)
class Served:
    """One `placet serve`."""

    name: str
    address: str
    folder: Path
    where: Island | None = None
    region: str = ""
    follows: tuple[str, ...] = ()
    """Addresses of the nodes it follows. Empty: it has the folder's store."""
    settings: tuple[tuple[str, str], ...] = ()
    """More variables of its environment."""
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, again at the same address if it ran before."""
        environment = {**os.environ, "PLACET_SERVER_NODE": self.name, **dict(self.settings)}
        if self.region:
            environment["PLACET_SERVER_REGION"] = self.region
        if self.where is not None:
            environment["PLACET_SERVER_ALLOW_INSECURE"] = "true"
        self.process = await asyncio.create_subprocess_exec(
            *(self.where.command if self.where is not None else ()),
            str(Path(sys.executable).with_name("placet")),
            *("serve", "--listen", self.address, *self._origin()),
            cwd=self.folder,
            env=environment,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )

    def _origin(self) -> tuple[str, ...]:
        if not self.follows:
            return ("--store-path", str(self.folder / "placet.db"))
        state = str(self.folder / f"{self.name}.state")
        return ("--upstream", ",".join(self.follows), "--state", state)

    async def signal(self, number: signal.Signals) -> None:
        """Send it a signal; wait for its end if that is what comes of it."""
        assert self.process is not None
        self.process.send_signal(number)
        if number is signal.SIGKILL:
            await self.process.wait()

    async def end(self) -> None:
        """End it, in whatever state it is."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
            await self.process.wait()


@asynccontextmanager
async def fleet(
    folder: Path, count: int = 3, *, islands: Sequence[Island] = (), regions: Sequence[str] = ()
) -> AsyncIterator[list[Served]]:
    """Run nodes `node-0` and so on, the first of them on islands, with policies that allow.

    Where regions are given, each is in one of them.
    """
    async with AsyncExitStack() as stack:
        nodes = []
        for number in range(count):
            where = islands[number] if number < len(islands) else None
            host = where.host if where is not None else "127.0.0.1"
            region = regions[number] if regions else ""
            node = Served(f"node-{number}", f"{host}:{free_port()}", folder, where, region)
            stack.push_async_callback(node.end)
            await node.start()
            nodes.append(node)
            # The first makes the store, and the others find it made.
            if not number:
                await answering(node)
        for node in nodes:
            await answering(node)
        async with placet.aio.Client(nodes[0].address, tenant=TENANT) as client:
            change_set = placet.ChangeSet(policies=[placet.Policy(id="all", cedar=ALLOW)])
            revision = (await client.publish(change_set)).revision
        for node in nodes:
            async with placet.aio.Client(node.address, tenant=TENANT) as client:
                await client.evaluate(*ASKED, min_revision=revision, timeout_s=TIMEOUT_S)
        yield nodes


async def answering(node: Served) -> None:
    """Wait until a node answers anything."""
    assert node.process is not None
    async with (
        placet.aio.Client(node.address) as client,
        asyncio.timeout(START_TIMEOUT_S),
    ):
        while True:
            assert node.process.returncode is None, "the server ended by itself"
            try:
                await client.cache_statistics(timeout_s=1.0)
            except placet.CouldNotDecide:
                continue
            return


@dataclass(slots=True)
class Callers:
    """Calls without a pause, and how they went."""

    waits: list[tuple[float, float]] = field(default_factory=list)
    """When a caller had an answer, and how long after its one before."""
    errors: list[BaseException] = field(default_factory=list)
    nodes: Counter[str] = field(default_factory=Counter)
    is_over: bool = False

    def took(self, decision: placet.Decision, before_s: float) -> float:
        now_s = time.monotonic()
        assert decision.allowed
        self.waits.append((now_s, now_s - before_s))
        self.nodes[decision.node] += 1
        return now_s

    def longest_s(self, since_s: float, until_s: float) -> float:
        """Return the longest wait of any caller that ended in a span."""
        return max(wait for at, wait in list(self.waits) if since_s <= at <= until_s)

    def ask_on(self, client: placet.Client) -> None:
        """Call from a thread until it is over."""
        before_s = time.monotonic()
        while not self.is_over:
            try:
                before_s = self.took(client.evaluate(*ASKED), before_s)
            except Exception as error:  # noqa: BLE001  # whatever it is, it should not be
                self.errors.append(error)

    async def ask_on_aio(self, client: placet.aio.Client) -> None:
        """Call from a task until it is over."""
        before_s = time.monotonic()
        while not self.is_over:
            try:
                before_s = self.took(await client.evaluate(*ASKED), before_s)
            except Exception as error:  # noqa: BLE001  # whatever it is, it should not be
                self.errors.append(error)


@dataclass(frozen=True, slots=True)
class Scene:
    """A client under load."""

    client: placet.Client | placet.aio.Client
    callers: Callers

    def state(self, address: str) -> EndpointState:
        """Return what an endpoint is taken for."""
        (found,) = [each for each in self.client.endpoints() if each.address == address]
        return found.state

    async def until(self, address: str, state: EndpointState) -> None:
        """Wait until an endpoint is taken for something."""
        async with asyncio.timeout(TIMEOUT_S):
            while self.state(address) is not state:  # noqa: ASYNC110  # no event tells
                await asyncio.sleep(0.01)

    async def until_listed(self, nodes: Sequence[Served]) -> None:
        """Wait until these are the endpoints there are."""
        wanted = {node.address for node in nodes}
        async with asyncio.timeout(TIMEOUT_S):
            while wanted != {each.address for each in self.client.endpoints()}:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def calls(self, count: int) -> None:
        """Wait until so many calls more were answered."""
        wanted = len(self.callers.waits) + count
        async with asyncio.timeout(TIMEOUT_S):
            while len(self.callers.waits) < wanted:  # noqa: ASYNC110  # no event tells
                await asyncio.sleep(0.005)


@pytest.fixture(name="kind", params=["threads", "tasks"])
def kind_fixture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def under_load(
    kind: str, target: Any, balancing: Balancing | None = None
) -> AsyncIterator[Scene]:
    """Have callers call without a pause, with the deadline that clients have by themselves."""
    callers = Callers()
    if kind == "threads":
        client = placet.Client(target, tenant=TENANT, balancing=balancing)
        threads = [
            threading.Thread(target=callers.ask_on, args=[client], daemon=True)
            for _ in range(CALLERS)
        ]
        try:
            await asyncio.to_thread(client.wait_ready, timeout_s=TIMEOUT_S)
            for thread in threads:
                thread.start()
            yield Scene(client, callers)
        finally:
            callers.is_over = True
            for thread in threads:
                await asyncio.to_thread(thread.join)
            await asyncio.to_thread(client.close)
    else:
        async with placet.aio.Client(target, tenant=TENANT, balancing=balancing) as aio_client:
            await aio_client.wait_ready(timeout_s=TIMEOUT_S)
            tasks = [asyncio.create_task(callers.ask_on_aio(aio_client)) for _ in range(CALLERS)]
            try:
                yield Scene(aio_client, callers)
            finally:
                callers.is_over = True
                await asyncio.wait(tasks)


def addresses(nodes: Sequence[Served]) -> str:
    return ",".join(node.address for node in nodes)


@dataclass(slots=True)
class Gap:
    """How long callers waited around a fault, beside how long they waited before."""

    quiet_s: float
    since_s: float
    longest_s: float = 0.0


@contextmanager
def measured(scene: Scene) -> Iterator[Gap]:
    now_s = time.monotonic()
    gap = Gap(scene.callers.longest_s(float("-inf"), now_s), now_s)
    yield gap
    gap.longest_s = scene.callers.longest_s(now_s, time.monotonic())


async def test_a_node_that_is_killed_costs_no_call_and_comes_back(
    kind: str, tmp_path: Path
) -> None:
    async with fleet(tmp_path) as nodes, under_load(kind, addresses(nodes)) as scene:
        await scene.calls(1_000)
        with measured(scene) as gap:
            await nodes[0].signal(signal.SIGKILL)
            await scene.until(nodes[0].address, EndpointState.UNHEALTHY)
            await scene.calls(500)
        await nodes[0].start()
        await scene.until(nodes[0].address, EndpointState.READY)
        before = scene.callers.nodes["node-0"]
        await scene.calls(1_500)

        assert [] == scene.callers.errors
        assert gap.longest_s < KILLED_S + gap.quiet_s, gap
        assert scene.callers.nodes["node-0"] > before


async def test_a_node_that_hangs_costs_no_call_and_comes_back(kind: str, tmp_path: Path) -> None:
    async with fleet(tmp_path) as nodes, under_load(kind, addresses(nodes)) as scene:
        await scene.calls(1_000)
        with measured(scene) as gap:
            await nodes[0].signal(signal.SIGSTOP)
            await scene.until(nodes[0].address, EndpointState.UNHEALTHY)
            await scene.calls(500)
        await nodes[0].signal(signal.SIGCONT)
        await scene.until(nodes[0].address, EndpointState.READY)
        await scene.calls(500)

        assert [] == scene.callers.errors
        assert gap.longest_s < HUNG_S + gap.quiet_s, gap


async def test_a_node_that_is_cut_off_without_a_word_costs_no_call(
    kind: str, tmp_path: Path
) -> None:
    """In a network namespace of its own where one may be made, else behind a wire that swallows."""
    async with AsyncExitStack() as stack:
        if can_make_islands():
            there = stack.enter_context(island())
            nodes = await stack.enter_async_context(fleet(tmp_path, islands=[there]))
            lonely, cut = nodes[0].address, there.cut
        else:
            nodes = await stack.enter_async_context(fleet(tmp_path))
            wire = await stack.enter_async_context(wire_to(nodes[0].address))
            lonely, cut = wire.address, wire.cut
        target = [lonely, nodes[1].address, nodes[2].address]
        scene = await stack.enter_async_context(under_load(kind, target))
        await scene.calls(1_000)
        with measured(scene) as gap:
            cut()
            await scene.until(lonely, EndpointState.UNHEALTHY)
            await scene.calls(500)

        assert [] == scene.callers.errors
        assert gap.longest_s < HUNG_S + gap.quiet_s, gap


async def test_a_node_that_slows_down_gets_fewer_calls_by_least_request(
    kind: str, tmp_path: Path
) -> None:
    shares = {}
    async with fleet(tmp_path) as nodes, wire_to(nodes[0].address) as wire:
        wire.delay_s = 0.05
        target = [wire.address, nodes[1].address, nodes[2].address]
        for strategy in ("round_robin", "least_request"):
            async with under_load(kind, target, Balancing(strategy=strategy)) as scene:
                await scene.calls(600)
                assert [] == scene.callers.errors
                shares[strategy] = scene.callers.nodes["node-0"] / len(scene.callers.waits)

    assert shares["least_request"] < 0.6 * shares["round_robin"], shares


async def test_a_region_that_is_lost_moves_calls_to_an_allowed_fallback_only(
    kind: str, tmp_path: Path
) -> None:
    async with fleet(tmp_path, 4) as nodes:
        regions = ("eu-west", "eu-west", "eu-central", "us-east")
        target = [
            placet.Endpoint(node.address, region=region)
            for node, region in zip(nodes, regions, strict=True)
        ]
        balancing = Balancing(regions=["eu-west", "eu-central"])
        forbidden_before = await decided(nodes[3])
        async with under_load(kind, target, balancing) as scene:
            await scene.calls(500)
            near = Counter(scene.callers.nodes)
            with measured(scene) as gap:
                for node in nodes[:2]:
                    await node.signal(signal.SIGKILL)
                for node in nodes[:2]:
                    await scene.until(node.address, EndpointState.UNHEALTHY)
                await scene.calls(500)

            assert [] == scene.callers.errors
            assert {"node-0", "node-1"} == set(near)
            assert {"node-0", "node-1", "node-2"} == set(scene.callers.nodes)
            assert gap.longest_s < HUNG_S + gap.quiet_s, gap
        assert forbidden_before == await decided(nodes[3])


async def test_a_route_that_is_watched_leads_on_when_its_region_is_lost(
    kind: str, tmp_path: Path
) -> None:
    """The server says which regions are allowed, and in which order; the client knows one node."""
    regions = ("eu-west", "eu-west", "eu-central", "us-east")
    async with fleet(tmp_path, 4, regions=regions) as nodes:
        async with placet.aio.Client(nodes[0].address) as client:
            rule = placet.ResidencyRule.EU_ONLY
            await client.put_tenant(placet.Placement(tenant=TENANT, residency=rule))
        target = placet.Topology(
            bootstrap=nodes[2].address, place=placet.InRegion("eu-west"), tenant=TENANT
        )
        async with under_load(kind, target) as scene:
            await scene.until_listed(nodes[:3])
            await scene.calls(500)
            near = Counter(scene.callers.nodes)
            for node in nodes[:2]:
                await node.signal(signal.SIGKILL)
            await scene.until_listed(nodes[2:3])
            await scene.calls(500)
            moved = Counter(scene.callers.nodes) - near

            assert [] == scene.callers.errors
            assert near.keys() <= {"node-0", "node-1", "node-2"}
            assert moved["node-2"] >= 500
            assert "node-3" not in moved


async def decided(node: Served) -> int:
    """Return how many decisions a node has been asked for."""
    async with placet.aio.Client(node.address) as client:
        return (await client.cache_statistics(timeout_s=TIMEOUT_S)).total.requests


async def test_publishes_survive_a_kill_and_happen_once(kind: str, tmp_path: Path) -> None:
    """What was under way at the dead node is repeated elsewhere, with the same request id."""
    published: list[int] = []
    async with fleet(tmp_path) as nodes:
        async with AsyncExitStack() as stack:
            publish = await publishing(stack, kind, addresses(nodes))
            for number in range(15):
                published.append(await publish(change(number)))
            killing = asyncio.create_task(nodes[0].signal(signal.SIGKILL))
            for number in range(15, 40):
                published.append(await publish(change(number)))
            await killing
        async with placet.aio.Client(nodes[1].address, tenant=TENANT) as client:
            history = [revision.revision async for revision in client.history()]

    # And the one publish of the fleet's own.
    assert sorted(published) == sorted(history)[1:]


async def publishing(
    stack: AsyncExitStack, kind: str, target: str
) -> Callable[[placet.ChangeSet], Awaitable[int]]:
    """Return what publishes with one client or the other, and returns the revision."""
    if kind == "threads":
        client = stack.enter_context(placet.Client(target, tenant=TENANT))

        async def publish(change_set: placet.ChangeSet) -> int:
            return (await asyncio.to_thread(client.publish, change_set)).revision

        return publish
    aio_client = await stack.enter_async_context(placet.aio.Client(target, tenant=TENANT))

    async def publish_aio(change_set: placet.ChangeSet) -> int:
        return (await aio_client.publish(change_set)).revision

    return publish_aio


def change(number: int) -> placet.ChangeSet:
    return placet.ChangeSet(policies=[placet.Policy(id=f"number/{number}", cedar=ALLOW)])


async def test_what_follows_policies_goes_on_at_another_node(tmp_path: Path) -> None:
    async with fleet(tmp_path) as nodes:

        def follow() -> None:
            with (
                placet.Client(addresses(nodes[1:]), tenant=TENANT) as publishing,
                LocalEvaluator(addresses(nodes), tenant=TENANT) as local,
                placet.Client(addresses(nodes), tenant=TENANT) as client,
                client.subscribe() as subscription,
            ):
                local.wait_ready(timeout_s=TIMEOUT_S)
                subscription.wait_ready(timeout_s=TIMEOUT_S)
                for node in nodes[:2]:
                    assert node.process is not None
                    node.process.send_signal(signal.SIGKILL)
                    publication = publishing.publish(change(nodes.index(node)))
                    decision = local.evaluate(
                        *ASKED, min_revision=publication.revision, timeout_s=TIMEOUT_S
                    )
                    assert decision.allowed
                    while subscription.revision < publication.revision:
                        assert subscription.next_event(timeout_s=TIMEOUT_S) is not None

        await asyncio.to_thread(follow)
