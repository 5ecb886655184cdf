"""SIGKILL leaves what was acknowledged, exactly once, and nothing half done."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import aclosing
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from placet_engine.changes import Commit
from placet_engine.items import Policy, Revision
from placet_server.store.contract import Store
from placet_server.store.sqlite import SqliteStore
from tests.conformance.stores import EMPTY, commit, remove, take, texts, write
from tests.faults import victims

ROUNDS = 24
SEED = 20250601


@pytest.mark.slow
async def test_killed_writer_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    """Many rounds over one file: each continues what the killed ones before it left."""
    path = tmp_path / "store.db"
    rng = random.Random(SEED)
    known: list[Commit] = []
    acknowledged: dict[int, tuple[str, str]] = {}

    for seed in range(ROUNDS):
        acknowledged |= await asyncio.to_thread(_append_until_killed, path, seed, rng)
        async with await SqliteStore.open(path) as store:
            known = await _check(store, known, acknowledged)

    assert len(known) >= ROUNDS


def _append_until_killed(path: Path, seed: int, rng: random.Random) -> dict[int, tuple[str, str]]:
    reading, writing = victims.pipe()
    with reading:
        with writing:
            victim = victims.start(victims.append_forever, path, writing, seed)
        acknowledged = dict(itertools.islice(_acknowledged(reading), rng.randrange(30)))
        # An acknowledgement always comes at the same point of an append: go on to another.
        reading.poll(rng.uniform(0, 0.01))
        _kill(victim)
        acknowledged |= dict(_acknowledged(reading))
    return acknowledged


def _acknowledged(reading: Connection[Any, Any]) -> Iterator[tuple[int, tuple[str, str]]]:
    while reading.poll(victims.DEADLINE_S):
        try:
            revision, owner, mark = reading.recv()
        except EOFError:
            return
        yield revision, (owner, mark)
    pytest.fail(f"the writer did nothing for {victims.DEADLINE_S} s")


def _kill(victim: ForkServerProcess) -> None:
    victim.kill()
    victim.join(victims.DEADLINE_S)
    assert victim.exitcode == -signal.SIGKILL, "the writer ended before it was killed"
    victim.close()


async def _check(
    store: Store, known: list[Commit], acknowledged: dict[int, tuple[str, str]]
) -> list[Commit]:
    log = await store.commits(EMPTY, limit=1_000_000)

    assert [each.revision for each in log] == list(range(1, len(log) + 1))
    assert log[: len(known)] == known
    found = {int(each.revision): (each.owner, each.message) for each in log}
    assert acknowledged.items() <= found.items()
    assert len({(each.owner, each.request_id) for each in log}) == len(log)
    # One commit of each owner may have been made in each round without anyone hearing of it.
    assert len(log) - len(acknowledged) <= len(victims.OWNERS) * ROUNDS
    for each in log:
        assert _marks(each) == [each.message] * len(victims.ITEMS)
    for owner in victims.OWNERS:
        newest = [each for each in log if each.owner == owner][-1:]
        assert list((await store.read(owner)).items.values()) == [
            change.after for each in newest for change in each.changes
        ]
    return log


def _marks(each: Commit) -> list[str]:
    return [
        change.after.body.cedar.split()[1]
        for change in each.changes
        if change.after and isinstance(change.after.body, Policy)
    ]


async def test_watcher_sees_what_another_process_commits(tmp_path: Path) -> None:
    count = 40
    path = tmp_path / "store.db"
    reading, writing = victims.pipe()
    async with await SqliteStore.open(path) as store:
        with reading, writing:
            victim = victims.start(victims.append_forever, path, writing, SEED)
            async with aclosing(store.watch(EMPTY)) as watch:
                seen = await take(watch, count)
                await asyncio.to_thread(_kill, victim)

                head = await store.head()
                seen += await take(watch, head - count)

        assert [each.revision for each in seen] == list(range(1, head + 1))
        assert seen == await store.commits(EMPTY, limit=head)


async def test_opening_can_die_at_any_statement(tmp_path: Path) -> None:
    """The file it leaves, migrated or not, is one that opens."""
    for fatal in itertools.count(1):
        path = tmp_path / f"store-{fatal}.db"
        has_died = await _dies(victims.open_until_statement, path, fatal)
        async with await SqliteStore.open(path) as store:
            assert await store.head() == 0
            assert (await commit(store, "acme", write("a"))).revision == 1
        if not has_died:
            break

    assert fatal > 10, "the victim lived on: nothing was tested"


async def test_appending_can_die_at_any_statement(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with await SqliteStore.open(path) as store:
        before = await commit(store, "acme", *(write(each, "// 0") for each in victims.ITEMS))

    for fatal in itertools.count(1):
        has_died = await _dies(victims.append_until_statement, path, fatal)
        async with await SqliteStore.open(path) as store:
            if not has_died:
                break
            assert await store.head() == before.revision
            assert await store.commits(EMPTY, limit=9) == [before]
            assert await texts(store, "acme") == dict.fromkeys(victims.ITEMS, "// 0")

    assert fatal > 5, "the victim lived on: nothing was tested"
    async with await SqliteStore.open(path) as store:
        assert await store.head() == before.revision + 1
        assert await texts(store, "acme") == dict.fromkeys(victims.ITEMS, f"// {fatal}")


async def test_compacting_can_die_at_any_statement(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with await SqliteStore.open(path) as store:
        await commit(store, "acme", write("a", "// 1"), write("b", "// 1"))
        await commit(store, "acme", write("a", "// 2"), remove("b"))
        log = await store.commits(EMPTY, limit=9)

    for fatal in itertools.count(1):
        has_died = await _dies(victims.compact_until_statement, path, fatal)
        async with await SqliteStore.open(path) as store:
            assert await texts(store, "acme") == {"a": "// 2"}
            if not has_died:
                break
            assert await store.commits(EMPTY, limit=9) == log
            assert await texts(store, "acme", at=Revision(1)) == {"a": "// 1", "b": "// 1"}

    assert fatal > 3, "the victim lived on: nothing was tested"
    async with await SqliteStore.open(path) as store:
        assert await store.earliest() == 2


async def _dies(target: Callable[..., None], path: Path, fatal: int) -> bool:
    """Run a victim to its end, and return whether it died where it should."""
    victim = victims.start(target, path, fatal)
    await asyncio.to_thread(victim.join, victims.DEADLINE_S)
    assert victim.exitcode in (0, -signal.SIGKILL)
    return victim.exitcode != 0
