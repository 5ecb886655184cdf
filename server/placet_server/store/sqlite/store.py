"""A store in one SQLite file: how it is opened, and how it learns of others' commits."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from placet_server.store.sql_store import ChangeNotice, Held, SqlStore
from placet_server.store.sqlite.database import Database
from placet_server.store.sqlite.holding import holding
from placet_server.store.sqlite.noticing import FileNotice
from placet_server.store.sqlite.opening import prepare


class SqliteStore(SqlStore):
    """Implements ``Store``. Any number of objects and processes may share one file.

    A commit is on the disk when ``append`` returns. The file must be on a local disk: SQLite's
    locks are not to be trusted on a network's.
    """

    def __init__(self, database: Database, store_id: str, *, poll_s: float) -> None:
        super().__init__(database, store_id)
        self._path = database.path
        self._poll_s = poll_s

    @classmethod
    async def open(
        cls, path: Path, *, poll_s: float = 0.02, busy_timeout_s: float = 5.0
    ) -> SqliteStore:
        """Open the store in a file, after making or migrating it where needed.

        ``poll_s`` is how long commits of other processes may go unseen by ``watch``, and
        ``busy_timeout_s`` how long to wait for another process that writes.

        Raises:
            StoreUnavailable: the file cannot be opened or written to.
            StoreDamaged: it is not a store, or not whole.
            StoreIncompatible: a newer placet wrote it.
        """
        database = Database(path, busy_timeout_s=busy_timeout_s)
        try:
            return cls(database, await prepare(database), poll_s=poll_s)
        except BaseException:
            await database.aclose()
            raise

    def _start_notice(self) -> ChangeNotice:
        return FileNotice(self._path, poll_s=self._poll_s, on_change=self._bell.ring)

    def _holding(self, role: str) -> AbstractAsyncContextManager[Held]:
        return holding(self._path, role)
