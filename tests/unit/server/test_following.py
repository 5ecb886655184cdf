"""How a node follows its store: window, hub, feed and what happens when they cannot."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest

from placet_engine.changes import Commit, Edit, ItemChange, ItemSet
from placet_engine.compiled_items import CompiledItems
from placet_engine.compiling import Compilation, Compiler
from placet_engine.items import PLATFORM, Item, Policy, Revision
from placet_engine.model import Outcome, Problem, Severity
from placet_engine.placement.regions import DEFAULT_REGIONS, Regions
from placet_server.errors import RevisionNotReached, TenantUnknown, TooManySubscribers
from placet_server.policies.active import ActivePolicies
from placet_server.policies.feed import Feed
from placet_server.policies.hub import FellBehind, Hub, NodeLeaving
from placet_server.policies.residency import Residency, Step
from placet_server.policies.window import CommitWindow
from placet_server.store.contract import CommitInfo, StoreUnavailable
from placet_server.store.memory import MemoryStore
from placet_server.testing import ManualClock
from tests.unit.engine import make

NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
TIMEOUT_S = 5.0


def _commit(revision: int, changes: int = 1) -> Commit:
    items = [
        Item("acme", Revision(revision), Policy(id=f"p{number}", cedar="x"))
        for number in range(changes)
    ]
    return Commit(
        revision=Revision(revision),
        owner="acme",
        time=NOON,
        changes=tuple(ItemChange(None, item) for item in items),
    )


# ------------------------------------------------------------------------------- window


def _revisions(commits: list[Commit] | None) -> list[int] | None:
    return None if commits is None else [commit.revision for commit in commits]


def test_a_window_returns_what_follows_a_revision() -> None:
    window = CommitWindow(Revision(10), max_commits=100, max_changes=100)
    for revision in (11, 12, 13):
        window.add(_commit(revision))

    assert _revisions(window.after(Revision(10))) == [11, 12, 13]
    assert _revisions(window.after(Revision(12))) == [13]
    assert _revisions(window.after(Revision(13))) == []
    assert window.after(Revision(9)) is None


@pytest.mark.parametrize(("max_commits", "max_changes"), [(2, 100), (100, 4)])
def test_a_window_lets_go_of_the_oldest(max_commits: int, max_changes: int) -> None:
    window = CommitWindow(Revision(0), max_commits=max_commits, max_changes=max_changes)
    for revision in range(1, 6):
        window.add(_commit(revision, changes=2))

    assert window.earliest == 3
    assert _revisions(window.after(Revision(3))) == [4, 5]
    assert window.after(Revision(2)) is None


# ---------------------------------------------------------------------------------- hub


async def test_a_full_queue_ends_its_subscription_and_no_other() -> None:
    hub = Hub(max_subscriptions=10, max_waiting=2)
    with hub.subscription() as slow, hub.subscription() as quick:
        for revision in (1, 2, 3):
            hub.broadcast(Step(_commit(revision)))
            taken = await quick.next(TIMEOUT_S)
            assert taken is not None
            assert taken.revision == revision
        with pytest.raises(FellBehind):
            await slow.next(TIMEOUT_S)
        assert len(hub) == 1


async def test_a_subscription_without_commits_returns_nothing_in_time() -> None:
    hub = Hub(max_subscriptions=1, max_waiting=1)
    with hub.subscription() as subscription:
        assert await subscription.next(0.001) is None


async def test_a_commit_wakes_who_waits_for_it() -> None:
    hub = Hub(max_subscriptions=1, max_waiting=1)
    with hub.subscription() as subscription:
        waiting = asyncio.create_task(subscription.next(TIMEOUT_S))
        await asyncio.sleep(0)
        hub.broadcast(Step(_commit(7)))
        taken = await waiting

    assert taken is not None
    assert taken.revision == 7


async def test_leaving_ends_all_subscriptions_at_once() -> None:
    hub = Hub(max_subscriptions=2, max_waiting=5)
    with hub.subscription() as subscription:
        hub.broadcast(Step(_commit(1)))
        hub.leave()
        with pytest.raises(NodeLeaving):
            await subscription.next(TIMEOUT_S)


async def test_more_subscriptions_than_allowed_are_refused_until_one_is_closed() -> None:
    hub = Hub(max_subscriptions=1, max_waiting=1)
    with hub.subscription(), pytest.raises(TooManySubscribers), hub.subscription():
        pass
    with hub.subscription():
        assert len(hub) == 1


# --------------------------------------------------------------------------------- feed


class _FailingCompiler(Compiler):
    """Refuses sets with a policy called ``poison``, as another version might."""

    def compile(
        self, platform: ItemSet, own: ItemSet, base: CompiledItems | None = None
    ) -> Compilation:
        if any(key.id == "poison" for key in own.items):
            problem = Problem(severity=Severity.ERROR, reason="POLICY_SYNTAX", message="no")
            return Compilation(None, (problem,))
        if any(key.id == "crash" for key in own.items):
            raise RuntimeError("a mistake in the compiler")
        return super().compile(platform, own, base)


class _Node:
    """A store, what follows it, and what there is to see."""

    def __init__(self, store: MemoryStore, compiler: Compiler) -> None:
        self.store = store
        self.clock = ManualClock()
        self.active = ActivePolicies(self.clock)
        self.hub = Hub(max_subscriptions=10, max_waiting=10)
        self._executor = ThreadPoolExecutor(1)
        self.feed = Feed(
            source=store,
            compiler=compiler,
            executor=self._executor,
            active=self.active,
            hub=self.hub,
            residency=Residency(Regions(DEFAULT_REGIONS, here="eu-west")),
            confirm_every_s=0.001,
        )

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        await self.feed.load()
        task = asyncio.create_task(self.feed.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._executor.shutdown()

    async def commit(self, id_: str, cedar: str = "permit(principal, action, resource);") -> int:
        policy = Policy(id=id_, cedar=cedar)
        current = await self.store.read("acme")
        made = await self.store.append(
            "acme",
            [Edit(policy.key, policy)],
            expected=current.revision,
            info=CommitInfo(time=NOON),
        )
        return made.revision

    async def reach(self, revision: int) -> None:
        await self.active.wait_for(Revision(revision), TIMEOUT_S)


async def _until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not holds():  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0.001)


async def test_a_commit_is_decided_by_as_soon_as_it_was_taken_over() -> None:
    node = _Node(MemoryStore(), Compiler())
    async with node.following():
        with pytest.raises(TenantUnknown):
            node.active.program("acme")
        await node.reach(await node.commit("p"))
        answer = node.active.program("acme").judge(make.request())

    assert getattr(answer, "outcome", None) is Outcome.ALLOW


async def test_what_does_not_compile_here_leaves_the_former_program_and_says_so() -> None:
    node = _Node(MemoryStore(), _FailingCompiler())
    async with node.following():
        await node.reach(await node.commit("p"))
        await node.reach(await node.commit("poison"))
        node.clock.advance(40)
        await _until(lambda: node.active.node_staleness_s() == 0)

        assert node.active.program("acme").revision == 1
        assert node.active.staleness_s("acme") == 40
        assert node.active.items(PLATFORM).items == {}


async def test_a_failure_is_retried_and_the_feed_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    node = _Node(MemoryStore(), _FailingCompiler())
    async with node.following():
        await node.reach(await node.commit("p"))
        await node.commit("crash")
        await _until(lambda: "could not be taken over" in caplog.text)
        with pytest.raises(RevisionNotReached):
            await node.active.wait_for(Revision(2), 0.01)

        assert node.active.program("acme").revision == 1


async def test_a_store_that_is_away_makes_the_node_stale_and_then_current_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = _Node(MemoryStore(), Compiler())
    async with node.following():
        await node.reach(await node.commit("p"))
        await _until(lambda: node.active.staleness_s("acme") == 0)

        async def away() -> Revision:
            raise StoreUnavailable("gone")

        monkeypatch.setattr(node.store, "head", away)
        await asyncio.sleep(0.01)
        node.clock.advance(12)
        assert node.active.staleness_s("acme") == 12
        assert node.active.program("acme").revision == 1

        monkeypatch.undo()
        await _until(lambda: node.active.staleness_s("acme") == 0)


async def test_a_node_away_longer_than_commits_are_kept_starts_over() -> None:
    store = MemoryStore()
    node = _Node(store, Compiler())
    await node.commit("p")
    await node.feed.load()
    for number in range(3):
        await node.commit(f"q{number}")
    await store.compact(Revision(3))
    with node.hub.subscription() as subscription:
        following = asyncio.create_task(node.feed.run())
        await node.reach(4)
        with pytest.raises(FellBehind):
            await subscription.next(TIMEOUT_S)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    assert node.feed.window.earliest == 3
    assert len(node.active.items("acme").items) == 4


async def test_who_subscribes_while_a_node_starts_over_is_told_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It began with what was before, and was never sent what came until the node was back."""
    store = MemoryStore()
    node = _Node(store, Compiler())
    await node.commit("p")
    await node.feed.load()
    for number in range(3):
        await node.commit(f"q{number}")
    await store.compact(Revision(3))
    reading, go_on = asyncio.Event(), asyncio.Event()
    read = store.read

    async def slowly(owner: str, **at: Any) -> ItemSet:
        reading.set()
        await go_on.wait()
        return await read(owner, **at)

    monkeypatch.setattr(store, "read", slowly)
    following = asyncio.create_task(node.feed.run())
    await asyncio.wait_for(reading.wait(), TIMEOUT_S)
    with node.hub.subscription() as subscription:
        before = node.active.revision
        go_on.set()
        with pytest.raises(FellBehind):
            await subscription.next(TIMEOUT_S)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)

    assert (before, node.active.revision) == (1, 4)
