"""Texts that PostgreSQL's indexes do not take: kept beside, found by their digests.

Nobody has owners or ids of a thousand bytes, but anybody may. SQLite has no such bound, and
keeps nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from placet_server.store.columns import AnyText, Digest, is_long
from placet_server.store.tables import insert_into, long_texts


async def keep(connection: AsyncConnection, texts: Iterable[str]) -> None:
    """Keep those of the texts that an index does not take."""
    dialect, kind = connection.dialect, AnyText()
    if dialect.name != "postgresql":
        return
    written = {text: kind.process_bind_param(text, dialect) or "" for text in texts}
    rows = [
        {"digest": str(Digest.of(kept)), "body": text}
        for text, kept in written.items()
        if is_long(kept)
    ]
    if rows:
        statement = insert_into(connection, long_texts).on_conflict_do_nothing()
        await connection.execute(statement, rows)


async def find(connection: AsyncConnection, texts: Iterable[str | None]) -> Mapping[str, str]:
    """Return what the digests among texts that were read stand for."""
    digests = sorted({str(text) for text in texts if isinstance(text, Digest)})
    if not digests:
        return {}
    statement = select(long_texts).where(long_texts.c.digest.in_(digests))
    return {row.digest: row.body for row in await connection.execute(statement)}
