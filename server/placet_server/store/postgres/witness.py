"""Notices when a database has lost what this process has seen in it.

A replica that was promoted may lack the newest commits, and a backup that was restored does. What
was acknowledged is then gone, and revisions after it would be given a second time, to other
commits: whoever goes on would decide by policies that nobody has published.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from placet_engine.changes import Commit
from placet_engine.items import Revision
from placet_server.store import revision_log
from placet_server.store.contract import StoreDamaged
from placet_server.store.tables import store_meta


class Witness:
    """Remembers the newest commit that was seen."""

    def __init__(self) -> None:
        self.store_id = ""
        self.seen: Commit | None = None

    def note(self, commits: Iterable[Commit]) -> None:
        """Remember commits that the database says are made."""
        for commit in commits:
            if self.seen is None or commit.revision > self.seen.revision:
                self.seen = commit

    async def check(self, connection: AsyncConnection, seen: Commit | None) -> None:
        """Compare a database that was connected to anew with what is remembered.

        ``seen`` is what was before the transaction began: what came after it need not be there.

        Raises:
            StoreDamaged: it is another store, or one that has gone back.
        """
        meta = select(store_meta.c.store_id, store_meta.c.head, store_meta.c.compacted_to)
        store_id, head, compacted_to = (await connection.execute(meta)).one()
        if store_id != self.store_id:
            raise StoreDamaged(
                "another store is there than before; restart the nodes if that is meant to be"
            )
        if seen is None or seen.revision <= compacted_to:
            return
        found: list[Commit] = []
        if head >= seen.revision:
            before = Revision(seen.revision - 1)
            found = await revision_log.list_commits(connection, before, 1)
        if found != [seen]:
            raise StoreDamaged(
                f"revision {seen.revision}, which this node has seen, is not there and the newest "
                f"is {head}: a replica was promoted, or a backup restored, that lacks commits that "
                "were acknowledged; bring back a server that has them, or run "
                "`placet store accept` and restart the nodes"
            )
