"""Which of a database's advisory locks are ours, and what each is for."""

from __future__ import annotations

from enum import IntEnum


class Lock(IntEnum):
    """The first number of a lock; the second tells one store, or one role, from another."""

    LAYOUT = 0x504C4354
    """``PLCT``. Who makes or migrates tables."""
    LEAD = LAYOUT + 1
    """Who leads, by role."""
    USE = LAYOUT + 2
    """Shared by the connections of all nodes that have the store open."""


SCHEMA = "current_schema()::regnamespace::int"
"""The second number for a store: a database has one in each schema, at most."""
