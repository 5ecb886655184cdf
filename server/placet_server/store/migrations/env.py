"""What Alembic runs for every command: our one way to migrate is within an open transaction."""

from __future__ import annotations

from alembic import context

from placet_server.store.layout import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
