"""What happens before a file is used as a store: is it one, is it whole, is it up to date."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncConnection

from placet_server.store import migrations, revision_log
from placet_server.store.contract import StoreDamaged, StoreUnavailable
from placet_server.store.sqlite.database import Database

APPLICATION_ID = 0x504C4354
"""``PLCT``: what the header of a file says that is ours."""

_CHECKED_BYTES = 256 << 20  # reading more would keep a server from starting for seconds


async def prepare(database: Database) -> str:
    """Make a file ready to be used as a store, and return the store's id.

    Raises:
        StoreUnavailable: there cannot be a file there, or it cannot be written to.
        StoreDamaged: it is no store of ours, or not whole.
        StoreIncompatible: a newer placet was here.
    """
    _check_place(database.path)
    # Look first: merely to begin a transaction that writes changes a file that is not ours.
    await database.read(_inspect)
    return await database.write(_bring_up_to_date)


def _check_place(path: Path) -> None:
    # SQLite only says that it is unable to open the file.
    if path.is_dir():
        raise StoreUnavailable(f"`{path}` is a directory: name a file in it")
    if not path.parent.is_dir():
        raise StoreUnavailable(f"`{path.parent}` is no directory: make it, or name another file")


async def _inspect(connection: AsyncConnection) -> None:
    is_empty = await _ask(connection, "SELECT count(*) FROM sqlite_master") == 0
    if not is_empty and await _ask(connection, "PRAGMA application_id") != APPLICATION_ID:
        raise StoreDamaged("the database belongs to another program: name another file")
    pages = await _ask(connection, "PRAGMA page_count")
    if pages * await _ask(connection, "PRAGMA page_size") > _CHECKED_BYTES:
        return
    finding = await connection.exec_driver_sql("PRAGMA quick_check(1)")
    if (text := finding.scalar_one()) != "ok":
        raise StoreDamaged(f"{text}: restore it from a backup")


async def _bring_up_to_date(connection: AsyncConnection) -> str:
    await connection.run_sync(migrations.upgrade)
    if await _ask(connection, "PRAGMA application_id") != APPLICATION_ID:
        await connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
    store_id = await revision_log.identify(connection)
    await revision_log.check_consistency(connection)
    return store_id


async def _ask(connection: AsyncConnection, question: str) -> int:
    return int((await connection.exec_driver_sql(question)).scalar_one())
