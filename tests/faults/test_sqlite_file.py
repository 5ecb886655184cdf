"""What a store in a file does when the disk, or somebody, does something to that file."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import aclosing, closing
from pathlib import Path

import pytest

from placet_server.store.contract import (
    Store,
    StoreDamaged,
    StoreIncompatible,
    StoreUnavailable,
)
from placet_server.store.sqlite import SqliteStore
from tests.conformance.stores import (
    DEADLINE_S,
    EMPTY,
    commit,
    commit_many,
    remove,
    take,
    texts,
    write,
)

LARGE = "x" * 1_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


# ------------------------------------------------------------------------------ disk full


async def test_full_database_is_unavailable_and_recovers(path: Path) -> None:
    async with await SqliteStore.open(path) as store:
        await commit(store, "acme", write("a", "// 1"))
        # The one connection that writes keeps this limit.
        await store._database.write(lambda it: it.exec_driver_sql("PRAGMA max_page_count = 60"))

        await _check_refused_for_lack_of_room(store)

        await store._database.write(
            lambda it: it.exec_driver_sql("PRAGMA max_page_count = 1000000")
        )
        await commit(store, "acme", write("a", LARGE))
    async with await SqliteStore.open(path) as store:
        assert await texts(store, "acme") == {"a": LARGE}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.decode().strip()}")
    # What nothing but the garbage collector would close counts as open.
    gc.disable()
    try:
        yield disk
        is_free = not subprocess.run(["umount", disk], capture_output=True, check=False).returncode
    finally:
        gc.enable()
    if not is_free:
        subprocess.run(["umount", "--lazy", disk], check=True)
        pytest.fail("a file is still open after its store was closed, or failed to open")


async def test_full_disk_is_unavailable_and_recovers(small_disk: Path) -> None:
    path, ballast = small_disk / "store.db", small_disk / "ballast"
    async with await SqliteStore.open(path) as store:
        await commit(store, "acme", write("a", "// 1"))
        _put(ballast, bytes(1_200_000))

        await _check_refused_for_lack_of_room(store)

        ballast.unlink()
        await commit(store, "acme", write("a", "// 2"))
    async with await SqliteStore.open(path) as store:
        assert await texts(store, "acme") == {"a": "// 2"}
        assert await store.head() == 2


async def test_opening_on_a_full_disk_is_unavailable(small_disk: Path) -> None:
    path, ballast = small_disk / "store.db", small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        _put(ballast, bytes(3_000_000))

    with pytest.raises(StoreUnavailable):
        await SqliteStore.open(path)

    ballast.unlink()
    async with await SqliteStore.open(path) as store:
        assert await store.head() == 0


async def _check_refused_for_lack_of_room(store: Store) -> None:
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="full"):
            await commit(store, "acme", write("a", LARGE), write("b"))
        assert await store.head() == 1
        assert await texts(store, "acme") == {"a": "// 1"}
    assert len(await store.commits(EMPTY, limit=9)) == 1


# --------------------------------------------------------------------------------- locked


async def test_file_locked_by_another_process_is_unavailable(path: Path) -> None:
    async with await SqliteStore.open(path, busy_timeout_s=0.01) as store:
        await commit(store, "acme", write("a", "// 1"))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")

            with pytest.raises(StoreUnavailable, match="locked"):
                await commit(store, "acme", write("a", "// 2"))
            with pytest.raises(StoreUnavailable, match="locked"):
                await SqliteStore.open(path, busy_timeout_s=0.01)
            assert await texts(store, "acme") == {"a": "// 1"}

            other.execute("ROLLBACK")
        await commit(store, "acme", write("a", "// 2"))
        assert await texts(store, "acme") == {"a": "// 2"}


# --------------------------------------------------------------- what nobody sees outside


async def test_own_commits_wake_watchers_without_polling(path: Path) -> None:
    async with (
        await SqliteStore.open(path, poll_s=10 * DEADLINE_S) as store,
        aclosing(store.watch(EMPTY)) as watch,
    ):
        for _ in range(3):
            waiting = asyncio.create_task(take(watch, 1))
            await store.head()
            assert await commit_many(store, 1) == await waiting


async def test_compaction_leaves_one_row_for_each_item(path: Path) -> None:
    async with await SqliteStore.open(path) as store:
        for number in range(5):
            await commit(store, "acme", write("a", f"// {number}"), write(f"p{number}"))
            await commit(store, "acme", remove(f"p{number}"))

        await store.compact(await store.head())

    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT id FROM changes").fetchall() == [("a",)]
        assert file.execute("SELECT count(*) FROM revisions").fetchone() == (0,)


# --------------------------------------------------------------------------- not a store


@pytest.mark.parametrize("content", [b"hello", b"hello, world\n" * 1000], ids=["short", "long"])
async def test_file_that_is_no_database_is_refused(path: Path, content: bytes) -> None:
    _put(path, content)

    with pytest.raises(StoreDamaged, match=rf"`{path}`: .*not a database; restore it"):
        await SqliteStore.open(path)

    assert _files(path.parent) == {path.name: content}


async def test_database_of_another_program_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE notes (text)")
    before = _files(path.parent)

    with pytest.raises(StoreDamaged, match="belongs to another program"):
        await SqliteStore.open(path)

    assert _files(path.parent) == before


async def test_empty_file_becomes_a_store(path: Path) -> None:
    _put(path, b"")

    async with await SqliteStore.open(path) as store:
        assert (await commit(store, "acme", write("a"))).revision == 1


async def test_missing_directory_is_unavailable(path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="is no directory: make it"):
        await SqliteStore.open(path / "store.db")


async def test_directory_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="is a directory: name a file"):
        await SqliteStore.open(tmp_path)


@pytest.mark.parametrize("name", ["with space.db", "100%.db", "what?.db", "a#b.db", "ü.db"])
async def test_any_name_will_do(tmp_path: Path, name: str) -> None:
    async with await SqliteStore.open(tmp_path / name) as store:
        await commit(store, "acme", write("a"))

    async with await SqliteStore.open(tmp_path / name) as store:
        assert await store.head() == 1
    assert list(_files(tmp_path)) == [name]


# ------------------------------------------------------------------ newer, and not whole


async def _tamper(path: Path, statement: str) -> None:
    """Make a store, and change what is in its file."""
    async with await SqliteStore.open(path) as store:
        await commit_many(store, 3)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(statement)


async def test_store_of_a_newer_placet_is_refused(path: Path) -> None:
    await _tamper(path, "UPDATE alembic_version SET version_num = '9999'")
    before = _files(path.parent)

    with pytest.raises(StoreIncompatible, match=r"layout `9999`.*: upgrade placet") as raised:
        await SqliteStore.open(path)

    assert str(path) in str(raised.value)
    assert _files(path.parent) == before


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM revisions WHERE revision = 2",
        "DELETE FROM revisions WHERE revision = 3",
        "UPDATE revisions SET revision = 9 WHERE revision = 3",
        "UPDATE store_meta SET head = 2",
        "UPDATE store_meta SET compacted_to = 1",
        "UPDATE owners SET revision = 2",
        "DELETE FROM store_meta",
    ],
)
async def test_store_that_contradicts_itself_is_refused(path: Path, statement: str) -> None:
    await _tamper(path, statement)

    with pytest.raises(StoreDamaged, match="restore it"):
        await SqliteStore.open(path)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM changes WHERE revision = 3",
        "UPDATE changes SET body = NULL",
        "UPDATE changes SET body = '{'",
        "UPDATE changes SET body = '[]'",
        "UPDATE changes SET body = '{}'",
        "UPDATE changes SET kind = 77",
    ],
)
async def test_item_that_cannot_be_read_is_damage(path: Path, statement: str) -> None:
    await _tamper(path, statement)

    async with await SqliteStore.open(path) as store:
        with pytest.raises(StoreDamaged, match="restore"):
            await store.read("acme")


async def test_missing_table_is_damage(path: Path) -> None:
    await _tamper(path, "DROP TABLE items")

    async with await SqliteStore.open(path) as store:
        with pytest.raises(StoreDamaged, match="restore"):
            await store.read("acme")


@pytest.mark.parametrize("part", [0.25, 0.5, 0.9])
async def test_truncated_file_is_damaged(path: Path, part: float) -> None:
    async with await SqliteStore.open(path) as store:
        await commit(store, "acme", write("a", LARGE))
    content = _files(path.parent)[path.name]
    _put(path, content[: int(len(content) * part)])

    with pytest.raises(StoreDamaged, match="restore"):
        await SqliteStore.open(path)


async def test_overwritten_page_is_damage(path: Path) -> None:
    async with await SqliteStore.open(path) as store:
        await commit(store, "acme", *(write(f"p{number}", "x" * 500) for number in range(500)))
    content = _files(path.parent)[path.name]
    middle = len(content) // 2
    _put(path, content[:middle] + b"?" * 4096 + content[middle + 4096 :])

    with pytest.raises(StoreDamaged, match="restore"):
        await SqliteStore.open(path)


def _files(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def _put(path: Path, content: bytes) -> None:
    path.write_bytes(content)
