"""The operations of a store in SQL, each within one transaction that the caller has begun.

SQLAlchemy Core that SQLite and PostgreSQL take alike. What the caller brings: transactions that
see one state of the data from their first statement on, their commit or rollback, and the
translation of the driver's errors.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from placet_engine.changes import Commit, ItemChange, ItemSet
from placet_engine.items import Item, ItemKey, ItemKind, Revision
from placet_server.store import long_texts
from placet_server.store.columns import Nonce
from placet_server.store.contract import (
    CommitInfo,
    CommitSummary,
    Fence,
    RevisionCompacted,
    RevisionConflict,
    RevisionUnknown,
    StoreDamaged,
)
from placet_server.store.edits import WrittenEdit, apply_edits, in_slices, read_body
from placet_server.store.leading import check_fence
from placet_server.store.tables import changes, items, owners, revisions, store_meta

_Row: TypeAlias = "Row[*tuple[Any, ...]]"


class _Extent(NamedTuple):
    """Which revisions there are: those after ``earliest``, up to ``head``."""

    head: Revision
    earliest: Revision

    def check(self, revision: Revision) -> None:
        """Raise unless what follows the revision is known and kept."""
        if revision < self.earliest:
            raise RevisionCompacted(revision, self.earliest)
        if revision > self.head:
            raise RevisionUnknown(revision, self.head)


async def _extent(connection: AsyncConnection, *, for_update: bool = False) -> _Extent:
    statement = select(store_meta.c.head, store_meta.c.compacted_to)
    if for_update:
        # INVARIANT: who locks this row is the only one who writes, until the transaction ends.
        # (SQLite knows no such lock: there BEGIN IMMEDIATE has locked the file.)
        statement = statement.with_for_update()
    head, compacted_to = (await connection.execute(statement)).one()
    return _Extent(Revision(head), Revision(compacted_to))


# ------------------------------------------------------------------------------ identity


async def identify(connection: AsyncConnection) -> str:
    """Return the store's id, after giving one to a store that is new."""
    store_id = await connection.scalar(select(store_meta.c.store_id))
    if store_id is None:
        store_id = uuid.uuid4().hex
        row = {"one": 1, "store_id": store_id, "head": 0, "compacted_to": 0}
        await connection.execute(insert(store_meta), row)
    return str(store_id)


async def check_consistency(connection: AsyncConnection) -> None:
    """Compare what the tables say of each other, without reading any body.

    Raises:
        StoreDamaged: they do not agree.
    """
    head, earliest = await _extent(connection)
    revision = revisions.c.revision
    counted = select(func.count(), func.min(revision), func.max(revision))
    count, first, last = (await connection.execute(counted)).one()
    newest = await connection.scalar(select(func.max(owners.c.revision)))
    kept = (head - earliest, earliest + 1, head) if head > earliest else (0, None, None)
    if (count, first, last) != kept or (newest or 0) != head:
        raise StoreDamaged(
            f"the store's head is {head} and its earliest revision {earliest}, but it has {count} "
            f"commits, from {first} to {last}, and owners up to {newest}: restore it from a backup"
        )


# ------------------------------------------------------------------------------- writing


async def append(
    connection: AsyncConnection,
    owner: str,
    edits: Sequence[WrittenEdit],
    *,
    expected: Revision,
    info: CommitInfo,
    fence: Fence | None = None,
    nonce: Nonce | None = None,
) -> Commit:
    """See ``Store.append``.

    With a nonce, an append without request id can be repeated as well, by whoever does not know
    what became of it.
    """
    extent = await _extent(connection, for_update=True)
    request_id = info.request_id or nonce or None
    repeated = await find_commit(connection, owner, request_id=request_id or "")
    if repeated is not None:
        await confirm(connection)
        return repeated
    if fence is not None:
        await check_fence(connection, fence)
    actual = await _owner_revision(connection, owner)
    if actual != expected:
        raise RevisionConflict(owner, expected, actual)
    revision = Revision(extent.head + 1)
    present = await _present_items(connection, owner, [edit.key for edit, _ in edits])
    commit = Commit(
        revision=revision,
        owner=owner,
        time=info.time,
        changes=tuple(apply_edits(present, (edit for edit, _ in edits), revision)),
        author=info.author,
        message=info.message,
        request_id=info.request_id,
    )
    await long_texts.keep(connection, _key_texts(commit))
    await _write_revision(connection, commit, parent=expected, request_id=request_id)
    await _write_changes(connection, commit, [text for _, text in edits])
    await _move_items(connection, commit)
    return commit


