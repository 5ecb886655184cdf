"""What works read and write before it is in the database: one after the other, then all at once.

What a work writes is kept apart until it has ended well, and then with what the works before it
wrote; the database is told before somebody looks for records there, and in the end.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping
from typing import TypeAlias

from placet_server.store.ledger import audit_log, statements
from placet_server.store.ledger.contract import (
    EVERYTHING,
    AuditEntry,
    Key,
    Page,
    Record,
    RecordChanged,
    RecordKind,
    Span,
    Tally,
    TallyEntry,
)
from placet_server.store.ledger.statements import Connection

_MAX_TEXT = 512
_MAX_AMOUNT = 1 << 53

_Amount: TypeAlias = tuple[str, str, str]


class Looking:
    """Implements ``Reading`` on a transaction that only reads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, key: Key) -> Record | None:
        return await statements.get(self._connection, key)

    async def find(
        self,
        kind: RecordKind,
        index: str,
        span: Span = EVERYTHING,
        *,
        tenant: str | None,
        limit: int,
        after: tuple[str, str, str] | None = None,
        descending: bool = False,
    ) -> Page:
        if limit < 1:
            raise ValueError("limit must be at least 1")
        return await statements.find(
            self._connection,
            kind,
            index,
            span,
            tenant=tenant,
            limit=limit,
            after=after,
            descending=descending,
        )

    async def tally(self, tenant: str, series: str, *, since: datetime.datetime | None) -> Tally:
        return await statements.tally(self._connection, tenant, series, since)


class Batch:
    """What several works have written in one transaction of the database."""

    def __init__(self, connection: Connection, source: str) -> None:
        self.connection = connection
        self.looking = Looking(connection)
        self.has_written = False
        self._source = source
        self._stored: dict[Key, Record | None] = {}
        """What the database has, of what was read or written."""
        self._records: dict[Key, Record | None] = {}
        """What is to be written there."""
        self._amounts: dict[_Amount, TallyEntry | None] = {}
        self._entries: list[audit_log.Entry] = []

    async def get(self, key: Key) -> Record | None:
        if key in self._records:
            return self._records[key]
        if key not in self._stored:
            self._stored[key] = await self.looking.get(key)
        return self._stored[key]

    def note(self, record: Record) -> None:
        """Take down what was found in the database."""
        self._stored[record.key] = record

    def take_over(
        self,
        records: Mapping[Key, Record | None],
        amounts: Mapping[_Amount, TallyEntry | None],
        entries: list[audit_log.Entry],
    ) -> None:
        """Keep what a work wrote that has ended well."""
        for key in records:
            self._stored.setdefault(key, None)
        self._records.update(records)
        self._amounts.update(amounts)
        self._entries += entries

    async def flush_kind(self, kind: RecordKind) -> None:
        """Bring what was written into the database, if records of a kind are among it."""
        if any(key.kind is kind for key in self._records):
            await self.flush()

    async def flush_series(self, tenant: str, series: str) -> None:
        """Bring what was written into the database, if amounts of a series are among it."""
        if any(amount[:2] == (tenant, series) for amount in self._amounts):
            await self.flush()

    async def flush(self) -> None:
        """Bring what was written into the database."""
        if not (self._records or self._amounts or self._entries):
            return
        self.has_written = True
        if self._records:
            await statements.write(self.connection, self._stored, self._records)
            self._stored.update(self._records)
            self._records = {}
        gone = [key for key, entry in self._amounts.items() if entry is None]
        put = {key: entry for key, entry in self._amounts.items() if entry is not None}
        if gone:
            await statements.subtract(self.connection, gone)
        if put:
            await statements.add(self.connection, put)
        self._amounts = {}
        if self._entries:
            await audit_log.write(self.connection, self._entries, source=self._source)
            self._entries = []


class Work:
    """Implements ``Transaction``: what one work reads and writes."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._read: dict[Key, Record | None] = {}
        self._records: dict[Key, Record | None] = {}
        self._amounts: dict[_Amount, TallyEntry | None] = {}
        self._entries: list[audit_log.Entry] = []

    async def get(self, key: Key) -> Record | None:
        if key in self._records:
            return self._records[key]
        self._read[key] = await self._batch.get(key)
        return self._read[key]

    async def find(
        self,
        kind: RecordKind,
        index: str,
        span: Span = EVERYTHING,
        *,
        tenant: str | None,
        limit: int,
        after: tuple[str, str, str] | None = None,
        descending: bool = False,
    ) -> Page:
        self._check_unwritten()
        await self._batch.flush_kind(kind)
        page = await self._batch.looking.find(
            kind, index, span, tenant=tenant, limit=limit, after=after, descending=descending
        )
        for record in page.records:
            self._batch.note(record)
            self._read[record.key] = record
        return page

    async def tally(self, tenant: str, series: str, *, since: datetime.datetime | None) -> Tally:
        self._check_unwritten()
        await self._batch.flush_series(tenant, series)
        return await self._batch.looking.tally(tenant, series, since=since)

    def _check_unwritten(self) -> None:
        if self._records or self._amounts:
            raise RuntimeError("a work finds and adds up before it writes")

    def put(self, record: Record, *, expected: int | None = None) -> Record:
        _check_texts(record)
        key = record.key
        before = self._records[key] if key in self._records else self._read.get(key)
        version = before.version if before is not None else 0
        if expected is not None and expected != version:
            raise RecordChanged(key, expected, version)
        written = Record(key=key, body=record.body, found_by=record.found_by, version=version + 1)
        self._records[key] = written
        return written

    def delete(self, key: Key) -> None:
        self._records[key] = None

    def add(self, tenant: str, entry: TallyEntry) -> None:
        if not -_MAX_AMOUNT <= entry.amount <= _MAX_AMOUNT:
            raise ValueError(f"an amount of {entry.amount} is beyond what can be added up")
        _check_text(entry.series)
        self._amounts[tenant, entry.series, entry.id] = entry

    def subtract(self, tenant: str, series: str, entry_id: str) -> None:
        self._amounts[tenant, series, entry_id] = None

    def audit(self, tenant: str, entry: AuditEntry) -> str:
        record_id = str(uuid.uuid4())
        self._entries.append(audit_log.Entry(tenant, record_id, entry))
        return record_id

    def end(self) -> None:
        """Hand over what was written."""
        self._batch.take_over(self._records, self._amounts, self._entries)


def _check_texts(record: Record) -> None:
    _check_text(record.key.id)
    for texts in record.found_by.values():
        for text in texts:
            _check_text(text)


def _check_text(text: str) -> None:
    if len(text) > _MAX_TEXT or "\0" in text:
        raise ValueError(f"{text[:40]!r} cannot be found by: it has NUL or is too long")
