"""The ledger's contract, for every implementation."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

import pytest

from placet_server.store.contract import Store, StoreUnavailable
from placet_server.store.ledger import (
    AuditEntry,
    Key,
    LedgerBusy,
    Page,
    Reading,
    Record,
    RecordChanged,
    RecordKind,
    Span,
    Tally,
    TallyEntry,
    Transaction,
)
from placet_server.store.ledger import sql_ledger as sql
from tests.conformance.stores import DEADLINE_S, NOON, OpenStore

_HOUR = datetime.timedelta(hours=1)


def key(record_id: str, tenant: str = "acme", kind: RecordKind = RecordKind.RUN) -> Key:
    return Key(kind, tenant, record_id)


def record(
    record_id: str,
    found_by: Mapping[str, Sequence[str]] | None = None,
    *,
    tenant: str = "acme",
    **body: object,
) -> Record:
    return Record(key=key(record_id, tenant), body=body, found_by=found_by or {})


def entry(kind: str = "run.started", **data: object) -> AuditEntry:
    return AuditEntry(type=kind, time=NOON, actor="alice", target="r1", data=data)


async def put(store: Store, *records: Record) -> list[Record]:
    async def work(tx: Transaction) -> list[Record]:
        for one in records:
            await tx.get(one.key)
        return [tx.put(one) for one in records]

    return await store.ledger.transact(work)


async def get(store: Store, record_key: Key) -> Record | None:
    return await store.ledger.read(lambda tx: tx.get(record_key))


async def find(store: Store, index: str, span: Span = Span(), **how: object) -> list[str]:  # noqa: B008
    return [one.key.id for one in (await find_page(store, index, span, **how)).records]


async def find_page(store: Store, index: str, span: Span = Span(), **how: object) -> Page:  # noqa: B008
    wanted = {"tenant": "acme", "limit": 100, **how}

    async def work(tx: Reading) -> Page:
        return await tx.find(RecordKind.RUN, index, span, **wanted)  # type: ignore[arg-type]

    return await store.ledger.read(work)


# --------------------------------------------------------------------------------- records


async def test_a_record_is_what_was_put(store: Store) -> None:
    [written] = await put(store, record("r1", {"state": ["due"]}, note="é \0 😀", n=[1, None]))

    assert written.version == 1
    assert await get(store, key("r1")) == replace(
        written, found_by={"state": ("due",)}, body={"note": "é \0 😀", "n": [1, None]}
    )
    assert await get(store, key("r1", tenant="globex")) is None
    assert await get(store, key("r1", kind=RecordKind.AGENT)) is None


async def test_versions_grow_with_every_write(store: Store) -> None:
    await put(store, record("r1", a=1))
    [second] = await put(store, record("r1", a=2))

    assert second.version == 2
    found = await get(store, key("r1"))
    assert found is not None
    assert (found.version, found.body) == (2, {"a": 2})


async def test_an_expected_version_that_is_not_there_changes_nothing(store: Store) -> None:
    await put(store, record("r1", a=1))

    async def work(tx: Transaction) -> None:
        await tx.get(key("r1"))
        tx.put(record("other"), expected=0)
        tx.put(record("r1", a=2), expected=7)

    with pytest.raises(RecordChanged, match="version 1, not 7"):
        await store.ledger.transact(work)
    assert await get(store, key("other")) is None


async def test_a_work_sees_what_it_wrote(store: Store) -> None:
    async def work(tx: Transaction) -> list[object]:
        await tx.get(key("r1"))
        first = tx.put(record("r1", a=1))
        seen = await tx.get(key("r1"))
        second = tx.put(record("r1", a=2), expected=1)
        tx.delete(key("r1"))
        return [first.version, seen == first, second.version, await tx.get(key("r1"))]

    assert await store.ledger.transact(work) == [1, True, 2, None]
    assert await get(store, key("r1")) is None


async def test_a_work_that_fails_leaves_nothing(store: Store) -> None:
    async def work(tx: Transaction) -> None:
        tx.put(record("r1", {"state": ["due"]}))
        tx.add("acme", TallyEntry("s", "a1", NOON, 5))
        tx.audit("acme", entry())
        raise KeyError("no")

    with pytest.raises(KeyError):
        await store.ledger.transact(work)
    assert await get(store, key("r1")) is None
    assert await find(store, "state") == []
    assert await tally(store, "s") == Tally(0, 0)


async def test_texts_that_cannot_be_sorted_are_refused(store: Store) -> None:
    for bad in (record("r\0"), record("r", {"i": ["x" * 513]}), record("r", {"i": ["\0"]})):
        with pytest.raises(ValueError, match="NUL or is too long"):
            await put(store, bad)


# ------------------------------------------------------------------------------- finding


async def test_records_are_found_by_their_texts_in_order(store: Store) -> None:
    await put(
        store,
        record("a", {"at": ["3"], "tag": ["x", "y"]}),
        record("b", {"at": ["1"]}),
        record("c", {"at": ["2"], "tag": ["x"]}),
        record("d", {"at": ["2"]}, tenant="globex"),
    )

    assert await find(store, "at") == ["b", "c", "a"]
    assert await find(store, "at", descending=True) == ["a", "c", "b"]
    assert await find(store, "at", tenant=None) == ["b", "c", "d", "a"]
    assert await find(store, "at", Span("2")) == ["c", "a"]
    assert await find(store, "at", Span("1", "3")) == ["b", "c"]
    assert await find(store, "at", Span.exactly("2"), tenant=None) == ["c", "d"]
    assert await find(store, "tag", Span.exactly("x")) == ["a", "c"]
    assert await find(store, "none") == []
    with pytest.raises(ValueError, match="limit"):
        await find(store, "at", limit=0)


async def test_prefixes_and_exact_texts_are_told_apart(store: Store) -> None:
    texts = ["ab", "ab!", "ab\\", "ab.c", "abc", "b", "ab\U0010fffe"]
    await put(store, *(record(f"r{n}", {"at": [text]}) for n, text in enumerate(texts)))

    assert await find(store, "at", Span.exactly("ab")) == ["r0"]
    assert sorted(await find(store, "at", Span.prefix("ab"))) == [
        "r0",
        "r1",
        "r2",
        "r3",
        "r4",
        "r6",
    ]
    assert await find(store, "at", Span.prefix("ab.")) == ["r3"]
    assert await find(store, "at") == [f"r{texts.index(text)}" for text in sorted(texts)]


async def test_pages_follow_each_other(store: Store) -> None:
    await put(store, *(record(f"r{n}", {"at": [str(n // 2)]}) for n in range(5)))
    for descending in (False, True):
        for tenant in ("acme", None):
            ids: list[str] = []
            after = None
            while True:
                page = await find_page(
                    store, "at", limit=2, after=after, descending=descending, tenant=tenant
                )
                ids += [one.key.id for one in page.records]
                after = page.next
                if after is None:
                    break
            assert ids == sorted(ids, reverse=descending)
            assert len(ids) == 5


async def test_texts_go_with_their_records(store: Store) -> None:
    await put(store, record("r1", {"state": ["due"], "at": ["1"]}))
    await put(store, record("r1", {"state": ["running"], "at": ["1"]}))
    assert await find(store, "state", Span.exactly("due")) == []
    assert await find(store, "state", Span.exactly("running")) == ["r1"]
    assert await find(store, "at") == ["r1"]

    async def remove(tx: Transaction) -> None:
        await tx.get(key("r1"))
        tx.delete(key("r1"))

    await store.ledger.transact(remove)
    assert await find(store, "at") == []


async def test_finding_comes_before_writing(store: Store) -> None:
    async def work(tx: Transaction) -> None:
        tx.put(record("r1"))
        await tx.find(RecordKind.RUN, "at", tenant="acme", limit=1)

    with pytest.raises(RuntimeError, match="before it writes"):
        await store.ledger.transact(work)


# ------------------------------------------------------------------------------- tallies


async def tally(
    store: Store, series: str, *, since: datetime.datetime | None = None, tenant: str = "acme"
) -> Tally:
    return await store.ledger.read(lambda tx: tx.tally(tenant, series, since=since))


async def test_amounts_are_added_up(store: Store) -> None:
    async def work(tx: Transaction) -> None:
        tx.add("acme", TallyEntry("s", "a1", NOON, 5))
        tx.add("acme", TallyEntry("s", "a2", NOON + _HOUR, 1 << 53))
        tx.add("acme", TallyEntry("s", "a3", NOON + _HOUR, 1 << 53))
        tx.add("acme", TallyEntry("other", "a1", NOON, 7))
        tx.add("globex", TallyEntry("s", "a1", NOON, 9))

    await store.ledger.transact(work)

    assert await tally(store, "s") == Tally(3, 5 + (1 << 54))
    assert await tally(store, "s", since=NOON + _HOUR) == Tally(2, 1 << 54)
    assert await tally(store, "s", since=NOON + 2 * _HOUR) == Tally(0, 0)
    assert await tally(store, "s", tenant="globex") == Tally(1, 9)


async def test_an_amount_is_replaced_and_taken_away(store: Store) -> None:
    async def again(tx: Transaction) -> None:
        tx.add("acme", TallyEntry("s", "a1", NOON, 5))

    async def away(tx: Transaction) -> None:
        tx.subtract("acme", "s", "a1")
        tx.subtract("acme", "s", "never")

    await store.ledger.transact(again)
    await store.ledger.transact(again)
    assert await tally(store, "s") == Tally(1, 5)
    await store.ledger.transact(away)
    assert await tally(store, "s") == Tally(0, 0)


async def test_an_amount_beyond_what_can_be_added_up_is_refused(store: Store) -> None:
    async def work(tx: Transaction) -> None:
        tx.add("acme", TallyEntry("s", "a1", NOON, (1 << 53) + 1))

    with pytest.raises(ValueError, match="beyond"):
        await store.ledger.transact(work)


# --------------------------------------------------------------------------- concurrency


def take_one(limit: int, name: str) -> Callable[[Transaction], Awaitable[bool]]:
    async def work(tx: Transaction) -> bool:
        if (await tx.tally("acme", "budget", since=None)).total >= limit:
            return False
        tx.add("acme", TallyEntry("budget", name, NOON, 1))
        tx.audit("acme", entry("taken", name=name))
        return True

    return work


async def test_works_that_wait_together_see_each_other(store: Store) -> None:
    works = [store.ledger.transact(take_one(5, f"a{n}")) for n in range(40)]

    assert sum(await asyncio.gather(*works)) == 5
    assert await tally(store, "budget") == Tally(5, 5)


async def test_a_failing_work_fails_alone(store: Store) -> None:
    async def fails(tx: Transaction) -> bool:
        tx.add("acme", TallyEntry("budget", "x", NOON, 100))
        raise KeyError("no")

    works = [
        store.ledger.transact(fails if n % 3 == 0 else take_one(50, f"a{n}")) for n in range(30)
    ]
    outcomes = await asyncio.gather(*works, return_exceptions=True)

    assert [isinstance(one, KeyError) for one in outcomes] == [n % 3 == 0 for n in range(30)]
    assert await tally(store, "budget") == Tally(20, 20)


async def test_the_last_unit_is_taken_once_by_whoever(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(4)]
    works = [
        one.ledger.transact(take_one(10, f"{which}.{n}"))
        for n in range(10)
        for which, one in enumerate(stores)
    ]

    assert sum(await asyncio.gather(*works)) == 10


async def test_too_many_works_are_refused_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "MAX_WAITING", 3)
    works = [store.ledger.transact(take_one(50, f"a{n}")) for n in range(5)]
    outcomes = await asyncio.gather(*works, return_exceptions=True)

    assert [isinstance(one, LedgerBusy) for one in outcomes] == [False] * 3 + [True] * 2


async def test_who_stops_waiting_has_changed_something_or_nothing(store: Store) -> None:
    works = [asyncio.create_task(store.ledger.transact(take_one(50, f"a{n}"))) for n in range(9)]
    await asyncio.sleep(0)
    for work in works[::2]:
        work.cancel()
    outcomes = await asyncio.gather(*works, return_exceptions=True)

    assert [one for one in outcomes if one is True] == [True] * 4
    count, total = await tally(store, "budget")
    assert count == total
    assert count >= 4


# --------------------------------------------------------------------------------- changes


async def test_a_change_is_noticed(store: Store) -> None:
    seen = await store.ledger.wait_change(-1, timeout_s=DEADLINE_S)
    waiting = asyncio.create_task(store.ledger.wait_change(seen, timeout_s=DEADLINE_S))
    await asyncio.sleep(0)
    await put(store, record("r1"))

    assert await waiting > seen


async def test_the_wait_for_a_change_ends(store: Store) -> None:
    seen = await store.ledger.wait_change(-1, timeout_s=DEADLINE_S)

    assert await store.ledger.wait_change(seen, timeout_s=0.01) == seen


async def test_others_changes_are_noticed(open_store: OpenStore) -> None:
    here, there = await open_store(), await open_store()
    seen = await here.ledger.wait_change(-1, timeout_s=DEADLINE_S)
    waiting = asyncio.create_task(here.ledger.wait_change(seen, timeout_s=DEADLINE_S))
    await put(there, record("r1"))

    assert await waiting > seen


async def test_what_was_acknowledged_is_there_again(open_store: OpenStore) -> None:
    first = await open_store()
    await put(first, record("r1", {"at": ["1"]}, a=1))
    await first.aclose()

    second = await open_store()
    found = await get(second, key("r1"))
    assert found is not None
    assert found.body == {"a": 1}
    assert await find(second, "at") == ["r1"]


async def test_a_closed_ledger_is_unavailable(store: Store) -> None:
    ledger = store.ledger
    seen = await ledger.wait_change(-1, timeout_s=DEADLINE_S)
    waiting = asyncio.create_task(ledger.wait_change(seen, timeout_s=DEADLINE_S))
    await asyncio.sleep(0)
    await store.aclose()

    with pytest.raises(StoreUnavailable):
        await ledger.transact(take_one(1, "a"))
    with pytest.raises(StoreUnavailable):
        await ledger.read(lambda tx: tx.get(key("r1")))
    with pytest.raises(StoreUnavailable):
        await waiting
