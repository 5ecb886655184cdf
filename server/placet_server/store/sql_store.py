"""The store seam over an SQL database. What is done is in ``revision_log``; this says when."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Protocol, Self, TypeAlias, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from placet_engine.changes import Commit, Edit, ItemSet
from placet_engine.items import Item, ItemKey, Revision
from placet_server.store import board, revision_log
from placet_server.store.columns import Nonce
from placet_server.store.contract import CommitInfo, CommitSummary, Fence, Leadership, Notice
from placet_server.store.edits import check_limit, write_out
from placet_server.store.following import Bell, follow
from placet_server.store.leading import OpenLeadership, begin_term, check_names
from placet_server.store.ledger.sql_ledger import SqlLedger

Answer = TypeVar("Answer")
Held: TypeAlias = Callable[[], Awaitable[None]]
Work: TypeAlias = Callable[[AsyncConnection], Awaitable[Answer]]


class Append(Protocol):
    """``revision_log.append``, given all but where and under which nonce."""

    def __call__(
        self, connection: AsyncConnection, *, nonce: Nonce | None = None
    ) -> Awaitable[Commit]:
        """Append."""
        ...


class SqlDatabase(Protocol):
    """Runs work in transactions, which end even if their callers are cancelled."""

    async def read(self, work: Work[Answer]) -> Answer:
        """Run work that reads, on one unchanging state of the data."""
        ...

    async def write(self, work: Work[Answer]) -> Answer:
        """Run work that writes to the log, alone, and make it durable."""
        ...

    async def post(self, work: Work[Answer]) -> Answer:
        """Run work that writes to the board, which need not be durable."""
        ...

    async def read_long(self, work: Work[Answer]) -> Answer:
        """Run work that reads for as long as it takes."""
        ...

    async def write_long(self, work: Work[Answer]) -> Answer:
        """Run work that writes to the log for as long as it takes."""
        ...

    async def is_in_use(self) -> bool:
        """Whether anybody else has the store open, as far as that can be seen."""
        ...

    async def aclose(self) -> None:
        """Let the transactions that have begun end, then close the connections."""
        ...


class ChangeNotice(Protocol):
    """Rings when somebody else committed."""

    async def aclose(self) -> None:
        """End it."""
        ...


class SqlStore:
    """Implements ``Store``, but for how it is opened and how it learns of others' commits."""

    def __init__(self, database: SqlDatabase, store_id: str) -> None:
        self._database = database
        self._store_id = store_id
        self._ledger = SqlLedger(database)
        self._bell = Bell()
        self._notice: ChangeNotice | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    @property
    def store_id(self) -> str:
        return self._store_id

    @property
    def ledger(self) -> SqlLedger:
        return self._ledger

    async def append(
        self,
        owner: str,
        edits: Sequence[Edit],
        *,
        expected: Revision,
        info: CommitInfo,
        fence: Fence | None = None,
    ) -> Commit:
        written = await write_out(owner, edits, info)
        commit = await self._append(
            partial(
                revision_log.append,
                owner=owner,
                edits=written,
                expected=expected,
                info=info,
                fence=fence,
            )
        )
        self._bell.ring()
        return commit

    async def _append(self, append: Append) -> Commit:
        return await self._database.write(append)

    async def find_commit(self, owner: str, *, request_id: str) -> Commit | None:
        return await self._database.read(
            lambda it: revision_log.find_commit(it, owner, request_id=request_id)
        )

    async def head(self) -> Revision:
        return await self._database.read(revision_log.head)

    async def earliest(self) -> Revision:
        return await self._database.read(revision_log.earliest)

    async def owners(self) -> dict[str, Revision]:
        return await self._database.read(revision_log.list_owners)

    async def read(self, owner: str, *, at: Revision | None = None) -> ItemSet:
        if at is None:
            return await self._database.read(lambda it: revision_log.read(it, owner))
        return await self._database.read(lambda it: revision_log.read_at(it, owner, at))

    async def commits(self, after: Revision, *, limit: int) -> list[Commit]:
        check_limit(limit)
        return await self._database.read(lambda it: revision_log.list_commits(it, after, limit))

    async def watch(self, after: Revision) -> AsyncGenerator[Commit, None]:
        if self._notice is None:
            self._notice = self._start_notice()
        async with aclosing(follow(self.commits, self._bell, after)) as commits:
            async for commit in commits:
                yield commit
                del commit  # as `follow` does: it may be of what must not be kept

    def _start_notice(self) -> ChangeNotice:
        """Have the bell rung when others commit, until the notice is closed."""
        raise NotImplementedError

    async def history(
        self, owner: str, *, key: ItemKey | None = None, before: Revision | None = None, limit: int
    ) -> list[CommitSummary]:
        check_limit(limit)
        return await self._database.read(
            lambda it: revision_log.list_history(it, owner, key=key, before=before, limit=limit)
        )

    async def versions(
        self, owner: str, key: ItemKey, *, before: Revision | None = None, limit: int
    ) -> list[Item]:
        check_limit(limit)
        return await self._database.read(
            lambda it: revision_log.list_versions(it, owner, key, before=before, limit=limit)
        )

    async def compact(self, keep_after: Revision) -> None:
        await self._database.write_long(lambda it: revision_log.compact(it, keep_after))

    async def put_up(self, notice: Notice) -> None:
        await self._database.post(lambda it: board.put_up(it, notice))

    async def notices(self, topic: str) -> list[Notice]:
        return await self._database.read(lambda it: board.list_notices(it, topic))

    async def take_down(self, topic: str, *, before: datetime.datetime) -> None:
        await self._database.post(lambda it: board.take_down(it, topic, before))

    @asynccontextmanager
    async def lead(self, role: str, *, holder: str) -> AsyncIterator[Leadership]:
        check_names(role, holder)
        async with self._holding(role) as held:
            fence = await self._database.write(lambda it: begin_term(it, role, holder))
            leadership = OpenLeadership(fence)
            ending = asyncio.create_task(_end_with(held, leadership), name="store-leadership")
            try:
                yield leadership
            finally:
                leadership.lose()
                ending.cancel()
                await asyncio.gather(ending, return_exceptions=True)

    def _holding(self, role: str) -> AbstractAsyncContextManager[Held]:
        """Have the role's lock for the length of the block, once nobody else has it.

        The block is given what waits until the lock is lost.
        """
        raise NotImplementedError

    async def aclose(self) -> None:
        if self._notice is not None:
            await self._notice.aclose()
        await self._ledger.aclose()
        await self._database.aclose()
        self._bell.ring()


async def _end_with(held: Held, leadership: OpenLeadership) -> None:
    try:
        await held()
    finally:
        leadership.lose()
