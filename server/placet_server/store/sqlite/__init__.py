"""The store in one SQLite file: what a node without a database server keeps its policies in."""

from __future__ import annotations

from placet_server.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
