"""What a node follows: a store, or what the nodes it follows tell of one.

``Store`` is a source, and so is the upstream's copy on a node without a store. The feed knows
no more than this of either.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from placet_engine.changes import Commit, ItemSet
from placet_engine.items import Revision

WITHHELD = ".withheld"
"""Owner of commits whose content this node is not shown. They have no changes. No tenant can be
called so: names begin with a letter or a digit."""


class Source(Protocol):
    """An ordered log of revisions over items that belong to owners, to be read and followed.

    Each method is as ``Store`` describes it, errors included, with this difference: a source
    that is a copy has but its newest state to read from, and its commits may say that this node
    may not hold some owner any more.
    """

    @property
    def store_id(self) -> str:
        """Identifier of the store whose revisions these are."""
        ...

    async def head(self) -> Revision:
        """Return the newest revision there is here."""
        ...

    async def earliest(self) -> Revision:
        """Return the revision after which commits are kept."""
        ...

    async def owners(self) -> dict[str, Revision]:
        """Return every owner with its newest revision."""
        ...

    async def read(self, owner: str, *, at: Revision | None = None) -> ItemSet:
        """Return an owner's items, now or as they were at a revision."""
        ...

    async def commits(self, after: Revision, *, limit: int) -> list[Commit]:
        """Return up to ``limit`` commits that follow a revision, oldest first."""
        ...

    def watch(self, after: Revision) -> AsyncGenerator[Commit, None]:
        """Yield every commit that follows a revision, in order, without end."""
        ...


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where what a node has comes from."""

    store_id: str
    """Whose revisions and cursors they are. Empty: nothing has come yet."""
    nodes: tuple[str, ...]
    """Ids of the nodes from this one, its own first, up to the one that has the store, as far
    as they are known."""
