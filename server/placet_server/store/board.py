"""The board of notices in SQL, each operation within one transaction that the caller has begun."""

from __future__ import annotations

import datetime
import json

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from placet_server.store.contract import Notice
from placet_server.store.edits import write_notice
from placet_server.store.tables import notices


async def put_up(connection: AsyncConnection, notice: Notice) -> None:
    """See ``Store.put_up``."""
    text = write_notice(notice)
    is_it = (notices.c.topic == notice.topic, notices.c.name == notice.name)
    await connection.execute(delete(notices).where(*is_it))
    row = {"topic": notice.topic, "name": notice.name, "time": notice.time, "body": text}
    await connection.execute(insert(notices), row)


async def list_notices(connection: AsyncConnection, topic: str) -> list[Notice]:
    """See ``Store.notices``."""
    rows = await connection.execute(
        select(notices).where(notices.c.topic == topic).order_by(notices.c.name)
    )
    return [
        Notice(topic=row.topic, name=row.name, time=row.time, body=json.loads(row.body))
        for row in rows
    ]


async def take_down(connection: AsyncConnection, topic: str, before: datetime.datetime) -> None:
    """See ``Store.take_down``."""
    await connection.execute(
        delete(notices).where(notices.c.topic == topic, notices.c.time < before)
    )
