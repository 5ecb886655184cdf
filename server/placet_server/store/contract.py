"""The store seam: what every store promises and what its callers do about errors.

A store is an ordered log of revisions over items that belong to owners (a
tenant, or the platform). Revisions are integers that grow by one with every
commit, whoever's items it changes, so that they can be compared everywhere.

Every implementation passes ``tests/conformance/test_store.py``.
"""

from __future__ import annotations

import datetime
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from placet_engine.changes import Commit, Edit, ItemSet
from placet_engine.items import Item, ItemKey, Revision

if TYPE_CHECKING:
    from placet_server.store.ledger.contract import Ledger


class StoreError(Exception):
    """Anything a store reports."""


class RevisionConflict(StoreError):
    """The owner is not at the expected revision. Read it and try again."""

    def __init__(self, owner: str, expected: Revision, actual: Revision) -> None:
        super().__init__(
            f"expected revision {expected} of `{owner or 'the platform'}`, which is at {actual}; "
            "read it again and repeat the change on top of it"
        )
        self.owner = owner
        self.expected = expected
        self.actual = actual


class RevisionCompacted(StoreError):
    """The revision is older than what is kept. Start again from a current read."""

    def __init__(self, revision: Revision, earliest: Revision) -> None:
        super().__init__(
            f"revision {revision} is no longer kept, the earliest is {earliest}; "
            "start again from the current state"
        )
        self.revision = revision
        self.earliest = earliest


class RevisionUnknown(StoreError):
    """The revision is newer than the store. The caller has it from elsewhere."""

    def __init__(self, revision: Revision, head: Revision) -> None:
        super().__init__(f"revision {revision} does not exist yet, the newest is {head}")
        self.revision = revision
        self.head = head


class LeadershipLost(StoreError):
    """Somebody else leads by now. Nothing was committed; leave to them what a leader does."""

    def __init__(self, fence: Fence, term: int) -> None:
        super().__init__(
            f"the leadership of `{fence.role}` of term {fence.term} is over, the term is {term}; "
            "leave it to who leads now"
        )
        self.fence = fence


class StoreUnavailable(StoreError):
    """The store does not answer now. Nothing is known to have been committed; try again later."""


class StoreDamaged(StoreError):
    """What the store holds is not what it wrote. A person has to look at it."""


class StoreIncompatible(StoreError):
    """A newer Placet wrote the store. Raised only when it is opened: upgrade, then open it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitInfo:
    """Who commits, when and why."""

    time: datetime.datetime
    """With time zone."""
    author: str = ""
    message: str = ""
    request_id: str = ""
    """Makes a repeated append harmless, within its owner. Empty: every append is new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitSummary:
    """One line of an owner's history."""

    revision: Revision
    owner: str
    time: datetime.datetime
    author: str
    message: str
    upserts: int
    deletes: int


@dataclass(frozen=True, slots=True)
class Fence:
    """A leadership as what is done under it carries it: who leads next makes it void."""

    role: str
    term: int
    """Grows with every leader."""


class Leadership(Protocol):
    """Leave to do what only one process does, for as long as it lasts."""

    @property
    def fence(self) -> Fence:
        """What appends under it are to carry."""
        ...

    @property
    def is_lost(self) -> bool:
        """Whether it is known to be over. It may be over and not known to be: see the fence."""
        ...

    async def lost(self) -> None:
        """Wait until it is over."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What somebody last put up under a name. Not versioned, and not watched."""

    topic: str
    name: str
    time: datetime.datetime
    """When it was put up, by the clock of who did."""
    body: Mapping[str, Any]
    """A JSON object."""


