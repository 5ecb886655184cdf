"""The tables of the SQL stores.

Portable: SQLite and PostgreSQL take them alike. Migrations make them; a test compares the two.

A body is kept once, in ``changes``, at the revision that wrote it. ``items`` points at the
changes that are current, and a change at the one it replaced.
"""

from __future__ import annotations

from typing import Protocol

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
    UniqueConstraint,
)
from sqlalchemy.dialects import postgresql, sqlite

from placet_server.store.columns import AnyText, Instant, KeyText, RequestId

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
    Column("owner", KeyText, primary_key=True),
    Column("revision", BigInteger, nullable=False),
)

revisions = Table(
    "revisions",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("owner", KeyText, ForeignKey(owners.c.owner), nullable=False),
    Column("parent", BigInteger, nullable=False, comment="the owner's revision before this one"),
    Column("time", Instant, nullable=False),
    Column("author", AnyText, nullable=False),
    Column("message", AnyText, nullable=False),
    Column("request_id", RequestId, comment="null: none, and then it need not be unique"),
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
    Column("type", KeyText, primary_key=True),
    Column("id", KeyText, primary_key=True),
    Column("owner", KeyText, ForeignKey(owners.c.owner), nullable=False),
    Column("body", Text, comment="canonical JSON; null: the item was removed"),
    Column("before_revision", BigInteger, comment="null: the item was not there"),
    Index(None, "owner", "kind", "type", "id", "revision"),
    comment="compaction keeps what is needed to read at the earliest revision",
)

notices = Table(
    "notices",
    metadata,
    Column("topic", KeyText, primary_key=True),
    Column("name", KeyText, primary_key=True),
    Column("time", Instant, nullable=False),
    Column("body", Text, nullable=False, comment="JSON"),
    comment="what processes on one store tell each other; the last one counts",
)

items = Table(
    "items",
    metadata,
    Column("owner", KeyText, ForeignKey(owners.c.owner), primary_key=True),
    Column("kind", SmallInteger, primary_key=True, autoincrement=False),
    Column("type", KeyText, primary_key=True),
    Column("id", KeyText, primary_key=True),
    Column("revision", BigInteger, nullable=False),
)

long_texts = Table(
    "long_texts",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("body", AnyText, nullable=False),
    comment="what stands in the other tables as a digest; none in sqlite",
)

leaders = Table(
    "leaders",
    metadata,
    Column("role", KeyText, primary_key=True),
    Column("term", BigInteger, nullable=False),
    Column("holder", AnyText, nullable=False),
    comment="who leads; a higher term makes the ones below it void",
)


class HasDialect(Protocol):
    """A connection, as far as it matters here."""

    @property
    def dialect(self) -> Dialect:
        """The database's."""
        ...


def insert_into(connection: HasDialect, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT that can say ON CONFLICT, which is not portable."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)
