"""The store in a PostgreSQL database, which control nodes on many machines share."""

from __future__ import annotations

from placet_server.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
