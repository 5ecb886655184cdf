"""Leaderships: what all stores have of them in common."""

from __future__ import annotations

import asyncio

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from placet_server.store import long_texts
from placet_server.store.contract import Fence, LeadershipLost
from placet_server.store.tables import insert_into, leaders

HEARTBEAT_S = 1.0
SILENT_S = 5.0
"""A leader that is not heard of for so long is followed by another."""


class OpenLeadership:
    """Implements ``Leadership``; whoever made it says when it is over."""

    def __init__(self, fence: Fence) -> None:
        self._fence = fence
        self._lost = asyncio.Event()

    @property
    def fence(self) -> Fence:
        return self._fence

    @property
    def is_lost(self) -> bool:
        return self._lost.is_set()

    async def lost(self) -> None:
        await self._lost.wait()

    def lose(self) -> None:
        """Say that it is over."""
        self._lost.set()


def check_names(role: str, holder: str) -> None:
    """Raise a ``ValueError`` for text that cannot be kept."""
    try:
        (role + holder).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"a leadership holds text that is not valid UTF-8: {error}") from error


async def begin_term(connection: AsyncConnection, role: str, holder: str) -> Fence:
    """Make all leaderships of a role void, and return the fence of a new one."""
    await long_texts.keep(connection, [role])
    first = insert_into(connection, leaders).values(role=role, term=1, holder=holder)
    statement = first.on_conflict_do_update(
        index_elements=["role"], set_={"term": leaders.c.term + 1, "holder": holder}
    ).returning(leaders.c.term)
    return Fence(role, int((await connection.execute(statement)).scalar_one()))


async def check_fence(connection: AsyncConnection, fence: Fence) -> None:
    """Raise ``LeadershipLost`` if a fence is void.

    Within a transaction that writes to the log: a term begins in one as well, so that either
    sees the other.
    """
    term = await connection.scalar(select(leaders.c.term).where(leaders.c.role == fence.role))
    if term != fence.term:
        raise LeadershipLost(fence, int(term or 0))