async def confirm(connection: AsyncConnection) -> None:
    """Write, so that the transaction's own commit makes what it has read as durable as itself.

    A commit that others see need not have reached a replica that is waited for: a database that
    is killed while it waits shows it when it is back. Whoever says that it was made says so
    after this.
    """
    await connection.execute(update(store_meta).values(head=store_meta.c.head))


def _key_texts(commit: Commit) -> set[str]:
    """Return the texts of a commit that are in indexes."""
    keys = [change.key for change in commit.changes]
    texts = {commit.owner, commit.request_id}
    return texts.union((key.type for key in keys), (key.id for key in keys))


async def find_commit(connection: AsyncConnection, owner: str, *, request_id: str) -> Commit | None:
    """See ``Store.find_commit``."""
    if not request_id:
        return None
    its_row = select(revisions).where(
        revisions.c.owner == owner, revisions.c.request_id == request_id
    )
    commits = await _load_commits(connection, (await connection.execute(its_row)).all())
    return commits[0] if commits else None


async def _owner_revision(connection: AsyncConnection, owner: str) -> Revision:
    statement = select(owners.c.revision).where(owners.c.owner == owner)
    return Revision(await connection.scalar(statement) or 0)


async def _present_items(
    connection: AsyncConnection, owner: str, keys: Iterable[ItemKey]
) -> ItemSet:
    """Return those of the items that are there."""
    ids: dict[tuple[ItemKind, str], list[str]] = defaultdict(list)
    for key in keys:
        ids[key.kind, key.type].append(key.id)
    rows: list[_Row] = []
    for (kind, type_), wanted in ids.items():
        remaining = iter(wanted)
        # With kind and type fixed, each id is looked up in the index. A list of whole keys
        # would make SQLite go through all that the owner has.
        while some := list(islice(remaining, _IDS_AT_ONCE)):
            statement = _current_items(owner).where(
                items.c.kind == kind, items.c.type == type_, items.c.id.in_(some)
            )
            rows += (await connection.execute(statement)).all()
    return await _to_set(owner, Revision(0), rows)


_IDS_AT_ONCE = 500  # far below the 32,766 parameters that either database takes


async def _write_revision(
    connection: AsyncConnection, commit: Commit, *, parent: Revision, request_id: str | None
) -> None:
    owner, revision = commit.owner, commit.revision
    if parent:
        move = update(owners).where(owners.c.owner == owner).values(revision=revision)
        await connection.execute(move)
    else:
        await connection.execute(insert(owners), {"owner": owner, "revision": revision})
    row = {
        "revision": revision,
        "owner": owner,
        "parent": parent,
        "time": commit.time,
        "author": commit.author,
        "message": commit.message,
        "request_id": request_id,
        "upserts": commit.upserts,
        "deletes": commit.deletes,
    }
    await connection.execute(insert(revisions), row)
    await connection.execute(update(store_meta).values(head=revision))


async def _write_changes(
    connection: AsyncConnection, commit: Commit, texts: Iterable[str | None]
) -> None:
    rows = [
        {
            "revision": commit.revision,
            **_key_columns(change.key),
            "owner": commit.owner,
            "body": text,
            "before_revision": change.before.revision if change.before else None,
        }
        for change, text in zip(commit.changes, texts, strict=True)
    ]
    await connection.execute(insert(changes), rows)


def _key_columns(key: ItemKey) -> dict[str, object]:
    return {"kind": int(key.kind), "type": key.type, "id": key.id}


async def _move_items(connection: AsyncConnection, commit: Commit) -> None:
    """Make the items that are current point at the commit."""
    added, moved, removed = [], [], []
    for change in commit.changes:
        key = _key_columns(change.key)
        if change.before is None:
            added.append(key | {"owner": commit.owner, "revision": commit.revision})
        elif change.after is not None:
            moved.append({f"its_{name}": value for name, value in key.items()})
        else:
            removed.append({f"its_{name}": value for name, value in key.items()})
    is_it = and_(
        items.c.owner == commit.owner,
        items.c.kind == bindparam("its_kind"),
        items.c.type == bindparam("its_type"),
        items.c.id == bindparam("its_id"),
    )
    if added:
        await connection.execute(insert(items), added)
    if moved:
        await connection.execute(update(items).where(is_it).values(revision=commit.revision), moved)
    if removed:
        await connection.execute(delete(items).where(is_it), removed)


