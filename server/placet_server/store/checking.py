"""Checks that a store in SQL is consistent: all of its tables, against each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, and_, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from placet_engine.items import ItemKey, ItemKind, body_to_json, canonical_json
from placet_server.store import revision_log
from placet_server.store.contract import StoreDamaged
from placet_server.store.edits import read_body
from placet_server.store.pages import Page, Row, Tell, read_frame, read_pages
from placet_server.store.tables import changes, items, owners, revisions, store_meta

_MOST_FINDINGS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What is there, and what is wrong with it."""

    store_id: str
    head: int
    earliest: int
    owners: int
    items: int
    changes: int
    findings: tuple[str, ...]
    """The first of them; none if the store is consistent."""


async def check_store(connection: AsyncConnection, tell: Tell) -> Checked:
    """Check everything, within one transaction that reads."""
    findings: list[str] = []
    try:
        await revision_log.check_consistency(connection)
    except StoreDamaged as error:
        findings.append(str(error))
    for what, statement in _RULES:
        broken = await connection.scalar(statement)
        if broken:
            findings.append(f"{what}: {broken}")
    frame = await read_frame(connection)
    done = 0
    async for page in read_pages(connection):
        findings += _look_at(page, frame.meta["compacted_to"])
        done += len(page.changes)
        tell(done, frame.changes)
    return Checked(
        store_id=frame.meta["store_id"],
        head=frame.meta["head"],
        earliest=frame.meta["compacted_to"],
        owners=len(frame.owners),
        items=frame.items,
        changes=frame.changes,
        findings=tuple(findings[:_MOST_FINDINGS]),
    )


# ------------------------------------------------------------------------ what bodies say


def _look_at(page: Page, compacted_to: int) -> Iterator[str]:
    by_revision: dict[int, list[Row]] = {}
    for row in page.changes:
        by_revision.setdefault(row["revision"], []).append(row)
        if row["body"] is not None and (wrong := _wrong_with(row)):
            yield f"revision {row['revision']}: {wrong}"
    for revision in page.revisions:
        yield from _wrong_counts(revision, by_revision.pop(revision["revision"], []))
    for number in by_revision:
        if number > compacted_to:
            yield f"revision {number}: its changes are there, and who made them is not"


def _wrong_with(row: Row) -> str:
    try:
        kind = ItemKind(row["kind"])
        body = read_body(kind, row["body"])
    except (StoreDamaged, ValueError) as error:
        return str(error)
    if body.key != ItemKey(kind, row["id"], row["type"]):
        return f"{body.key} is kept as another item"
    if canonical_json(body_to_json(body)).decode() != row["body"]:
        return f"{body.key} is not as it was written"
    return ""


def _wrong_counts(revision: Row, its_changes: Sequence[Row]) -> Iterator[str]:
    written = sum(row["body"] is not None for row in its_changes)
    counted = (written, len(its_changes) - written)
    if counted != (said := (revision["upserts"], revision["deletes"])):
        yield (
            f"revision {revision['revision']}: it wrote {said[0]} items and removed {said[1]}, and "
            f"{counted[0]} and {counted[1]} are there"
        )
    if any(row["owner"] != revision["owner"] for row in its_changes):
        yield f"revision {revision['revision']}: it changed items of another owner than its own"


# ----------------------------------------------------------------- what rows say of others


def _is_same(one: FromClause, other: FromClause) -> ColumnElement[bool]:
    return and_(
        one.c.owner == other.c.owner,
        one.c.kind == other.c.kind,
        one.c.type == other.c.type,
        one.c.id == other.c.id,
    )


def _counted(condition: ColumnElement[bool], table: FromClause) -> Select[Any]:
    return select(func.count()).select_from(table).where(condition)


_written = changes.alias("written")
_newer = changes.alias("newer")
_sibling = revisions.alias("sibling")
_compacted_to = select(store_meta.c.compacted_to).scalar_subquery()
_has_newer = exists().where(_is_same(_newer, changes), _newer.c.revision > changes.c.revision)

_RULES: Sequence[tuple[str, Select[Any]]] = (
    (
        "items have no body",
        _counted(
            ~exists().where(
                _is_same(_written, items),
                _written.c.revision == items.c.revision,
                _written.c.body.is_not(None),
            ),
            items,
        ),
    ),
    (
        "items are older than their history says",
        _counted(
            exists().where(_is_same(_newer, items), _newer.c.revision > items.c.revision), items
        ),
    ),
    (
        "items are in the history, and not among what is current",
        _counted(
            and_(
                changes.c.body.is_not(None),
                ~_has_newer,
                ~exists().where(_is_same(items, changes)),
            ),
            changes,
        ),
    ),
    (
        "changes say that they replaced what is not there",
        _counted(
            and_(
                changes.c.before_revision.is_not(None),
                ~exists().where(
                    _is_same(_written, changes),
                    _written.c.revision == changes.c.before_revision,
                    _written.c.body.is_not(None),
                ),
                changes.c.revision > _compacted_to,
            ),
            changes,
        ),
    ),
    (
        "changes pass over one before them",
        _counted(
            exists().where(
                _is_same(_written, changes),
                _written.c.revision < changes.c.revision,
                or_(
                    _written.c.revision > changes.c.before_revision,
                    and_(changes.c.before_revision.is_(None), _written.c.body.is_not(None)),
                ),
                ~exists()
                .where(
                    _is_same(_newer, _written),
                    _newer.c.revision > _written.c.revision,
                    _newer.c.revision < changes.c.revision,
                )
                .correlate(_written, changes),
            ),
            changes,
        ),
    ),
    (
        "revisions pass over one of their owner's before them",
        _counted(
            exists().where(
                _sibling.c.owner == revisions.c.owner,
                _sibling.c.revision < revisions.c.revision,
                _sibling.c.revision > revisions.c.parent,
            ),
            revisions,
        ),
    ),
    (
        "owners are not at their newest revision",
        _counted(
            exists().where(
                revisions.c.owner == owners.c.owner, revisions.c.revision > owners.c.revision
            ),
            owners,
        ),
    ),
)
