"""The copy of a store's items that a node without a store keeps: what its feed follows.

It is kept by a mirror of Subscribe, message by message, and is a source as a store is: the same
revisions under the same store's id, with the newest commits to be read again. Lives on one event
loop; nothing in here waits.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Mapping
from types import MappingProxyType
from typing import cast

from placet import wire
from placet._freshness import Status
from placet._mirror import Delta, ItemReader, MirrorBroken, PolicySetMirror, Snapshot
from placet_engine.changes import Commit, ItemChange, ItemSet
from placet_engine.items import NO_REVISION, Item, ItemKey, Revision
from placet_server.clock import Clock
from placet_server.policies.source import WITHHELD
from placet_server.policies.window import CommitWindow
from placet_server.store.contract import RevisionCompacted, RevisionUnknown, StoreUnavailable
from placet_server.store.following import Bell, follow

# The feed takes commits as they come. One that is further behind than this starts over sooner
# than it catches up.
_MAX_COMMITS, _MAX_CHANGES = 1_000, 50_000


class UpstreamCopy:
    """Implements ``Source``.

    Args:
        clock: tells how old what is known is.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._store_id = ""
        self._window = _new_window(NO_REVISION)
        self._newest = NO_REVISION
        self._sets: dict[str, ItemSet] | None = None
        self._known_at_s = -math.inf
        self._bell = Bell()
        self._has_state = asyncio.Event()
        self.told = Bell()
        """Rings when somebody said how current this is."""
        self.mirror = new_mirror()
        """The items, and where the next stream goes on."""
        self.changes = 0
        """How often the items have changed."""
        self.withdrawals = 0
        """How often this node had to let go of what it held of somebody."""

    # ------------------------------------------------------------------ as others read it

    @property
    def store_id(self) -> str:
        """See ``Source``. Empty: nothing has come yet."""
        return self._store_id

    @property
    def has_state(self) -> bool:
        """Whether there is anything to go by."""
        return self._has_state.is_set()

    async def wait_for_state(self) -> None:
        """Wait, as long as it takes, until there is something to go by."""
        await self._has_state.wait()

    def staleness_s(self) -> float:
        """Return how long ago this was known to be all there is in the store, in seconds.

        Infinite when nobody can tell.
        """
        return max(self._clock.monotonic() - self._known_at_s, 0.0)

    async def head(self) -> Revision:
        """See ``Source``."""
        self._check_state()
        return self._newest

    async def earliest(self) -> Revision:
        """See ``Source``."""
        self._check_state()
        return self._window.earliest

    async def owners(self) -> dict[str, Revision]:
        """See ``Source``."""
        self._check_state()
        return {owner: Revision(revision) for owner, revision in self.mirror.owners.items()}

    async def read(self, owner: str, *, at: Revision | None = None) -> ItemSet:
        """See ``Source``. Only the newest state is here.

        Raises:
            RevisionCompacted: the owner has changed since ``at``.
            RevisionUnknown: ``at`` is still to come.
        """
        self._check_state()
        if at is not None and at > self._newest:
            raise RevisionUnknown(at, self._newest)
        changed = self.mirror.owners.get(owner, self._window.earliest)
        if at is not None and at < changed:
            raise RevisionCompacted(at, Revision(changed))
        if self._sets is None:
            self._sets = _by_owner(self.mirror)
        return self._sets.get(owner, ItemSet(owner=owner))

    async def commits(self, after: Revision, *, limit: int) -> list[Commit]:
        """See ``Source``."""
        self._check_state()
        if after > self._newest:
            raise RevisionUnknown(after, self._newest)
        found = self._window.after(after)
        if found is None:
            raise RevisionCompacted(after, self._window.earliest)
        return found[:limit]

    def watch(self, after: Revision) -> AsyncGenerator[Commit, None]:
        """See ``Source``."""
        return follow(self.commits, self._bell, after)

    def _check_state(self) -> None:
        if not self.has_state:
            raise StoreUnavailable("nothing has come from upstream yet")

    # ----------------------------------------------------------------------- as it is kept

    def adopt(self, store_id: str, mirror: PolicySetMirror[Item], known_ago_s: float) -> None:
        """Begin with what was kept before.

        Args:
            store_id: the store's whose items they are.
            mirror: the items; it is kept from now on.
            known_ago_s: how long ago they were known to be all there is; infinite when nobody
                can tell.
        """
        self.mirror = mirror
        self._known_at_s = self._clock.monotonic() - known_ago_s
        self._start_at(store_id)

    def take(self, event: Snapshot[Item] | Delta[Item], store_id: str) -> None:
        """Take up what the mirror has taken in.

        Raises:
            MirrorBroken: it cannot be a revision of a store's. The mirror starts over.
        """
        if isinstance(event, Snapshot):
            if event.items and not event.owners:
                raise MirrorBroken("the snapshot does not say whose items it has", is_gap=False)
            self._start_at(store_id)
            return
        self._append(self._commit(event))
        self.changes += 1
        self._sets = None
        self._bell.ring()

    def confirm(self, status: Status) -> None:
        """Note what the stream says of how current the mirror is."""
        if status.confirmed_at_s is not None:
            known_at_s = status.confirmed_at_s - status.node_staleness_s
            if known_at_s > self._known_at_s:
                self._known_at_s = known_at_s
                self.told.ring()
        position = Revision(self.mirror.position)
        if self.has_state and position > self._newest:
            # Others were told of revisions that do not concern this node.
            self._append(
                Commit(revision=position, owner=WITHHELD, time=self._clock.now(), changes=())
            )
            self._bell.ring()

    def _start_at(self, store_id: str) -> None:
        """Begin anew with the whole of the mirror. Who follows has to read it again."""
        self._store_id = store_id
        self._newest = Revision(self.mirror.position)
        self._window = _new_window(self._newest)
        self._sets = None
        self.changes += 1
        self._has_state.set()
        self._bell.ring()

    def _append(self, commit: Commit) -> None:
        self._window.add(commit)
        self._newest = commit.revision

    def _commit(self, delta: Delta[Item]) -> Commit:
        # Names are as this mirror's reader made them.
        removals = cast("tuple[tuple[str, ItemKey], ...]", delta.removals)
        before = {(item.owner, item.key): item for item in delta.replaced}
        owner = WITHHELD if delta.owner is None else delta.owner
        changes = [ItemChange(before.get((item.owner, item.key)), item) for item in delta.upserts]
        changes += [ItemChange(before[name], None) for name in removals if name[0] == owner]
        withdrawn = {name[0] for name in removals} - {owner}
        if any(item.owner != owner for item in delta.upserts) or not self._are_gone(withdrawn):
            self.mirror.start_over()
            raise MirrorBroken(
                f"revision {delta.to_revision} changes items of others than its owner",
                is_gap=True,
            )
        for other in withdrawn:
            self._window.forget(other)
            self.withdrawals += 1
        return Commit(
            revision=Revision(delta.to_revision),
            owner=owner,
            time=delta.commit_time or self._clock.now(),
            changes=tuple(changes),
            withdrawn=tuple(sorted(withdrawn)),
        )

    def _are_gone(self, owners: set[str]) -> bool:
        """Whether nothing is left of some owners. What is withdrawn is withdrawn as a whole."""
        return not owners or owners.isdisjoint(owner for owner, _ in self.mirror.items)


def new_mirror() -> PolicySetMirror[Item]:
    """Return a mirror that holds nothing yet."""
    return PolicySetMirror(ItemReader(wire.item_from_wire, wire.removal_from_wire))


def _new_window(start: Revision) -> CommitWindow:
    return CommitWindow(start, max_commits=_MAX_COMMITS, max_changes=_MAX_CHANGES)


def _by_owner(mirror: PolicySetMirror[Item]) -> dict[str, ItemSet]:
    items: dict[str, dict[ItemKey, Item]] = {owner: {} for owner in mirror.owners}
    for item in mirror.items.values():
        items[item.owner][item.key] = item
    return {
        owner: ItemSet(owner=owner, revision=Revision(mirror.owners[owner]), items=_read_only(mine))
        for owner, mine in items.items()
    }


def _read_only(items: dict[ItemKey, Item]) -> Mapping[ItemKey, Item]:
    return MappingProxyType(items)
