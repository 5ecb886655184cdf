"""All tables of a store in SQL."""

from __future__ import annotations

from placet_server.store.ledger import tables as _ledger_tables  # noqa: F401  # adds its own
from placet_server.store.tables import metadata

__all__ = ["metadata"]
