"""What happens before a database is used as a store: is it one, is it whole, is it up to date."""

from __future__ import annotations

from sqlalchemy import inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection

from placet_server.store import migrations, revision_log
from placet_server.store.contract import StoreDamaged, StoreIncompatible
from placet_server.store.layout import metadata
from placet_server.store.postgres.database import Database
from placet_server.store.postgres.locks import SCHEMA, Lock
from placet_server.store.tables import store_meta

OLDEST_SERVER = 14


async def prepare(database: Database) -> str:
    """Make a database ready to be used as a store, and return the store's id.

    Any number of nodes may do so at the same time.

    Raises:
        StoreUnavailable: it cannot be reached, or not be written to.
        StoreDamaged: what is there is no store of ours, or not whole.
        StoreIncompatible: a newer placet was here, or the server is too old.
    """
    store_id = await database.change_layout(_bring_up_to_date)
    # Others commit meanwhile: only a transaction that reads sees one state of the tables.
    await database.read(revision_log.check_consistency)
    return store_id


async def _bring_up_to_date(connection: AsyncConnection) -> str:
    await check_server(connection)
    # One after the other. The lock is the schema's: others in the database are other stores.
    lock = f"SELECT pg_advisory_xact_lock({int(Lock.LAYOUT)}, {SCHEMA})"
    await connection.execute(text(lock))
    await connection.run_sync(migrations.upgrade)
    return await revision_log.identify(connection)


async def check_server(connection: AsyncConnection) -> None:
    """See that the server and the schema can be used, before anything is changed.

    Raises:
        StoreDamaged: the schema has tables of another program.
        StoreIncompatible: the server is too old, or keeps text in another encoding than UTF-8.
    """
    version = int(str(await connection.scalar(text("SHOW server_version_num")))) // 10_000
    if version < OLDEST_SERVER:
        raise StoreIncompatible(
            f"the server is PostgreSQL {version}, and {OLDEST_SERVER} is the oldest that will do"
        )
    encoding = await connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise StoreIncompatible(
            f"the database keeps text as {encoding}: create one with `ENCODING 'UTF8'`"
        )
    schema = await connection.scalar(text("SELECT current_schema()"))
    if schema is None:
        raise StoreIncompatible("there is no schema to make tables in: see its `search_path`")
    present = set(await connection.run_sync(lambda it: inspect(it).get_table_names()))
    ours = {*metadata.tables, "alembic_version"}
    if store_meta.name not in present and (foreign := present & ours):
        raise StoreDamaged(
            f"schema `{schema}` has tables of another program: `{'`, `'.join(sorted(foreign))}`; "
            "name a database, or with `?search_path=NAME` a schema, of placet's own"
        )
