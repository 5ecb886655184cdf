"""A store in a PostgreSQL database: how it is opened, and how it learns of others' commits."""

from __future__ import annotations

import secrets
from contextlib import AbstractAsyncContextManager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from placet_engine.changes import Commit
from placet_engine.items import Revision
from placet_server.store import revision_log
from placet_server.store.columns import Nonce
from placet_server.store.postgres.address import Address
from placet_server.store.postgres.database import Database
from placet_server.store.postgres.holding import holding
from placet_server.store.postgres.noticing import CommitNotice, channel_of
from placet_server.store.postgres.opening import prepare
from placet_server.store.sql_store import Append, ChangeNotice, Held, SqlStore

_NONCE_BYTES = 12


class PostgresStore(SqlStore):
    """Implements ``Store``. Any number of nodes on any number of machines share one database.

    A commit is on the server's disk when ``append`` returns, and on those of its synchronous
    replicas. Where there are none, one that was acknowledged is lost with the server's machine.
    """

    def __init__(self, database: Database, store_id: str, *, poll_s: float) -> None:
        super().__init__(database, store_id)
        self.database = database
        self._poll_s = poll_s

    @classmethod
    async def open(
        cls, address: Address, *, poll_s: float = 0.2, patience_s: float = 5.0
    ) -> PostgresStore:
        """Open the store in a database, after making its tables or migrating them where needed.

        ``poll_s`` is how long commits of other nodes may go unseen by ``watch`` when the server
        does not tell of them, and ``patience_s`` how long what fails is tried again: when others
        write at the same time, or the server went away and another takes its place.

        Raises:
            StoreUnavailable: the database cannot be reached, or not be written to.
            StoreDamaged: it is not a store, or not whole.
            StoreIncompatible: a newer placet wrote it, or the server is too old.
        """
        database = Database(address, patience_s=patience_s)
        try:
            store_id = await prepare(database)
            # What is worked on before that is not in use, and has been seen by nobody.
            database.witness.store_id = store_id
            return cls(database, store_id, poll_s=poll_s)
        except BaseException:
            await database.aclose()
            raise

    async def _append(self, append: Append) -> Commit:
        nonce = Nonce(secrets.token_hex(_NONCE_BYTES))

        async def append_and_tell(connection: AsyncConnection) -> Commit:
            commit = await append(connection, nonce=nonce)
            told = {"channel": channel_of(self.store_id), "revision": str(commit.revision)}
            await connection.execute(text("SELECT pg_notify(:channel, :revision)"), told)
            return commit

        commit = await self._database.write(append_and_tell)
        self.database.witness.note([commit])
        return commit

    async def find_commit(self, owner: str, *, request_id: str) -> Commit | None:
        commit = await super().find_commit(owner, request_id=request_id)
        if commit is not None:
            await self._database.write(revision_log.confirm)
        return commit

    async def commits(self, after: Revision, *, limit: int) -> list[Commit]:
        page = await super().commits(after, limit=limit)
        self.database.witness.note(page[-1:])
        return page

    def _start_notice(self) -> ChangeNotice:
        return CommitNotice(
            self.database.address,
            self.store_id,
            poll_s=self._poll_s,
            on_change=self._bell.ring,
            on_silence=self.database.abandon,
        )

    def _holding(self, role: str) -> AbstractAsyncContextManager[Held]:
        return holding(self.database.address, role)
