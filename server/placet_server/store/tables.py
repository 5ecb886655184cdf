"""The tables of the SQL stores, and how their columns keep what the domain may hold.

Portable: SQLite and PostgreSQL take them alike. Migrations make them; a test compares the two.

A body is kept once, in ``changes``, at the revision that wrote it. ``items`` points at the
changes that are current, and a change at the one it replaced.
"""

from __future__ import annotations

import datetime
import re

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Dialect,
    ForeignKey,
    Index,
    MetaData,
    SmallInteger,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)


class AnyText(TypeDecorator[str]):
    r"""Text that may hold NUL, which PostgreSQL refuses and SQLite's functions stop at.

    NUL is written as ``\0`` and a backslash twice, so that texts that differ still do.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or ("\\" not in value and "\0" not in value):
            return value
        return value.replace("\\", r"\\").replace("\0", r"\0")

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or "\\" not in value:
            return value
        return _ESCAPED.sub(lambda match: "\0" if match[0] == r"\0" else "\\", value)


_ESCAPED = re.compile(r"\\[\\0]")


class Instant(TypeDecorator[datetime.datetime]):
    """A point in time, kept as microseconds since 1970: SQLite has no type for one."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime.datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime.datetime | None:
        return None if value is None else _EPOCH + value * _MICROSECOND


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

store_meta = Table(
    "store_meta",
    metadata,
    Column("one", SmallInteger, primary_key=True, autoincrement=False),
    Column("store_id", Text, nullable=False),
    Column("head", BigInteger, nullable=False),
    Column("compacted_to", BigInteger, nullable=False),
    CheckConstraint("one = 1", name="row"),
    comment="one row; who locks it may commit",
)

owners = Table(
    "owners",
    metadata,
    Column("owner", AnyText, primary_key=True),
    Column("revision", BigInteger, nullable=False),
)

revisions = Table(
    "revisions",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("owner", AnyText, ForeignKey(owners.c.owner), nullable=False),
    Column("parent", BigInteger, nullable=False, comment="the owner's revision before this one"),
    Column("time", Instant, nullable=False),
    Column("author", AnyText, nullable=False),
    Column("message", AnyText, nullable=False),
    Column("request_id", AnyText, comment="null: none, and then it need not be unique"),
    Column("upserts", BigInteger, nullable=False),
    Column("deletes", BigInteger, nullable=False),
    UniqueConstraint("owner", "request_id"),
    Index(None, "owner", "revision"),
)

changes = Table(
    "changes",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", SmallInteger, primary_key=True, autoincrement=False),
    Column("type", AnyText, primary_key=True),
    Column("id", AnyText, primary_key=True),
    Column("owner", AnyText, ForeignKey(owners.c.owner), nullable=False),
    Column("body", Text, comment="canonical JSON; null: the item was removed"),
    Column("before_revision", BigInteger, comment="null: the item was not there"),
    Index(None, "owner", "kind", "type", "id", "revision"),
    comment="compaction keeps what is needed to read at the earliest revision",
)

notices = Table(
    "notices",
    metadata,
    Column("topic", AnyText, primary_key=True),
    Column("name", AnyText, primary_key=True),
    Column("time", Instant, nullable=False),
    Column("body", Text, nullable=False, comment="JSON"),
    comment="what processes on one store tell each other; the last one counts",
)

items = Table(
    "items",
    metadata,
    Column("owner", AnyText, ForeignKey(owners.c.owner), primary_key=True),
    Column("kind", SmallInteger, primary_key=True, autoincrement=False),
    Column("type", AnyText, primary_key=True),
    Column("id", AnyText, primary_key=True),
    Column("revision", BigInteger, nullable=False),
)