async def compact(connection: AsyncConnection, keep_after: Revision) -> None:
    """See ``Store.compact``."""
    extent = await _extent(connection, for_update=True)
    if keep_after <= extent.earliest:
        return
    extent.check(keep_after)
    await connection.execute(delete(revisions).where(revisions.c.revision <= keep_after))
    # Of each item the newest body stays: for reads at `keep_after`, and as what a later commit
    # replaced. What was replaced goes first, removals after that: a removal that went first
    # would bring back what it removed.
    is_old = changes.c.revision <= keep_after
    newer = changes.alias("newer")
    is_replaced = exists().where(
        newer.c.owner == changes.c.owner,
        _is_same_item(newer, changes),
        newer.c.revision > changes.c.revision,
        newer.c.revision <= keep_after,
    )
    await connection.execute(delete(changes).where(is_old, is_replaced))
    await connection.execute(delete(changes).where(is_old, changes.c.body.is_(None)))
    await connection.execute(update(store_meta).values(compacted_to=keep_after))


def _is_same_item(one: FromClause, other: FromClause) -> ColumnElement[bool]:
    """Match kind, type and id. Of rows at one revision, that is enough: it has one owner."""
    return and_(one.c.kind == other.c.kind, one.c.type == other.c.type, one.c.id == other.c.id)


# ------------------------------------------------------------------------------- reading


async def head(connection: AsyncConnection) -> Revision:
    """See ``Store.head``."""
    return (await _extent(connection)).head


async def earliest(connection: AsyncConnection) -> Revision:
    """See ``Store.earliest``."""
    return (await _extent(connection)).earliest


async def list_owners(connection: AsyncConnection) -> dict[str, Revision]:
    """See ``Store.owners``."""
    rows = (await connection.execute(select(owners.c.owner, owners.c.revision))).all()
    long = await long_texts.find(connection, (owner for owner, _ in rows))
    return {long.get(owner, owner): Revision(revision) for owner, revision in rows}


async def read(connection: AsyncConnection, owner: str) -> ItemSet:
    """See ``Store.read``: the items as they are now."""
    revision = await _owner_revision(connection, owner)
    rows = (await connection.execute(_current_items(owner))).all()
    return await _to_set(owner, revision, rows)


def _current_items(owner: str) -> Select[*tuple[Any, ...]]:
    current = and_(changes.c.revision == items.c.revision, _is_same_item(changes, items))
    return (
        select(items.c.revision, items.c.kind, changes.c.body)
        .outerjoin_from(items, changes, current)
        .where(items.c.owner == owner)
    )


async def read_at(connection: AsyncConnection, owner: str, at: Revision) -> ItemSet:
    """See ``Store.read``: the items as they were at a revision."""
    (await _extent(connection)).check(at)
    newest = (
        select(
            changes.c.kind,
            changes.c.type,
            changes.c.id,
            func.max(changes.c.revision).label("revision"),
        )
        .where(changes.c.owner == owner, changes.c.revision <= at)
        .group_by(changes.c.kind, changes.c.type, changes.c.id)
        .subquery("newest")
    )
    is_newest = and_(changes.c.revision == newest.c.revision, _is_same_item(changes, newest))
    statement = (
        select(changes.c.revision, changes.c.kind, changes.c.body)
        .join_from(newest, changes, is_newest)
        .where(changes.c.body.is_not(None))
    )
    rows = (await connection.execute(statement)).all()
    return await _to_set(owner, await _owner_revision_at(connection, owner, at), rows)


async def _owner_revision_at(connection: AsyncConnection, owner: str, at: Revision) -> Revision:
    """Ask the owner's next commit what it was made on: what was then may be compacted."""
    next_parent = (
        select(revisions.c.parent)
        .where(revisions.c.owner == owner, revisions.c.revision > at)
        .order_by(revisions.c.revision)
        .limit(1)
    )
    parent = await connection.scalar(next_parent)
    return await _owner_revision(connection, owner) if parent is None else Revision(parent)


async def _to_set(owner: str, revision: Revision, rows: Iterable[_Row]) -> ItemSet:
    found = await in_slices(lambda row: _to_item(owner, *row), rows)
    by_key = {item.key: item for item in found}
    return ItemSet(owner=owner, revision=revision, items=MappingProxyType(by_key))


