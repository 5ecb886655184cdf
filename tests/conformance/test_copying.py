"""A copy of a store is the store: between all kinds that keep their data, both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest
from sqlalchemy import ColumnElement, Executable, Table, delete, insert, update

from placet_engine.changes import Edit
from placet_engine.items import Policy, Revision
from placet_server import administering
from placet_server.store.contract import CommitInfo, Fence, Store, StoreUnavailable
from placet_server.store.copying import CopyRefused
from placet_server.store.tables import changes, items, owners, revisions
from placet_server.stores import opened_database
from tests.conformance.stores import (
    DURABLE,
    EMPTY,
    NOON,
    PostgresBackend,
    SqliteBackend,
    commit,
    info,
    policy_key,
    remove,
    take,
    write,
)
from tests.conformance.test_store import BODIES, ODD_TEXTS


@dataclass(frozen=True, slots=True)
class Places:
    """Where one store is, and one to be."""

    source: SqliteBackend | PostgresBackend
    target: SqliteBackend | PostgresBackend


@pytest.fixture(params=product(DURABLE, DURABLE), ids="-".join)
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Places:
    made = []
    for name, kind in zip(("source", "target"), request.param, strict=True):
        (tmp_path / name).mkdir()
        made.append(DURABLE[kind](tmp_path / name))
    source, target = made
    assert isinstance(source, SqliteBackend | PostgresBackend)
    assert isinstance(target, SqliteBackend | PostgresBackend)
    return Places(source, target)


@pytest.fixture(params=DURABLE)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> SqliteBackend | PostgresBackend:
    made = DURABLE[request.param](tmp_path)
    assert isinstance(made, SqliteBackend | PostgresBackend)
    return made


def untold(done: int, whole: int) -> None:
    pass


async def fill(store: Store) -> None:
    """Leave a bit of everything that a store can hold."""
    await commit(store, "acme", *(Edit(body.key, body) for body in BODIES), request_id="request")
    for number, text in enumerate(ODD_TEXTS):
        note = CommitInfo(time=NOON, author=text, message=text, request_id=f"{text}{number}")
        current = (await store.read(text)).revision
        await store.append(text, [write(text, text)], expected=current, info=note)
    await commit(store, "", write("platform"))
    await commit(store, "acme", remove("p1"), write("p2", "// 2"))
    long = "".join(chr(0x4E00 + number) for number in range(2_000))
    await commit(store, long, write(long), request_id=long)
    await commit(store, long, remove(long), write("other"))
    async with store.lead("rollouts", holder="node"):
        pass


async def everything(store: Store) -> object:
    head = await store.head()
    return (
        store.store_id,
        await store.earliest(),
        await store.owners(),
        {owner: await store.read(owner) for owner in await store.owners()},
        await store.commits(await store.earliest(), limit=head + 1),
        {owner: await store.history(owner, limit=99) for owner in await store.owners()},
    )


@pytest.mark.parametrize("is_compacted", [False, True], ids=["whole", "compacted"])
async def test_a_copy_has_everything(places: Places, is_compacted: bool) -> None:
    source = await places.source.open()
    await fill(source)
    if is_compacted:
        await source.compact(Revision(await source.head() - 3))
    before = await everything(source)
    await source.aclose()
    told: list[tuple[int, int]] = []

    copied = await administering.copy(
        places.source.place, places.target.place, lambda *done: told.append(done)
    )

    target = await places.target.open()
    try:
        assert await everything(target) == before
        assert copied.store_id == target.store_id
        assert told[-1][0] == told[-1][1] > 0
        done = await commit(target, "acme", write("new"))
        assert done.revision == copied.head + 1
        if not is_compacted:
            note = info("request")
            repeated = await target.append("acme", [write("z")], expected=EMPTY, info=note)
            assert repeated.revision == 1
        async with target.lead("rollouts", holder="node") as leadership:
            assert leadership.fence == Fence("rollouts", 2)
    finally:
        await target.aclose()
    for place in (places.source.place, places.target.place):
        assert (await administering.check(place, untold)).findings == ()


async def test_whoever_watches_goes_on_at_the_copy(places: Places) -> None:
    source = await places.source.open()
    seen = await commit(source, "acme", write("a", "// 1"))
    await source.aclose()
    await administering.copy(places.source.place, places.target.place, untold)

    target = await places.target.open()
    async with aclosing(target.watch(seen.revision)) as watch:
        done = await commit(target, "acme", write("a", "// 2"))
        assert await take(watch, 1) == [done]
    await target.aclose()


async def test_only_an_empty_store_is_copied_into(places: Places) -> None:
    for backend in (places.source, places.target):
        store = await backend.open()
        await commit(store, "acme", write("a"))
        await store.aclose()

    with pytest.raises(CopyRefused, match="the target is at revision 1 already"):
        await administering.copy(places.source.place, places.target.place, untold)


async def test_a_store_in_use_is_neither_copied_nor_copied_into(places: Places) -> None:
    source = await places.source.open()
    await commit(source, "acme", write("a"))
    with pytest.raises(CopyRefused, match="is in use: stop the nodes"):
        await administering.copy(places.source.place, places.target.place, untold)
    await source.aclose()

    target = await places.target.open()
    await target.head()
    with pytest.raises(CopyRefused, match="is in use: stop the nodes"):
        await administering.copy(places.source.place, places.target.place, untold)
    await target.aclose()


async def test_a_copy_that_is_stopped_leaves_an_empty_store(places: Places) -> None:
    source = await places.source.open()
    await fill(source)
    await source.aclose()
    begun = asyncio.Event()
    copying = asyncio.create_task(
        administering.copy(places.source.place, places.target.place, lambda *_: begun.set())
    )
    await begun.wait()
    copying.cancel()
    await asyncio.wait([copying])

    assert copying.cancelled()
    target = await places.target.open()
    assert (await target.head(), await target.owners()) == (0, {})
    await target.aclose()


def test_what_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="is not there"):
        asyncio.run(administering.check(str(tmp_path / "no.db"), untold))

    assert not list(tmp_path.iterdir())


async def test_a_store_goes_on_under_a_new_id(
    backend: SqliteBackend | PostgresBackend,
) -> None:
    store = await backend.open()
    done = await commit(store, "acme", write("a"))
    await store.aclose()

    store_id = await administering.accept(backend.place)

    again = await backend.open()
    assert again.store_id == store_id != store.store_id
    assert await again.commits(EMPTY, limit=9) == [done]
    await again.aclose()


# ------------------------------------------------------------------------------- checking


Damage = Callable[[Executable], Awaitable[tuple[str, ...]]]


@pytest.fixture
async def damaged(backend: SqliteBackend | PostgresBackend) -> Damage:
    """Changes a consistent store behind its back, and returns what is then found."""
    store = await backend.open()
    await commit(store, "acme", write("a", "// 1"), write("b"))
    await commit(store, "acme", write("a", "// 2"), remove("b"))
    await commit(store, "globex", write("a"))
    await store.aclose()
    assert (await administering.check(backend.place, untold)).findings == ()

    async def damage(statement: Executable) -> tuple[str, ...]:
        async with opened_database(backend.place) as opened:
            await opened.database.write(lambda it: it.execute(statement))
        return (await administering.check(backend.place, untold)).findings

    return damage


def of_a(table: Table) -> tuple[ColumnElement[bool], ...]:
    key = policy_key("a")
    return (table.c.owner == "acme", table.c.kind == int(key.kind), table.c.id == key.id)


A = Policy(id="a", cedar="// x")
DAMAGE: dict[str, tuple[Executable, str]] = {
    "item lost": (delete(items).where(*of_a(items)), "are in the history, and not among"),
    "item old": (update(items).where(*of_a(items)).values(revision=1), "older than their history"),
    "item unheard of": (
        insert(items).values(owner="acme", kind=1, type="", id="z", revision=1),
        "items have no body",
    ),
    "body lost": (
        update(changes).where(*of_a(changes), changes.c.revision == 2).values(body=None),
        "items have no body",
    ),
    "body broken": (
        update(changes).where(*of_a(changes), changes.c.revision == 1).values(body='{"x": 1}'),
        "does not read as POLICY",
    ),
    "change lost": (
        delete(changes).where(*of_a(changes), changes.c.revision == 1),
        "replaced what is not there",
    ),
    "change passed over": (
        update(changes).where(*of_a(changes), changes.c.revision == 2).values(before_revision=None),
        "pass over one before them",
    ),
    "revision lost": (delete(revisions).where(revisions.c.revision == 2), "it has 2 commits"),
    "parent wrong": (
        update(revisions).where(revisions.c.revision == 2).values(parent=0),
        "pass over one of their owner's",
    ),
    "owner behind": (
        update(owners).where(owners.c.owner == "acme").values(revision=1),
        "owners are not at their newest revision",
    ),
    "counts wrong": (
        update(revisions).where(revisions.c.revision == 2).values(deletes=0),
        "it wrote 1 items and removed 0, and 1 and 1 are there",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
async def test_damage_is_found(damaged: Damage, name: str) -> None:
    statement, message = DAMAGE[name]

    findings = await damaged(statement)

    assert any(message in finding for finding in findings), findings
