"""How watchers learn of commits: they read after their own position, and sleep in between.

Nothing is queued for a watcher, so one that is slow or gone costs the others nothing. What a
bell says is only "look again"; the store's commits are the truth.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Protocol

from placet_engine.changes import Commit
from placet_engine.items import Revision

PAGE = 32


class Bell:
    """Wakes everyone who listens. Rings nobody hears are lost, so listen first, then look."""

    def __init__(self) -> None:
        self._next_ring = asyncio.Event()

    def listen(self) -> asyncio.Event:
        """Return the event that the next ring sets."""
        return self._next_ring

    def ring(self) -> None:
        """Wake all who listen now."""
        self._next_ring.set()
        self._next_ring = asyncio.Event()


class _ReadCommits(Protocol):
    async def __call__(self, after: Revision, *, limit: int) -> list[Commit]: ...


async def follow(
    read_commits: _ReadCommits, bell: Bell, after: Revision
) -> AsyncGenerator[Commit, None]:
    """Yield every commit after a revision, without end. See ``Store.watch``."""
    while True:
        # INVARIANT: listen before reading. What is committed after the read then rings.
        ring = bell.listen()
        page = await read_commits(after, limit=PAGE)
        is_full = len(page) == PAGE
        # Nothing is held on to while nothing happens: a commit may be of what must not be kept.
        while page:
            commit = page.pop(0)
            after = commit.revision
            yield commit
            del commit
        if not is_full:
            await ring.wait()
