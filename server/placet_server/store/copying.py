"""Copies a store in SQL into another, with its history and its identity.

Revisions, times, authors and request ids stay what they are, and so does the store's id: who
follows the store by a cursor goes on from it at the copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Table, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from placet_server.store import long_texts
from placet_server.store.contract import StoreError
from placet_server.store.pages import (
    Checksums,
    Page,
    Row,
    Tell,
    checksums_of,
    read_frame,
    read_pages,
)
from placet_server.store.tables import changes, items, leaders, owners, revisions, store_meta


class CopyRefused(StoreError):
    """The copy cannot be made, and nothing of it was kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What was copied, and compared afterwards."""

    store_id: str
    head: int
    owners: int
    changes: int
    ranges: int
    """How many ranges of revisions were compared."""


async def copy_store(source: AsyncConnection, target: AsyncConnection, tell: Tell) -> Copied:
    """Copy within a transaction of each, and compare; what does not agree is not to be kept.

    Raises:
        CopyRefused: the target is not empty, or is not what the source is after all.
    """
    await _refuse_unless_empty(target)
    frame = await read_frame(source)
    sums = Checksums()
    sums.add_frame(frame)
    # Once to write it, once to read it again.
    done, whole = 0, 2 * frame.changes
    await _keep_texts(target, (*frame.owners, *frame.leaders))
    await _insert(target, owners, frame.owners)
    await _insert(target, leaders, frame.leaders)
    async for page in read_pages(source):
        sums.add_page(page)
        await _write_page(target, page)
        done += len(page.changes)
        tell(done, whole)
    await target.execute(update(store_meta).values(**frame.meta))
    _compare(sums, await checksums_of(target))
    tell(whole, whole)
    return Copied(
        store_id=frame.meta["store_id"],
        head=frame.meta["head"],
        owners=len(frame.owners),
        changes=frame.changes,
        ranges=len(sums.ranges),
    )


async def _refuse_unless_empty(target: AsyncConnection) -> None:
    head = await target.scalar(select(store_meta.c.head))
    count = await target.scalar(select(func.count()).select_from(changes))
    if head or count:
        raise CopyRefused(
            f"the target is at revision {head} already; copy into a store that is empty"
        )


async def _write_page(target: AsyncConnection, page: Page) -> None:
    await _keep_texts(target, (*page.revisions, *page.changes))
    await _insert(target, revisions, page.revisions)
    await _insert(target, changes, page.changes)
    await _insert(target, items, [row for row in page.changes if row["is_current"]])


async def _keep_texts(target: AsyncConnection, rows: Sequence[Row]) -> None:
    texts = {row[name] for row in rows for name in _KEYS if isinstance(row.get(name), str)}
    await long_texts.keep(target, texts)


_KEYS = ("owner", "type", "id", "request_id", "role")


async def _insert(target: AsyncConnection, table: Table, rows: Sequence[Row]) -> None:
    if rows:
        names = [column.name for column in table.columns]
        await target.execute(insert(table), [{name: row[name] for name in names} for row in rows])


def _compare(source: Checksums, target: Checksums) -> None:
    differing = [
        f"revisions {after + 1} to {last}"
        for (after, last), digest in source.ranges.items()
        if target.ranges.get((after, last)) != digest
    ]
    differing += [
        f"owner `{owner or 'the platform'}`"
        for owner, digest in source.owners.items()
        if target.owners.get(owner) != digest
    ]
    if source.frame != target.frame:
        differing.append("what is beside the log")
    if differing or (source != target and source.ranges != target.ranges):
        raise CopyRefused(
            f"the copy is not what the source is, in {', '.join(differing[:5])}; nothing was kept"
        )
