"""The board of notices in SQL, each operation within one transaction that the caller has begun."""

from __future__ import annotations

import datetime
import json

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from placet_server.store import long_texts
from placet_server.store.contract import Notice
from placet_server.store.edits import write_notice
from placet_server.store.tables import insert_into, notices


async def put_up(connection: AsyncConnection, notice: Notice) -> None:
    """See ``Store.put_up``."""
    text = write_notice(notice)
    await long_texts.keep(connection, (notice.topic, notice.name))
    put = insert_into(connection, notices).values(
        topic=notice.topic, name=notice.name, time=notice.time, body=text
    )
    news = {"time": put.excluded.time, "body": put.excluded.body}
    await connection.execute(put.on_conflict_do_update(index_elements=["topic", "name"], set_=news))


async def list_notices(connection: AsyncConnection, topic: str) -> list[Notice]:
    """See ``Store.notices``."""
    its_rows = select(notices).where(notices.c.topic == topic)
    rows = (await connection.execute(its_rows)).all()
    long = await long_texts.find(connection, (row.name for row in rows))
    put_up = (
        Notice(
            topic=topic,
            name=long.get(row.name, row.name),
            time=row.time,
            body=json.loads(row.body),
        )
        for row in rows
    )
    # A database would sort by how the names are written.
    return sorted(put_up, key=lambda notice: notice.name)


async def take_down(connection: AsyncConnection, topic: str, before: datetime.datetime) -> None:
    """See ``Store.take_down``."""
    await connection.execute(
        delete(notices).where(notices.c.topic == topic, notices.c.time < before)
    )
