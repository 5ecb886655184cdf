"""Brings the tables of an SQL store to the layout this code knows. Forward only.

A migration is a file in ``versions/``, written by hand and never changed once released; what
the tables are in the end is in ``store/tables.py``, and a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import Connection, inspect, text

from placet_server.store.contract import StoreIncompatible

HEAD = "0004"
"""The layout that this code knows: what the newest migration is called."""


def upgrade(connection: Connection) -> None:
    """Run the migrations that are missing, within the transaction the connection is in.

    Raises:
        StoreIncompatible: a newer placet was here.
    """
    # What is there already needs none of the tools, which take a tenth of a node's memory.
    if heads(connection) == {HEAD}:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "placet_server.store:migrations")
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    present = set(MigrationContext.configure(connection).get_current_heads())
    if unknown := present - known:
        raise StoreIncompatible(
            f"the store has layout `{'`, `'.join(sorted(unknown))}`, and the newest this placet "
            f"knows is `{scripts.get_current_head()}`: upgrade placet"
        )
    if present != set(scripts.get_heads()):
        command.upgrade(config, "head")


def heads(connection: Connection) -> set[str]:
    """Return what the store says about its layout; nothing if it is new."""
    if not inspect(connection).has_table("alembic_version"):
        return set()
    return set(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())