def _to_item(owner: str, revision: int, kind: int, body: str | None) -> Item:
    if body is None:
        raise StoreDamaged(
            f"revision {revision} lacks the body of an item: restore the store from a backup"
        )
    return Item(owner, Revision(revision), read_body(ItemKind(kind), body))


async def list_commits(connection: AsyncConnection, after: Revision, limit: int) -> list[Commit]:
    """See ``Store.commits``."""
    (await _extent(connection)).check(after)
    page = (
        select(revisions)
        .where(revisions.c.revision > after)
        .order_by(revisions.c.revision)
        .limit(limit)
    )
    return await _load_commits(connection, (await connection.execute(page)).all())


async def _load_commits(connection: AsyncConnection, rows: Sequence[_Row]) -> list[Commit]:
    """Add their changes to rows of revisions that follow each other."""
    if not rows:
        return []
    long = await long_texts.find(
        connection, (text for row in rows for text in (row.owner, row.request_id))
    )
    made = await _load_changes(connection, rows[0].revision, rows[-1].revision, long)
    return [
        Commit(
            revision=Revision(row.revision),
            owner=long.get(row.owner, row.owner),
            time=row.time,
            changes=tuple(sorted(made[row.revision], key=lambda change: change.key)),
            author=row.author,
            message=row.message,
            request_id=long.get(row.request_id, row.request_id or ""),
        )
        for row in rows
    ]


async def _load_changes(
    connection: AsyncConnection, first: int, last: int, long: Mapping[str, str]
) -> dict[int, list[ItemChange]]:
    before = changes.alias("before")
    replaced = and_(before.c.revision == changes.c.before_revision, _is_same_item(before, changes))
    statement = (
        select(changes, before.c.body.label("before_body"))
        .outerjoin_from(changes, before, replaced)
        .where(changes.c.revision.between(first, last))
    )
    rows = (await connection.execute(statement)).all()
    made: dict[int, list[ItemChange]] = defaultdict(list)
    read_all = in_slices(lambda row: _to_change(row, long.get(row.owner, row.owner)), rows)
    for row, change in zip(rows, await read_all, strict=True):
        made[row.revision].append(change)
    return made


def _to_change(row: _Row, owner: str) -> ItemChange:
    before = after = None
    if row.before_revision is not None:
        before = _to_item(owner, row.before_revision, row.kind, row.before_body)
    if row.body is not None:
        after = _to_item(owner, row.revision, row.kind, row.body)
    return ItemChange(before, after)


async def list_history(
    connection: AsyncConnection,
    owner: str,
    *,
    key: ItemKey | None,
    before: Revision | None,
    limit: int,
) -> list[CommitSummary]:
    """See ``Store.history``."""
    statement = (
        select(revisions)
        .where(revisions.c.owner == owner)
        .where(revisions.c.revision < await _end(connection, before))
        .order_by(revisions.c.revision.desc())
        .limit(limit)
    )
    if key is not None:
        statement = statement.join(changes, changes.c.revision == revisions.c.revision).where(
            *(changes.c[name] == value for name, value in _key_columns(key).items())
        )
    return [
        CommitSummary(
            revision=Revision(row.revision),
            owner=owner,
            time=row.time,
            author=row.author,
            message=row.message,
            upserts=row.upserts,
            deletes=row.deletes,
        )
        for row in await connection.execute(statement)
    ]


async def _end(connection: AsyncConnection, before: Revision | None) -> int:
    """Return a bound that revisions are below.

    One past the head bounds nothing, and might be more than the database's integers hold.
    """
    end = (await head(connection)) + 1
    return end if before is None else min(before, end)


async def list_versions(
    connection: AsyncConnection,
    owner: str,
    key: ItemKey,
    *,
    before: Revision | None,
    limit: int,
) -> list[Item]:
    """See ``Store.versions``."""
    statement = (
        select(changes.c.revision, changes.c.kind, changes.c.body)
        .where(changes.c.owner == owner, changes.c.body.is_not(None))
        .where(*(changes.c[name] == value for name, value in _key_columns(key).items()))
        .where(changes.c.revision < await _end(connection, before))
        .order_by(changes.c.revision.desc())
        .limit(limit)
    )
    return [_to_item(owner, *row) for row in await connection.execute(statement)]
