"""The store seam over one SQLite file. What is done is in ``revision_log``; this says when."""

from __future__ import annotations

import datetime
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Self

from placet_engine.changes import Commit, Edit, ItemSet
from placet_engine.items import Item, ItemKey, Revision
from placet_server.store import board, revision_log
from placet_server.store.contract import CommitInfo, CommitSummary, Notice
from placet_server.store.edits import check_limit, write_out
from placet_server.store.following import Bell, follow
from placet_server.store.sqlite.database import Database
from placet_server.store.sqlite.noticing import ChangeNotice
from placet_server.store.sqlite.opening import prepare


class SqliteStore:
    """Implements ``Store``. Any number of objects and processes may share one file.

    A commit is on the disk when ``append`` returns. The file must be on a local disk: SQLite's
    locks are not to be trusted on a network's.
    """

    def __init__(self, database: Database, store_id: str, *, poll_s: float) -> None:
        self._database = database
        self._store_id = store_id
        self._poll_s = poll_s
        self._bell = Bell()
        self._notice: ChangeNotice | None = None

    @classmethod
    async def open(
        cls, path: Path, *, poll_s: float = 0.02, busy_timeout_s: float = 5.0
    ) -> SqliteStore:
        """Open the store in a file, after making or migrating it where needed.

        ``poll_s`` is how long commits of other processes may go unseen by ``watch``, and
        ``busy_timeout_s`` how long to wait for another process that writes.

        Raises:
            StoreUnavailable: the file cannot be opened or written to.
            StoreDamaged: it is not a store, or not whole.
            StoreIncompatible: a newer placet wrote it.
        """
        database = Database(path, busy_timeout_s=busy_timeout_s)
        try:
            return cls(database, await prepare(database), poll_s=poll_s)
        except BaseException:
            await database.aclose()
            raise

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

    async def append(
        self, owner: str, edits: Sequence[Edit], *, expected: Revision, info: CommitInfo
    ) -> Commit:
        written = await write_out(owner, edits, info)
        commit = await self._database.write(
            lambda connection: revision_log.append(
                connection, owner, written, expected=expected, info=info
            )
        )
        self._bell.ring()
        return commit

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
            self._notice = ChangeNotice(
                self._database.path, poll_s=self._poll_s, on_change=self._bell.ring
            )
        async with aclosing(follow(self.commits, self._bell, after)) as commits:
            async for commit in commits:
                yield commit
                del commit  # as `follow` does: it may be of what must not be kept

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
        await self._database.write(lambda it: revision_log.compact(it, keep_after))

    async def put_up(self, notice: Notice) -> None:
        await self._database.write(lambda it: board.put_up(it, notice))

    async def notices(self, topic: str) -> list[Notice]:
        return await self._database.read(lambda it: board.list_notices(it, topic))

    async def take_down(self, topic: str, *, before: datetime.datetime) -> None:
        await self._database.write(lambda it: board.take_down(it, topic, before))

    async def aclose(self) -> None:
        if self._notice is not None:
            await self._notice.aclose()
        await self._database.aclose()
        self._bell.ring()
