"""All of a store in SQL, page by page, for whoever copies, compares or checks it.

A page is a range of revisions. It has what they changed and, of that, what is current: so pages
have everything, including what compaction has left of earlier revisions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from placet_server.store import long_texts
from placet_server.store.columns import Digest
from placet_server.store.tables import changes, items, leaders, owners, revisions, store_meta

Row = dict[str, Any]
Tell = Callable[[int, int], None]
"""Called with how much is done, and of how much."""
_CURRENT = "is_current"
_CHANGES_A_PAGE = 2_000
_REVISIONS_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What there is beside the log."""

    meta: Row
    owners: Sequence[Row]
    leaders: Sequence[Row]
    changes: int
    """How many there are in all pages."""
    items: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The revisions after one, up to another."""

    after: int
    last: int
    revisions: Sequence[Row]
    changes: Sequence[Row]
    """In order of revision and key. Each says whether it ``is_current``."""


async def read_frame(connection: AsyncConnection) -> Frame:
    """Read what there is beside the log."""
    return Frame(
        meta=(await _rows(connection, select(store_meta)))[0],
        owners=sorted(await _rows(connection, select(owners)), key=lambda row: str(row["owner"])),
        leaders=sorted(await _rows(connection, select(leaders)), key=lambda row: str(row["role"])),
        changes=await _count(connection, changes),
        items=await _count(connection, items),
    )


async def _count(connection: AsyncConnection, table: Any) -> int:
    return int(await connection.scalar(select(func.count()).select_from(table)) or 0)


async def read_pages(connection: AsyncConnection) -> AsyncIterator[Page]:
    """Read the log, oldest revisions first."""
    is_current = and_(
        items.c.owner == changes.c.owner,
        items.c.kind == changes.c.kind,
        items.c.type == changes.c.type,
        items.c.id == changes.c.id,
        items.c.revision == changes.c.revision,
    )
    all_changes = select(changes, items.c.revision.is_not(None).label(_CURRENT)).outerjoin_from(
        changes, items, is_current
    )
    async for after, last in _ranges(connection):
        yield Page(
            after=after,
            last=last,
            revisions=await _rows(
                connection,
                select(revisions)
                .where(revisions.c.revision > after, revisions.c.revision <= last)
                .order_by(revisions.c.revision),
            ),
            changes=sorted(
                await _rows(
                    connection,
                    all_changes.where(changes.c.revision > after, changes.c.revision <= last),
                ),
                # A database's own order of texts may be another than this.
                key=lambda row: (row["revision"], row["kind"], row["type"], row["id"]),
            ),
        )


async def _ranges(connection: AsyncConnection) -> AsyncIterator[tuple[int, int]]:
    """Return ranges of revisions that have about a page of changes each."""
    after = last = size = 0
    while True:
        counted = (
            select(changes.c.revision, func.count())
            .where(changes.c.revision > last)
            .group_by(changes.c.revision)
            .order_by(changes.c.revision)
            .limit(_REVISIONS_AT_ONCE)
        )
        rows = (await connection.execute(counted)).all()
        for revision, count in rows:
            last, size = revision, size + count
            if size >= _CHANGES_A_PAGE:
                yield after, last
                after, size = last, 0
        if len(rows) < _REVISIONS_AT_ONCE:
            break
    if size:
        yield after, last


async def _rows(connection: AsyncConnection, statement: Any) -> list[Row]:
    """Read rows, with the texts that are kept beside them."""
    rows = [dict(row) for row in (await connection.execute(statement)).mappings()]
    long = await long_texts.find(
        connection, (value for row in rows for value in row.values() if isinstance(value, Digest))
    )
    return [_filled(row, long) for row in rows] if long else rows


def _filled(row: Row, long: Mapping[str, str]) -> Row:
    return {
        name: long.get(value, value) if isinstance(value, Digest) else value
        for name, value in row.items()
    }


@dataclass(slots=True)
class Checksums:
    """What two stores have to agree in: everything, by range of revisions and by owner."""

    frame: str = ""
    ranges: dict[tuple[int, int], str] = field(default_factory=dict)
    _owners: dict[str, Any] = field(default_factory=dict)

    def add_frame(self, frame: Frame) -> None:
        """Take in what is beside the log."""
        counts = [frame.changes, frame.items]
        rows = [frame.meta, *frame.owners, *frame.leaders]
        self.frame = hashlib.sha256(_written(rows) + json.dumps(counts).encode()).hexdigest()

    def add_page(self, page: Page) -> None:
        """Take in one page."""
        digest = hashlib.sha256(_written(page.revisions))
        for row in page.changes:
            line = _written([row])
            digest.update(line)
            self._owners.setdefault(row["owner"], hashlib.sha256()).update(line)
        self.ranges[page.after, page.last] = digest.hexdigest()

    @property
    def owners(self) -> dict[str, str]:
        """Return the checksum of all that each owner ever had."""
        return {owner: digest.hexdigest() for owner, digest in self._owners.items()}


async def checksums_of(connection: AsyncConnection) -> Checksums:
    """Read all of a store for its checksums."""
    sums = Checksums()
    sums.add_frame(await read_frame(connection))
    async for page in read_pages(connection):
        sums.add_page(page)
    return sums


def _written(rows: Iterable[Row]) -> bytes:
    # Databases differ in what they say for true.
    lines = (
        json.dumps(row | {_CURRENT: bool(row.get(_CURRENT))}, default=str, sort_keys=True)
        for row in rows
    )
    return "\n".join(lines).encode()
