"""A lock that one node has: an advisory lock, which ends with the connection that took it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg

from placet_server.store.contract import StoreUnavailable
from placet_server.store.leading import HEARTBEAT_S, SILENT_S
from placet_server.store.postgres.address import Address
from placet_server.store.postgres.locks import Lock
from placet_server.store.postgres.troubles import diagnose
from placet_server.store.sql_store import Held

_WAIT_S = 5.0
"""After how long whoever waits for the lock asks again, to see that the server is there."""


@asynccontextmanager
async def holding(address: Address, role: str) -> AsyncIterator[Held]:
    """Have a lock for the length of the block, once nobody else has it.

    The server ends the session of a holder that says nothing, so that one which hangs is followed
    by another.

    Raises:
        StoreUnavailable: the database cannot be reached.
    """
    with _reporting(address):
        connection = await address.connect()
    try:
        with _reporting(address):
            await _lock(connection, role)
        yield lambda: _beat(connection)
    finally:
        connection.terminate()


async def _lock(connection: asyncpg.Connection, role: str) -> None:
    which = f"{int(Lock.LEAD)}, hashtext(current_schema() || ':' || $1)"
    lock = f"SELECT pg_advisory_lock({which})"
    await connection.execute(f"SET lock_timeout = '{_WAIT_S:g}s'")
    while True:
        try:
            async with asyncio.timeout(_WAIT_S + SILENT_S):
                await connection.fetchval(lock, hashlib.sha256(role.encode()).hexdigest())
        except asyncpg.LockNotAvailableError:
            continue
        await connection.execute(f"SET idle_session_timeout = '{SILENT_S:g}s'")
        return


async def _beat(connection: asyncpg.Connection) -> None:
    """Say on and on that this node is there; return when the lock is lost."""
    try:
        while True:
            async with asyncio.timeout(SILENT_S):
                await connection.execute("SELECT 1")
            await asyncio.sleep(HEARTBEAT_S)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return


@contextmanager
def _reporting(address: Address) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        trouble = diagnose(error)
        if trouble is None:
            raise
        raise StoreUnavailable(f"`{address.shown}`: {trouble.text}") from error
