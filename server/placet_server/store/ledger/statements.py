"""What the ledger does in SQL, each within a transaction that the caller has begun."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import (
    ColumnElement,
    Dialect,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.engine import CursorResult
from sqlalchemy.sql import Executable

from placet_server.store.ledger.contract import (
    Key,
    Page,
    Record,
    RecordKind,
    Span,
    Tally,
    TallyEntry,
)
from placet_server.store.ledger.tables import (
    ledger_batches,
    ledger_meta,
    record_texts,
    records,
    tallies,
)
from placet_server.store.tables import insert_into

_BATCHES_KEPT = datetime.timedelta(minutes=10)


class Connection(Protocol):
    """What runs statements: SQLAlchemy's ``AsyncConnection``, or what stands in for one."""

    @property
    def dialect(self) -> Dialect:
        """The database's."""
        ...

    async def execute(
        self,
        statement: Executable,
        parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> CursorResult[Any]:
        """Run a statement."""
        ...

    async def scalar(self, statement: Executable) -> Any:
        """Run a statement, and return the first value of what it finds."""
        ...


# --------------------------------------------------------------------------------- reading


async def get(connection: Connection, key: Key) -> Record | None:
    if "\0" in key.id:
        return None  # none was ever written, and PostgreSQL does not take the question
    row = (await connection.execute(_GET, _bound(key))).one_or_none()
    return None if row is None else _to_record(key, row)


_GET = select(records.c.version, records.c.body, records.c.found_by).where(
    records.c.kind == bindparam("of_kind"),
    records.c.tenant == bindparam("of_tenant"),
    records.c.id == bindparam("of_id"),
)


async def find(
    connection: Connection,
    kind: RecordKind,
    index: str,
    span: Span,
    *,
    tenant: str | None,
    limit: int,
    after: tuple[str, str, str] | None,
    descending: bool,
) -> Page:
    at = record_texts.c
    conditions: list[ColumnElement[bool]] = [at.kind == kind, at.name == index]
    order = [at.text, at.tenant, at.id] if tenant is None else [at.text, at.id]
    if tenant is not None:
        conditions.append(at.tenant == tenant)
    conditions += _within(span)
    if after is not None:
        text, of_tenant, of_id = after
        where = [text, of_tenant, of_id] if tenant is None else [text, of_id]
        position = tuple_(*order)
        conditions.append(position < tuple_(*where) if descending else position > tuple_(*where))
    statement = (
        select(at.text, at.tenant, at.id, records.c.version, records.c.body, records.c.found_by)
        .join(
            records,
            and_(records.c.kind == at.kind, records.c.tenant == at.tenant, records.c.id == at.id),
        )
        .where(*conditions)
        .order_by(*(column.desc() if descending else column for column in order))
        .limit(limit + 1)
    )
    rows = (await connection.execute(statement)).all()
    found = [_to_record(Key(kind, row.tenant, row.id), row) for row in rows[:limit]]
    last = rows[limit - 1] if len(rows) > limit else None
    return Page(found, (last.text, last.tenant, last.id) if last is not None else None)


def _within(span: Span) -> list[ColumnElement[bool]]:
    text = record_texts.c.text
    if span.is_exact:
        return [text == span.low]
    bounds = [text >= span.low] if span.low else []
    return bounds if span.high is None else [*bounds, text < span.high]


async def tally(
    connection: Connection, tenant: str, series: str, since: datetime.datetime | None
) -> Tally:
    at = tallies.c
    conditions = [at.tenant == tenant, at.series == series]
    if since is not None:
        conditions.append(at.time >= since)
    # PostgreSQL adds integers up to decimals, which are beyond what JSON takes.
    statement = select(func.count(), func.coalesce(func.sum(at.amount), 0)).where(*conditions)
    entries, total = map(int, (await connection.execute(statement)).one())
    return Tally(entries, total)


async def sequence(connection: Connection) -> int:
    """Return how often the ledger changed."""
    return int(await connection.scalar(select(ledger_meta.c.sequence)) or 0)


def _to_record(key: Key, row: Any) -> Record:
    return Record(
        key=key,
        body=json.loads(row.body),
        found_by={name: tuple(texts) for name, texts in json.loads(row.found_by).items()},
        version=row.version,
    )


# --------------------------------------------------------------------------------- writing


async def write(
    connection: Connection, before: Mapping[Key, Record | None], after: Mapping[Key, Record | None]
) -> None:
    """Write records in the place of what was there; None is no record."""
    gone = [_bound(key) for key, record in after.items() if record is None and before[key]]
    new = [record for key, record in after.items() if record is not None and not before[key]]
    changed = [record for key, record in after.items() if record is not None and before[key]]
    if gone:
        await connection.execute(_DELETE, gone)
    if new:
        await connection.execute(insert(records), [_row(record) for record in new])
    if changed:
        rows = [_row(record) for record in changed]
        await connection.execute(_UPDATE, [_naming(row) for row in rows])
    await _write_texts(connection, before, after)


async def _write_texts(
    connection: Connection, before: Mapping[Key, Record | None], after: Mapping[Key, Record | None]
) -> None:
    old = {text for key in after for text in _texts(before[key])}
    new = {text for record in after.values() for text in _texts(record)}
    if stale := sorted(old - new):
        await connection.execute(_DELETE_TEXT, [_naming(dict(text)) for text in stale])
    if fresh := sorted(new - old):
        await connection.execute(insert(record_texts), [dict(text) for text in fresh])


def _texts(record: Record | None) -> Iterable[tuple[tuple[str, str], ...]]:
    """Return the rows of a record's texts, so that they can be compared."""
    if record is None:
        return
    kind, tenant, id_ = record.key
    for name, texts in record.found_by.items():
        for text in texts:
            row = {"kind": str(kind), "name": name, "tenant": tenant, "text": text, "id": id_}
            yield tuple(row.items())


async def add(connection: Connection, rows: Mapping[tuple[str, str, str], TallyEntry]) -> None:
    """Put amounts down, by tenant, series and id."""
    statement = insert_into(connection, tallies)
    statement = statement.on_conflict_do_update(
        index_elements=["tenant", "series", "id"],
        set_={"time": statement.excluded.time, "amount": statement.excluded.amount},
    )
    values = [
        {"tenant": tenant, "series": series, "id": id_, "time": it.time, "amount": it.amount}
        for (tenant, series, id_), it in rows.items()
    ]
    await connection.execute(statement, values)


async def subtract(connection: Connection, keys: Iterable[tuple[str, str, str]]) -> None:
    """Take amounts away."""
    names = ("of_tenant", "of_series", "of_id")
    rows = [dict(zip(names, key, strict=True)) for key in keys]
    await connection.execute(_SUBTRACT, rows)


async def advance(connection: Connection, nonce: str, time: datetime.datetime) -> None:
    """Say that the ledger changed, and by which batch."""
    moved = await connection.execute(
        update(ledger_meta).values(sequence=ledger_meta.c.sequence + 1)
    )
    if moved.rowcount == 0:
        await connection.execute(insert(ledger_meta), {"one": 1, "sequence": 1})
    await connection.execute(insert(ledger_batches), {"nonce": nonce, "time": time})


async def confirm(connection: Connection) -> None:
    """Write, so that the transaction's commit makes what it has read as durable as itself."""
    await connection.execute(update(ledger_meta).values(sequence=ledger_meta.c.sequence))


async def forget_batches(connection: Connection, now: datetime.datetime) -> None:
    """Forget batches of which everybody has heard by now."""
    old = ledger_batches.c.time < now - _BATCHES_KEPT
    await connection.execute(delete(ledger_batches).where(old))


async def was_committed(connection: Connection, nonce: str) -> bool:
    """Whether a batch was committed, as far as that is to be known."""
    statement = select(func.count()).where(ledger_batches.c.nonce == nonce)
    return bool(await connection.scalar(statement))


_IS_THIS = (
    records.c.kind == bindparam("of_kind"),
    records.c.tenant == bindparam("of_tenant"),
    records.c.id == bindparam("of_id"),
)
_DELETE = delete(records).where(*_IS_THIS)
_UPDATE = (
    update(records)
    .where(*_IS_THIS)
    .values(
        version=bindparam("of_version"),
        body=bindparam("of_body"),
        found_by=bindparam("of_found_by"),
    )
)
_DELETE_TEXT = delete(record_texts).where(
    *(column == bindparam(f"of_{column.name}") for column in record_texts.columns)
)
_SUBTRACT = delete(tallies).where(
    *(column == bindparam(f"of_{column.name}") for column in tallies.primary_key.columns)
)


def _row(record: Record) -> dict[str, Any]:
    kind, tenant, id_ = record.key
    return {
        "kind": str(kind),
        "tenant": tenant,
        "id": id_,
        "version": record.version,
        "body": _to_json(record.body),
        "found_by": _to_json(record.found_by),
    }


def _naming(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as parameters that cannot be taken for columns."""
    return {f"of_{name}": value for name, value in row.items()}


def _bound(key: Key) -> dict[str, str]:
    return {"of_kind": str(key.kind), "of_tenant": key.tenant, "of_id": key.id}


def _to_json(body: Mapping[str, Any]) -> str:
    return json.dumps(body, separators=(",", ":"), allow_nan=False)
