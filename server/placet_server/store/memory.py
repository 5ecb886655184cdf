"""A store in memory: for tests, and for ``--store memory`` where nothing needs to last."""

from __future__ import annotations

import asyncio
import datetime
import json
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple

from placet_engine.changes import Commit, Edit, ItemSet
from placet_engine.items import Item, ItemKey, Revision
from placet_server.store.contract import (
    CommitInfo,
    CommitSummary,
    Fence,
    Leadership,
    LeadershipLost,
    Notice,
    RevisionCompacted,
    RevisionConflict,
    RevisionUnknown,
    StoreUnavailable,
)
from placet_server.store.edits import apply_edits, check_limit, write_notice, write_out
from placet_server.store.following import Bell, follow
from placet_server.store.leading import OpenLeadership, check_names
from placet_server.store.ledger.in_memory import MemoryDatabase
from placet_server.store.ledger.sql_ledger import SqlLedger


class _Entry(NamedTuple):
    commit: Commit
    parent: Revision
    """The owner's revision before the commit."""


class MemoryStore:
    """Implements ``Store``.

    There is no lock: between two awaits nothing else runs, and no method awaits half-way
    through a change.
    """

    def __init__(self) -> None:
        self._store_id = uuid.uuid4().hex
        self._current: dict[str, ItemSet] = {}
        self._earliest = Revision(0)
        self._log: list[_Entry] = []  # revision `earliest + 1` comes first
        self._notices: dict[tuple[str, str], Notice] = {}
        self._terms: Counter[str] = Counter()
        self._leading: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._ledger: tuple[MemoryDatabase, SqlLedger] | None = None
        self._bell = Bell()
        self._is_closed = False

    @property
    def store_id(self) -> str:
        return self._store_id

    @property
    def ledger(self) -> SqlLedger:
        if self._ledger is None:
            database = MemoryDatabase()
            self._ledger = database, SqlLedger(database)
        return self._ledger[1]

    async def append(
        self,
        owner: str,
        edits: Sequence[Edit],
        *,
        expected: Revision,
        info: CommitInfo,
        fence: Fence | None = None,
    ) -> Commit:
        self._check_open()
        written = await write_out(owner, edits, info)
        self._check_open()
        repeated = self._find_request(owner, info.request_id)
        if repeated is not None:
            return repeated
        if fence is not None and fence.term != self._terms[fence.role]:
            raise LeadershipLost(fence, self._terms[fence.role])
        current = self._items_of(owner)
        if current.revision != expected:
            raise RevisionConflict(owner, expected, current.revision)
        revision = Revision(self._head + 1)
        changes = apply_edits(current, (edit for edit, _ in written), revision)
        commit = Commit(
            revision=revision,
            owner=owner,
            time=info.time,
            changes=tuple(changes),
            author=info.author,
            message=info.message,
            request_id=info.request_id,
        )
        self._current[owner] = current.applying(revision, changes)
        self._log.append(_Entry(commit, parent=expected))
        self._bell.ring()
        return commit

    async def find_commit(self, owner: str, *, request_id: str) -> Commit | None:
        self._check_open()
        return self._find_request(owner, request_id)

    async def head(self) -> Revision:
        self._check_open()
        return self._head

    async def earliest(self) -> Revision:
        self._check_open()
        return self._earliest

    async def owners(self) -> dict[str, Revision]:
        self._check_open()
        return {owner: items.revision for owner, items in self._current.items()}

    async def read(self, owner: str, *, at: Revision | None = None) -> ItemSet:
        self._check_open()
        current = self._items_of(owner)
        return current if at is None else self._walk_back(current, at)

    async def commits(self, after: Revision, *, limit: int) -> list[Commit]:
        self._check_open()
        check_limit(limit)
        start = self._position_after(after)
        return [entry.commit for entry in self._log[start : start + limit]]

    def watch(self, after: Revision) -> AsyncGenerator[Commit, None]:
        return follow(self.commits, self._bell, after)

    async def history(
        self, owner: str, *, key: ItemKey | None = None, before: Revision | None = None, limit: int
    ) -> list[CommitSummary]:
        self._check_open()
        check_limit(limit)
        found = (
            _to_summary(commit)
            for commit in self._newest_first()
            if commit.owner == owner
            and (before is None or commit.revision < before)
            and (key is None or any(change.key == key for change in commit.changes))
        )
        return list(islice(found, limit))

    async def versions(
        self, owner: str, key: ItemKey, *, before: Revision | None = None, limit: int
    ) -> list[Item]:
        self._check_open()
        check_limit(limit)
        found = (
            change.after
            for commit in self._newest_first()
            if commit.owner == owner and (before is None or commit.revision < before)
            for change in commit.changes
            if change.key == key and change.after is not None
        )
        return list(islice(found, limit))

    async def compact(self, keep_after: Revision) -> None:
        self._check_open()
        if keep_after > self._earliest:
            del self._log[: self._position_after(keep_after)]
            self._earliest = keep_after

    async def put_up(self, notice: Notice) -> None:
        self._check_open()
        body = json.loads(write_notice(notice))
        self._notices[notice.topic, notice.name] = replace(notice, body=body)

    async def notices(self, topic: str) -> list[Notice]:
        self._check_open()
        return [self._notices[key] for key in sorted(self._notices) if key[0] == topic]

    async def take_down(self, topic: str, *, before: datetime.datetime) -> None:
        self._check_open()
        for key, notice in list(self._notices.items()):
            if key[0] == topic and notice.time < before:
                del self._notices[key]

    @asynccontextmanager
    async def lead(self, role: str, *, holder: str) -> AsyncIterator[Leadership]:
        check_names(role, holder)
        self._check_open()
        async with self._leading[role]:
            self._terms[role] += 1
            leadership = OpenLeadership(Fence(role, self._terms[role]))
            try:
                yield leadership
            finally:
                leadership.lose()

    async def aclose(self) -> None:
        self._is_closed = True
        if self._ledger is not None:
            database, ledger = self._ledger
            await ledger.aclose()
            database.close()
        self._bell.ring()

    @property
    def _head(self) -> Revision:
        return Revision(self._earliest + len(self._log))

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreUnavailable("the store is closed")

    def _items_of(self, owner: str) -> ItemSet:
        return self._current.get(owner, ItemSet(owner=owner))

    def _find_request(self, owner: str, request_id: str) -> Commit | None:
        if not request_id:
            return None
        mine = (
            commit
            for commit in self._newest_first()
            if commit.owner == owner and commit.request_id == request_id
        )
        return next(mine, None)

    def _newest_first(self) -> Iterator[Commit]:
        return (entry.commit for entry in reversed(self._log))

    def _position_after(self, revision: Revision) -> int:
        """Return where in the log the commit after a revision is."""
        if revision < self._earliest:
            raise RevisionCompacted(revision, self._earliest)
        if revision > self._head:
            raise RevisionUnknown(revision, self._head)
        return revision - self._earliest

    def _walk_back(self, current: ItemSet, at: Revision) -> ItemSet:
        """Undo the owner's commits after a revision, newest first."""
        items, revision = dict(current.items), current.revision
        for entry in reversed(self._log[self._position_after(at) :]):
            if entry.commit.owner != current.owner:
                continue
            for change in entry.commit.changes:
                if change.before is not None:
                    items[change.key] = change.before
                else:
                    del items[change.key]
            revision = entry.parent
        return ItemSet(owner=current.owner, revision=revision, items=MappingProxyType(items))


def _to_summary(commit: Commit) -> CommitSummary:
    return CommitSummary(
        revision=commit.revision,
        owner=commit.owner,
        time=commit.time,
        author=commit.author,
        message=commit.message,
        upserts=commit.upserts,
        deletes=commit.deletes,
    )