class Store(Protocol):
    """A versioned store of items, with a board of notices beside it.

    Every method may raise ``StoreUnavailable`` and ``StoreDamaged``. All are
    safe to cancel: a cancelled ``append`` has either committed or not, which
    a repeat with the same ``request_id`` finds out.

    Any text that is valid UTF-8 may be an owner, an id or part of a body, NUL
    included. Bodies come back as their JSON form reads: a tuple among the
    attributes of an entity is a list when it is read.
    """

    @property
    def store_id(self) -> str:
        """Identifier made when the store was; revisions of two stores have nothing in common."""
        ...

    @property
    def ledger(self) -> Ledger:
        """What changes in place, and the audit logs: in the same database, with the same life."""
        ...

    async def append(
        self,
        owner: str,
        edits: Sequence[Edit],
        *,
        expected: Revision,
        info: CommitInfo,
        fence: Fence | None = None,
    ) -> Commit:
        """Commit edits to one owner as one revision.

        When it returns, the commit is durable and every later read and watch
        shows it; its changes are in order of key. ``expected`` is the owner's
        revision the edits were made on, 0 for an owner that has none. No two
        appends with the same expectation both succeed. With a ``request_id``
        that the owner's history has already, nothing is committed and the
        first commit is returned, whatever is asked for now; ``compact``
        forgets request ids with their commits, and the repeat conflicts.
        With a ``fence`` it commits only while nobody has come to lead after.

        Raises:
            RevisionConflict: the owner is at another revision. Nothing changed.
            LeadershipLost: somebody else leads. Nothing changed.
            ValueError: there are no edits, two edits of one key, an edit of
                another key than its body's, a removal of what is not there, a
                time without zone, or text that is not valid UTF-8.
        """
        ...

    async def find_commit(self, owner: str, *, request_id: str) -> Commit | None:
        """Return the owner's commit with that request id, if it is kept.

        With it a caller learns what became of an append whose answer it
        never got. An empty request id finds nothing.
        """
        ...

    async def head(self) -> Revision:
        """Return the newest revision, 0 for an empty store."""
        ...

    async def earliest(self) -> Revision:
        """Return the revision after which commits are kept: 0 until ``compact``."""
        ...

    async def owners(self) -> dict[str, Revision]:
        """Return every owner with its newest revision."""
        ...

    async def read(self, owner: str, *, at: Revision | None = None) -> ItemSet:
        """Return an owner's items, now or as they were at a revision.

        An owner nobody wrote to has no items and revision 0. The set's
        revision is the newest one, up to ``at``, that changed the owner.

        Raises:
            RevisionCompacted: ``at`` is before ``earliest``.
            RevisionUnknown: ``at`` is after ``head``.
        """
        ...

    async def commits(self, after: Revision, *, limit: int) -> list[Commit]:
        """Return up to ``limit`` commits that follow a revision, oldest first.

        Raises:
            ValueError: ``limit`` is less than 1.
            RevisionCompacted: commits right after ``after`` are gone.
            RevisionUnknown: ``after`` is after ``head``.
        """
        ...

    def watch(self, after: Revision) -> AsyncGenerator[Commit, None]:
        """Yield every commit that follows a revision, in order, without end.

        None is missed and none comes twice, whoever commits: this object,
        another one on the same data, another process. A commit shows up
        within 300 ms of its append. The iterator ends only by an error or by
        being closed (``contextlib.aclosing``); a watcher that stops reading
        holds back nobody.

        Raises, from the iterator:
            RevisionCompacted: commits to come next are gone. Read and watch anew.
            RevisionUnknown: ``after`` is after ``head``.
        """
        ...

    async def history(
        self, owner: str, *, key: ItemKey | None = None, before: Revision | None = None, limit: int
    ) -> list[CommitSummary]:
        """Return an owner's commits, newest first, below ``before`` if given.

        With ``key``, only commits that changed that item. What was compacted
        is not there.

        Raises:
            ValueError: ``limit`` is less than 1.
        """
        ...

    async def versions(
        self, owner: str, key: ItemKey, *, before: Revision | None = None, limit: int
    ) -> list[Item]:
        """Return what an item was in the owner's commits, newest first, below ``before`` if given.

        Removals are passed over. Of what was compacted, the last version may still be there.

        Raises:
            ValueError: ``limit`` is less than 1.
        """
        ...

    async def compact(self, keep_after: Revision) -> None:
        """Forget the commits up to and including a revision; current items stay.

        Reads at that revision and later ones stay exact. Nothing happens when
        ``earliest`` is there already.

        Raises:
            RevisionUnknown: ``keep_after`` is after ``head``.
        """
        ...

    async def put_up(self, notice: Notice) -> None:
        """Put a notice up, in the place of the one of the same topic and name.

        It is for what the processes on one store have to tell each other and may lose: it is
        there for the next ``notices``, but need not survive a crash of the machine.

        Raises:
            ValueError: a time without zone, or a body that is no JSON.
        """
        ...

    async def notices(self, topic: str) -> list[Notice]:
        """Return the notices of a topic, in order of their names."""
        ...

    async def take_down(self, topic: str, *, before: datetime.datetime) -> None:
        """Remove the notices of a topic that were put up before a time."""
        ...

    def lead(self, role: str, *, holder: str) -> AbstractAsyncContextManager[Leadership]:
        """Lead for the length of the block, alone among all who share the data.

        Entering it waits for as long as somebody else leads. A leader that dies, or is not heard
        of for some 5 s, is followed by another at once; it may not know, which is what fences
        are for. ``holder`` is a name for people.

        Raises, when it is entered:
            ValueError: a role or holder that is not valid UTF-8.
        """
        ...

    async def aclose(self) -> None:
        """Release what the store holds, once what is under way has ended.

        Further calls raise ``StoreUnavailable``, and so do open watches. Whoever leads has to
        have stopped.
        Closing twice is harmless.
        """
        ...
