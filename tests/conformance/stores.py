"""The stores the suites run against, and the shorthand they are written in."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Protocol

from placet_engine.changes import Commit, Edit
from placet_engine.items import ItemKey, ItemKind, Policy, Revision
from placet_server.store.contract import CommitInfo, Store
from placet_server.store.memory import MemoryStore
from placet_server.store.postgres import PostgresStore
from placet_server.store.postgres.address import Address
from placet_server.store.sqlite import SqliteStore
from tests.postgres import shared_cluster

DEADLINE_S = 30.0
"""How long anything may take before a test gives up on it: far more than it ever needs."""

NOON = datetime.datetime(2025, 6, 1, 12, 0, 0, 123456, tzinfo=datetime.UTC)
EMPTY = Revision(0)


class Backend(Protocol):
    """Where the data of one store is. A new implementation of the store adds one of these."""

    async def open(self) -> Store:
        """Open a store on the data, which stays from one to the next if it is durable."""
        ...


class MemoryBackend:
    def __init__(self, directory: Path) -> None:
        pass

    async def open(self) -> Store:
        return MemoryStore()


class SqliteBackend:
    def __init__(self, directory: Path) -> None:
        self.path = directory / "store.db"

    @property
    def place(self) -> str:
        """How commands name it."""
        return str(self.path)

    async def open(self) -> Store:
        return await SqliteStore.open(self.path)


class PostgresBackend:
    def __init__(self, directory: Path) -> None:
        name = hashlib.sha256(str(directory).encode()).hexdigest()[:40]
        cluster = shared_cluster()
        cluster.run(f'CREATE SCHEMA IF NOT EXISTS "{name}"')
        self.place = f"{cluster.url}?search_path={name}"

    async def open(self) -> Store:
        return await PostgresStore.open(Address.parse(self.place))


DURABLE: dict[str, Callable[[Path], Backend]] = {
    "sqlite": SqliteBackend,
    "postgres": PostgresBackend,
}
"""Stores whose data outlives them, and which several objects may share."""

BACKENDS: dict[str, Callable[[Path], Backend]] = {"memory": MemoryBackend, **DURABLE}


class OpenStore(Protocol):
    """Opens a store on the data of a test; one elsewhere has data of its own."""

    async def __call__(self, place: str = ...) -> Store: ...


def policy_key(policy_id: str) -> ItemKey:
    return ItemKey(ItemKind.POLICY, policy_id)


def write(policy_id: str, cedar: str = "permit (principal, action, resource);") -> Edit:
    return Edit(policy_key(policy_id), Policy(id=policy_id, cedar=cedar))


def remove(policy_id: str) -> Edit:
    return Edit(policy_key(policy_id), None)


def info(request_id: str = "", *, author: str = "", message: str = "") -> CommitInfo:
    return CommitInfo(time=NOON, author=author, message=message, request_id=request_id)


async def commit(store: Store, owner: str, *edits: Edit, request_id: str = "") -> Commit:
    """Append on top of whatever the owner has."""
    current = await store.read(owner)
    return await store.append(owner, edits, expected=current.revision, info=info(request_id))


async def commit_many(store: Store, count: int, owner: str = "acme") -> list[Commit]:
    return [await commit(store, owner, write("p", f"// {number}")) for number in range(count)]


async def take(watch: AsyncGenerator[Commit, None], count: int) -> list[Commit]:
    """Return the next commits of a watch, which stays open."""
    async with asyncio.timeout(DEADLINE_S):
        return [await anext(watch) for _ in range(count)]


async def watch_some(store: Store, after: Revision, count: int) -> list[Commit]:
    """Watch for as many commits, then close the watch."""
    watch = store.watch(after)
    try:
        return await take(watch, count)
    finally:
        await watch.aclose()


async def texts(store: Store, owner: str, at: Revision | None = None) -> dict[str, str]:
    """Return what an owner's policies say, by id."""
    items = (await store.read(owner, at=at)).items.values()
    return {item.body.id: item.body.cedar for item in items if isinstance(item.body, Policy)}
