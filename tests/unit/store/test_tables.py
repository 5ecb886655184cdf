"""The tables are what the migrations make, and hold what they are given."""

from __future__ import annotations

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, insert, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.schema import CreateIndex, CreateTable

from placet_server.store import migrations
from placet_server.store.columns import AnyText
from placet_server.store.layout import metadata
from placet_server.store.postgres.address import Address
from placet_server.store.tables import owners
from tests.postgres import new_schema


def test_migrations_lead_to_the_tables(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'store.db'}")
    with engine.begin() as connection:
        migrations.upgrade(connection)

        assert _differences(connection) == []
    engine.dispose()


async def test_migrations_lead_to_the_tables_in_postgresql() -> None:
    address = Address.parse(new_schema())
    engine = create_async_engine("postgresql+asyncpg://", async_creator=address.connect)
    async with engine.begin() as connection:
        await connection.run_sync(migrations.upgrade)

        assert await connection.run_sync(_differences) == []
        # By bytes, whatever the database's own order is.
        collated = text(
            "SELECT count(*) FROM information_schema.columns WHERE table_schema = current_schema()"
            " AND column_name IN ('owner', 'id', 'type', 'name') AND collation_name = 'C'"
        )
        assert await connection.scalar(collated) == 13
    await engine.dispose()


def _differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


def test_upgrading_twice_changes_nothing(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'store.db'}")
    with engine.begin() as connection:
        migrations.upgrade(connection)
        connection.execute(insert(owners), {"owner": "acme", "revision": 1})
    with engine.begin() as connection:
        migrations.upgrade(connection)

        assert connection.execute(select(owners)).all() == [("acme", 1)]
    engine.dispose()


@given(st.text(st.sampled_from("\0\\0a🦉")), st.text(st.sampled_from("\0\\0a🦉")))
def test_any_text_is_kept_without_nul(one: str, other: str) -> None:
    """PostgreSQL refuses NUL; what differs must differ in the database too."""
    kind, dialect = AnyText(), postgresql.dialect()  # type: ignore[no-untyped-call]
    kept = kind.process_bind_param(one, dialect)

    assert kept is not None
    assert "\0" not in kept
    assert kind.process_result_value(kept, dialect) == one
    assert (kept == kind.process_bind_param(other, dialect)) == (one == other)


def test_tables_are_written_the_same_for_postgresql() -> None:
    """The names of constraints are those the migration gives, whichever the database."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    statements = [
        str(CreateTable(table).compile(dialect=dialect)) for table in metadata.sorted_tables
    ] + [
        str(CreateIndex(index).compile(dialect=dialect))
        for table in metadata.sorted_tables
        for index in table.indexes
    ]

    assert "uq_revisions_owner_request_id" in "".join(statements)
    assert not [each for each in statements if "SERIAL" in each]


def test_the_layout_that_is_known_is_what_the_newest_migration_makes(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'store.db'}")
    with engine.begin() as connection:
        migrations.upgrade(connection)

        assert {migrations.HEAD} == set(MigrationContext.configure(connection).get_current_heads())
    engine.dispose()
