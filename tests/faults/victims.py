"""What runs in the processes that the fault tests kill."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from placet_engine.items import Revision
from placet_server.store.contract import (
    LeadershipLost,
    RevisionConflict,
    Store,
    StoreUnavailable,
)
from placet_server.store.ledger import (
    AuditEntry,
    Key,
    Record,
    RecordKind,
    TallyEntry,
    Transaction,
)
from placet_server.store.postgres import PostgresStore
from placet_server.store.postgres.address import Address
from placet_server.store.sql_store import SqlStore
from placet_server.store.sqlite import SqliteStore
from tests.conformance.stores import NOON, info, write
from tests.waiting import until

DEADLINE_S = 60.0
ITEMS = ("a", "b", "c")
OWNERS = ("acme", "globex")

# A server that has imported all this forks each victim: that takes milliseconds, not a second.
_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


def start(target: Callable[..., None], *arguments: object) -> ForkServerProcess:
    victim = _CONTEXT.Process(target=target, args=arguments, daemon=True)
    victim.start()
    return victim


def pipe() -> tuple[Connection[Any, Any], Connection[Any, Any]]:
    """Return the end to read from and the end for the victim, to be closed here once it runs."""
    return _CONTEXT.Pipe(duplex=False)


def append_forever(path: Path, acknowledged: Connection[Any, Any], seed: int) -> None:
    """Commit without end, for two owners at once, and send each revision when it is durable."""

    async def run() -> None:
        async with await SqliteStore.open(path) as store, asyncio.TaskGroup() as group:
            for owner in OWNERS:
                group.create_task(_append_on_and_on(store, owner, acknowledged, seed))

    asyncio.run(run())


async def _append_on_and_on(
    store: Store, owner: str, acknowledged: Connection[Any, Any], seed: int
) -> None:
    rng = random.Random(f"{owner} {seed}")
    revision = (await store.read(owner)).revision
    for number in itertools.count():
        # All items of a commit say the same, in one page of the file or in many.
        mark = f"{seed}.{number}"
        cedar = f"// {mark} ".ljust(rng.choice([20, 2_000, 60_000]), "x")
        done = await store.append(
            owner,
            [write(policy_id, cedar) for policy_id in ITEMS],
            expected=revision,
            info=info(f"request-{mark}", message=mark),
        )
        revision = done.revision
        acknowledged.send((int(revision), owner, mark))


def append_while_leading(place: str, told: Connection[Any, Any]) -> None:
    """Lead, and commit without end as whoever leads does, until that is refused."""

    async def run() -> None:
        async with await open_store(place) as store, store.lead("rollouts", holder="v") as leads:
            told.send("leads")
            revision = Revision(0)
            for number in itertools.count():
                edits = [write("a", f"// {number}")]
                try:
                    done = await store.append(
                        "acme", edits, expected=revision, info=info(), fence=leads.fence
                    )
                except LeadershipLost:
                    told.send("lost")
                    return
                except StoreUnavailable:
                    # Whoever hung in the middle of a transaction for longer than is waited for
                    # is told so, and tries again.
                    continue
                except RevisionConflict as conflict:
                    revision = conflict.actual
                    continue
                revision = done.revision

    asyncio.run(run())


COUNTER = Key(RecordKind.RUN, "acme", "counter")


async def count_one(tx: Transaction) -> int:
    """Count up, in a record, a tally and the audit log; return how far."""
    before = await tx.get(COUNTER)
    number = 1 if before is None else int(before.body["number"]) + 1
    tx.put(Record(key=COUNTER, body={"number": number}, found_by={"number": [str(number)]}))
    tx.add("acme", TallyEntry("counted", str(number), NOON, 1))
    tx.audit(
        "acme",
        AuditEntry(
            type="counted", time=NOON, actor="victim", target="counter", data={"number": number}
        ),
    )
    return number


def count_forever(place: str, acknowledged: Connection[Any, Any]) -> None:
    """Count without end, several at once, and send each number when it is durable."""

    async def count(store: Store) -> None:
        while True:
            acknowledged.send(await store.ledger.transact(count_one))

    async def run() -> None:
        async with await open_store(place) as store, asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(count(store))

    asyncio.run(run())


async def hang(victim: ForkServerProcess, place: str) -> None:
    """Stop a victim that commits to a store, until it is told to go on.

    If the store is a file, between two transactions: nobody could take the file's lock from it.
    A server does so by itself: there it is stopped in the middle of one.
    """
    pid = victim.pid or 0
    while True:
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: _is_stopped(pid))
        if "://" in place:
            is_worst = await _has_table_locked(place)
        else:
            is_worst = not _is_locked(Path(place))
        if is_worst:
            return
        os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(0.002)  # it goes on, to somewhere else


def _is_stopped(pid: int) -> bool:
    """Whether all threads of a process have come to a stop, which the signal does not wait for."""
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(thread.read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)


def _is_locked(path: Path) -> bool:
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as file:
        try:
            file.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
    return False


async def _has_table_locked(url: str) -> bool:
    """Whether somebody is in the middle of a transaction that writes."""
    connection = await Address.parse(url).connect()
    try:
        return bool(await connection.fetchval(_LOCKED))
    finally:
        await connection.close()


_LOCKED = """
SELECT count(*) FROM pg_locks
WHERE relation = 'store_meta'::regclass AND mode = 'ShareRowExclusiveLock' AND granted
"""


async def open_store(place: str) -> SqlStore:
    """Open the store in a file or in a PostgreSQL database."""
    if "://" in place:
        return await PostgresStore.open(Address.parse(place))
    return await SqliteStore.open(Path(place))


def open_until_statement(path: Path, fatal: int) -> None:
    """Open a store, but die before the given statement or commit."""

    async def run() -> None:
        _die_at(fatal)
        async with await SqliteStore.open(path):
            pass

    asyncio.run(run())


def append_until_statement(path: Path, fatal: int) -> None:
    """Append, but die before the given statement or commit of it."""

    async def run() -> None:
        async with await SqliteStore.open(path) as store:
            revision = (await store.read("acme")).revision
            edits = [write(policy_id, f"// {fatal}") for policy_id in ITEMS]
            _die_at(fatal)
            await store.append("acme", edits, expected=Revision(revision), info=info())

    asyncio.run(run())


def compact_until_statement(path: Path, fatal: int) -> None:
    """Compact up to the head, but die before the given statement or commit of it."""

    async def run() -> None:
        async with await SqliteStore.open(path) as store:
            head = await store.head()
            _die_at(fatal)
            await store.compact(head)

    asyncio.run(run())


def _die_at(fatal: int) -> None:
    remaining = itertools.count(fatal - 1, -1)

    def count(*_: object) -> None:
        if next(remaining) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", count)
    event.listen(Engine, "commit", count)
