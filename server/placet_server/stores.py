"""The one place that names concrete stores: which one a configuration asks for, opened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from placet_server.config import ConfigError, StoreConfig
from placet_server.store.contract import Store, StoreUnavailable
from placet_server.store.memory import MemoryStore
from placet_server.store.sql_store import SqlDatabase
from placet_server.store.sqlite import SqliteStore, opening
from placet_server.store.sqlite.database import Database as SqliteDatabase

if TYPE_CHECKING:
    from placet_server.store.postgres.address import Address


async def open_store(config: StoreConfig) -> Store:
    """Open the store that is configured.

    Raises:
        ConfigError: it is not installed, or its URL is none.
        StoreError: it cannot be opened.
    """
    match config.kind:
        case "memory":
            return MemoryStore()
        case "postgres":
            address = parse_address(config.url)
            from placet_server.store.postgres import PostgresStore

            return await PostgresStore.open(address)
        case _:
            return await SqliteStore.open(Path(config.path))


def parse_address(url: str) -> Address:
    """Read where a PostgreSQL database is.

    Raises:
        ConfigError: its driver is not installed, or the URL is none.
    """
    try:
        from placet_server.store.postgres.address import Address, AddressRefused
    except ModuleNotFoundError as error:
        raise ConfigError(
            "a store in PostgreSQL needs its driver: `pip install 'placet[postgres]'`"
        ) from error
    try:
        return Address.parse(url)
    except AddressRefused as error:
        raise ConfigError(f"`store.url`: {error}") from error


def place_of(config: StoreConfig) -> str:
    """Return where the store is as it may be shown to anybody."""
    match config.kind:
        case "memory":
            return "memory"
        case "postgres":
            return parse_address(config.url).shown
        case _:
            return config.path


@dataclass(frozen=True, slots=True)
class OpenedDatabase:
    """A store that is worked on as what it is in the database, without being one."""

    shown: str
    """Where it is, without a password."""
    database: SqlDatabase
    prepare: Callable[[], Awaitable[str]]
    """Makes it a store, or migrates it; returns its id."""


@asynccontextmanager
async def opened_database(place: str, *, is_there: bool = False) -> AsyncIterator[OpenedDatabase]:
    """Open the database of a store, changing nothing in it.

    Args:
        place: a file of SQLite's, or a URL of PostgreSQL's.
        is_there: whether it has to be there already.

    Raises:
        ConfigError: it is not installed, or its URL is none.
        StoreUnavailable: it has to be there, and is not.
    """
    opened = _postgres(place) if "://" in place else _sqlite(Path(place), is_there=is_there)
    try:
        yield opened
    finally:
        await opened.database.aclose()


def _sqlite(path: Path, *, is_there: bool) -> OpenedDatabase:
    if is_there and not path.is_file():
        raise StoreUnavailable(f"`{path}` is not there; name the file of a store")
    database = SqliteDatabase(path, busy_timeout_s=_BUSY_TIMEOUT_S)
    return OpenedDatabase(str(path), database, lambda: opening.prepare(database))


def _postgres(url: str) -> OpenedDatabase:
    address = parse_address(url)
    from placet_server.store.postgres.database import Database
    from placet_server.store.postgres.opening import prepare

    # A person waits, and is to be told at once.
    database = Database(address, patience_s=0.0)
    return OpenedDatabase(address.shown, database, lambda: prepare(database))


_BUSY_TIMEOUT_S = 5.0
