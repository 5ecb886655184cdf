"""One SQLite file as transactions: connections, their settings, who may write, what errors mean."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from placet_server.store.contract import StoreDamaged, StoreIncompatible, StoreUnavailable
from placet_server.store.sql_store import Answer, Work
from placet_server.store.undisturbed import Undisturbed

_READERS = 4


class Database:
    """Runs work in transactions: any number that read beside one that writes.

    Each connection has a thread of its own, so that no statement keeps the event loop waiting.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float) -> None:
        self.path = path.absolute()
        # IMMEDIATE takes the lock before anything is read, so what a writer has read stays so.
        # A transaction that read first would fail, not wait, when another process was faster.
        self._writer = _engine(self.path, busy_timeout_s, begin="BEGIN IMMEDIATE", connections=1)
        self._readers = _engine(self.path, busy_timeout_s, begin="BEGIN", connections=_READERS)
        event.listen(self._writer.sync_engine, "connect", _set_up_writer)
        event.listen(self._readers.sync_engine, "connect", _set_up_reader)
        self._transactions = Undisturbed()

    async def read(self, work: Work[Answer]) -> Answer:
        """Run work that reads, on one unchanging state of the data."""
        return await self._transactions.run(lambda: self._transact(self._readers, work))

    async def write(self, work: Work[Answer]) -> Answer:
        """Run work that writes, alone, and make it durable."""
        return await self._transactions.run_alone(lambda: self._transact(self._writer, work))

    # The file waits for nobody but those who have it locked.
    post = write_long = write
    read_long = read

    async def is_in_use(self) -> bool:
        """Whether anybody else has the file open."""
        return await asyncio.to_thread(_is_open_elsewhere, self.path)

    async def _transact(self, engine: AsyncEngine, work: Work[Answer]) -> Answer:
        with self._reporting():
            async with engine.begin() as connection:
                return await work(connection)

    async def aclose(self) -> None:
        """Let the transactions that have begun end, then close the connections."""
        await self._transactions.aclose()
        await self._readers.dispose()
        await self._writer.dispose()

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Turn the driver's errors into the store's, and say which file they are about."""
        try:
            yield
        except (StoreDamaged, StoreIncompatible) as error:
            raise type(error)(f"`{self.path}`: {error}") from error
        except PoolTimeoutError as error:
            raise StoreUnavailable(f"`{self.path}` has no connection free; try later") from error
        except DBAPIError as error:
            reason = error.orig
            # The low byte is the kind of error, the rest its details. Without a code it is not
            # SQLite that complains but its driver, about us.
            code = getattr(reason, "sqlite_errorcode", 0) & 0xFF
            if hint := _UNAVAILABLE.get(code):
                raise StoreUnavailable(f"`{self.path}`: {reason}; {hint}") from error
            if hint := _DAMAGED.get(code):
                raise StoreDamaged(f"`{self.path}`: {reason}; {hint}") from error
            raise


def _is_open_elsewhere(path: Path) -> bool:
    """Try to have the file alone, which SQLite grants when nobody else has it open."""
    if not path.exists():
        return False
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as file:
        try:
            file.execute("PRAGMA locking_mode = EXCLUSIVE")
            file.execute("BEGIN EXCLUSIVE")
            file.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
        except sqlite3.DatabaseError:
            # No store: whoever opens it says so.
            return False
    return False


_RESTORE = "restore it from a backup, or move it away to start with an empty store"
_UNAVAILABLE = {
    sqlite3.SQLITE_PERM: "see who may read and write it",
    sqlite3.SQLITE_BUSY: "another process keeps it locked; try later",
    sqlite3.SQLITE_LOCKED: "another connection keeps it locked; try later",
    sqlite3.SQLITE_NOMEM: "there is no memory left",
    sqlite3.SQLITE_READONLY: "see that it and its directory may be written to",
    sqlite3.SQLITE_INTERRUPT: "try again",
    sqlite3.SQLITE_IOERR: "see what the system's log says about the disk",
    sqlite3.SQLITE_FULL: "make room on the disk",
    sqlite3.SQLITE_CANTOPEN: "see that its directory exists and may be written to",
    sqlite3.SQLITE_PROTOCOL: "too many processes want it; try later",
}
_DAMAGED = {
    sqlite3.SQLITE_ERROR: _RESTORE,  # a table or a column is missing
    sqlite3.SQLITE_CORRUPT: _RESTORE,
    sqlite3.SQLITE_SCHEMA: _RESTORE,
    sqlite3.SQLITE_CONSTRAINT: _RESTORE,
    sqlite3.SQLITE_MISMATCH: _RESTORE,
    sqlite3.SQLITE_NOTADB: _RESTORE,
}


def _engine(path: Path, busy_timeout_s: float, *, begin: str, connections: int) -> AsyncEngine:
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        connect_args={"timeout": busy_timeout_s},
        pool_size=connections,
        max_overflow=0,
    )

    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine.sync_engine, "begin", begin_transaction)
    return engine


def _set_up_writer(connection: DBAPIConnection, _: object) -> None:
    """Set a writer up. The first one changes the file's mode, while others may look at it.

    SQLite does not wait for those: it says at once that the file is locked when two that read
    want to change its mode.
    """
    deadline_s = time.monotonic() + _MODE_TIMEOUT_S
    while True:
        try:
            _set_up(connection, ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"))
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline_s:
                raise
            connection.run_async(lambda _: asyncio.sleep(_MODE_RETRY_S))
        else:
            return


_MODE_TIMEOUT_S, _MODE_RETRY_S = 10.0, 0.02


def _set_up_reader(connection: DBAPIConnection, _: object) -> None:
    _set_up(connection, ("PRAGMA query_only = ON",))


def _set_up(connection: DBAPIConnection, pragmas: Iterable[str]) -> None:
    # Left alone, the driver begins transactions when it thinks best, and never for DDL.
    connection.isolation_level = None
    # Closed when a statement fails, too: one that is held on to holds the file open.
    with closing(connection.cursor()) as cursor:
        for pragma in (*pragmas, "PRAGMA foreign_keys = ON"):
            cursor.execute(pragma)
