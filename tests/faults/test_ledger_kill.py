"""SIGKILL in the middle of many changes: each happened whole and once, or not at all."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from placet_server.store.ledger.tables import audit_logs, audit_records
from placet_server.store.sql_store import SqlStore
from placet_server.stores import opened_database
from tests.faults import victims
from tests.postgres import new_schema

ROUNDS = 8
SEED = 20260601


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_changes_of_a_killed_process_are_whole(tmp_path: Path, kind: str) -> None:
    place = new_schema() if kind == "postgres" else str(tmp_path / "store.db")
    rng = random.Random(SEED)
    acknowledged: list[int] = []
    for _ in range(ROUNDS):
        acknowledged += await asyncio.to_thread(_count_until_killed, place, rng)
        async with await victims.open_store(place) as store:
            await _check(store, place, acknowledged)

    assert len(acknowledged) > ROUNDS


def _count_until_killed(place: str, rng: random.Random) -> list[int]:
    reading, writing = victims.pipe()
    with reading:
        with writing:
            victim = victims.start(victims.count_forever, place, writing)
        numbers = [reading.recv() for _ in range(rng.randrange(1, 60))]
        reading.poll(rng.uniform(0, 0.005))
        victim.kill()
        victim.join(victims.DEADLINE_S)
        while True:
            try:
                numbers.append(reading.recv())
            except EOFError:
                return numbers


async def _check(store: SqlStore, place: str, acknowledged: list[int]) -> None:
    record = await store.ledger.read(lambda tx: tx.get(victims.COUNTER))
    tally = await store.ledger.read(lambda tx: tx.tally("acme", "counted", since=None))
    assert record is not None
    number = record.body["number"]

    assert len(set(acknowledged)) == len(acknowledged), "the same number was given out twice"
    assert max(acknowledged) <= number
    assert record.version == number
    assert tally == (number, number)
    async with opened_database(place, is_there="://" not in place) as opened:
        assert await opened.database.read(_log_sizes) == (number, number, number - 1)


async def _log_sizes(connection: AsyncConnection) -> tuple[int, int, int]:
    size = await connection.scalar(select(audit_logs.c.size))
    counted = select(func.count(), func.max(audit_records.c.position))
    count, last = (await connection.execute(counted)).one()
    return int(size or 0), count, last
