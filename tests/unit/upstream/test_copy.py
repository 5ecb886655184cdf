"""The copy that a node without a store follows, fed with what a store's node would send."""

from __future__ import annotations

import asyncio
import math
from contextlib import aclosing

import pytest

from placet._freshness import Status
from placet._mirror import Delta, MirrorBroken, Snapshot
from placet.v1 import subscribe_service_pb2 as pb
from placet_engine.items import PLATFORM, TOPOLOGY, ItemKey, ItemKind, Revision
from placet_server.policies.source import WITHHELD
from placet_server.store.contract import RevisionCompacted, RevisionUnknown, StoreUnavailable
from placet_server.testing import ManualClock
from placet_server.upstream.copy import UpstreamCopy
from tests.sdk.source import TENANT, Source, platform_policy, policy

_STORE = "store-one"
_SOON_S = 10.0


class Fed:
    """A copy, and the source that it is fed from."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.clock = ManualClock()
        self.copy = UpstreamCopy(self.clock)

    def feed(self, *messages: pb.SubscribeResponse) -> None:
        """Have the copy take messages, as a follower would."""
        for message in messages:
            event = self.copy.mirror.apply(message)
            if isinstance(event, Snapshot | Delta):
                self.copy.take(event, _STORE)

    def beat(self, revision: int, staleness_s: float = 0.0) -> None:
        """Have it take a heartbeat."""
        self.feed(pb.SubscribeResponse(heartbeat=pb.Heartbeat(revision=revision, cursor=b"x")))
        self.copy.confirm(
            Status().confirmed(
                self.clock.monotonic(), node_staleness_s=staleness_s, stale_after_s=1.0
            )
        )


@pytest.fixture
def fed() -> Fed:
    source = Source(policy("a"), policy("b"))
    source.commit_to_platform(platform_policy("p", "forbid(principal, action, resource);"))
    source.commit(remove=[policy("b").key])
    fed = Fed(source)
    fed.copy.mirror.begin_stream()
    fed.feed(*source.snapshot())
    return fed


async def test_before_anything_came_there_is_nothing_to_read() -> None:
    copy = UpstreamCopy(ManualClock())

    assert not copy.has_state
    assert copy.staleness_s() == math.inf
    for ask in (copy.head(), copy.earliest(), copy.owners(), copy.read(TENANT)):
        with pytest.raises(StoreUnavailable):
            await ask


async def test_a_snapshot_reads_as_the_store_it_came_from(fed: Fed) -> None:
    assert fed.copy.has_state
    assert fed.copy.store_id == _STORE
    assert await fed.copy.head() == await fed.copy.earliest() == 3
    assert await fed.copy.owners() == {TENANT: 3, PLATFORM: 2}
    own = await fed.copy.read(TENANT, at=Revision(3))
    # The removal of another item is what changed the tenant last.
    assert own.revision == 3
    assert [key.id for key in own.items] == ["a"]
    assert (await fed.copy.read("nobody")).revision == 0


async def test_an_owner_without_items_is_still_there(fed: Fed) -> None:
    fed.feed(fed.source.commit(remove=[policy("a").key]))
    fresh = Fed(fed.source)
    fresh.feed(*fed.source.snapshot())

    for one in (fed, fresh):
        assert (await one.copy.owners())[TENANT] == 4
        assert (await one.copy.read(TENANT)).items == {}


async def test_changes_come_with_what_was_there_before(fed: Fed) -> None:
    changed = "forbid(principal, action, resource);"
    fed.feed(fed.source.commit(policy("a", changed), policy("c")))

    (commit,) = await fed.copy.commits(Revision(3), limit=10)
    assert (commit.revision, commit.owner) == (4, TENANT)
    by_id = {change.key.id: change for change in commit.changes}
    assert by_id["a"].before is not None
    assert by_id["a"].before.revision == 1
    assert by_id["c"].before is None
    assert (await fed.copy.read(TENANT)).items[ItemKey(ItemKind.POLICY, "a")].revision == 4


async def test_it_is_watched_like_a_store(fed: Fed) -> None:
    async with aclosing(fed.copy.watch(Revision(3))) as commits:
        fed.feed(fed.source.commit(policy("c")), fed.source.commit(policy("d")))
        found = [await anext(commits), await anext(commits)]
        assert [commit.revision for commit in found] == [4, 5]

        waiting = asyncio.ensure_future(anext(commits))
        fed.feed(*fed.source.snapshot())
        fed.feed(fed.source.commit(policy("e")))
        # A new snapshot at the same revision takes nothing from those who have it.
        assert (await asyncio.wait_for(waiting, _SOON_S)).revision == 6

        fed.source.commit(policy("f"))
        fed.feed(*fed.source.snapshot())
        with pytest.raises(RevisionCompacted):
            await asyncio.wait_for(anext(commits), _SOON_S)


async def test_what_was_or_will_be_is_not_there_to_read(fed: Fed) -> None:
    fed.feed(fed.source.commit(policy("c")))

    # The platform has not changed since.
    assert (await fed.copy.read(PLATFORM, at=Revision(3))).revision == 2
    with pytest.raises(RevisionCompacted):
        await fed.copy.read(TENANT, at=Revision(3))
    with pytest.raises(RevisionUnknown):
        await fed.copy.read(TENANT, at=Revision(9))
    with pytest.raises(RevisionUnknown):
        await fed.copy.commits(Revision(9), limit=1)
    with pytest.raises(RevisionCompacted):
        await fed.copy.commits(Revision(2), limit=1)


async def test_revisions_of_which_nothing_is_shown_are_told_all_the_same(fed: Fed) -> None:
    fed.feed(fed.source.withhold())
    fed.beat(9)

    commits = await fed.copy.commits(Revision(3), limit=10)
    assert [(it.revision, it.owner, it.changes) for it in commits] == [
        (4, WITHHELD, ()),
        (9, WITHHELD, ()),
    ]
    assert await fed.copy.head() == 9
    assert await fed.copy.owners() == {TENANT: 3, PLATFORM: 2}


async def test_a_tenant_that_must_leave_leaves_nothing_behind(fed: Fed) -> None:
    fed.feed(fed.source.commit(policy("secret"), owner="globex"))
    assert "globex" in await fed.copy.owners()

    fed.feed(fed.source.place("globex", "globex"))

    assert "globex" not in await fed.copy.owners()
    assert (await fed.copy.read("globex")).items == {}
    commits = await fed.copy.commits(Revision(3), limit=10)
    assert [(it.owner, it.withdrawn) for it in commits] == [("globex", ()), (TOPOLOGY, ("globex",))]
    held = [change for it in commits for change in it.changes]
    assert all(change.after is None or change.after.owner == TOPOLOGY for change in held)
    assert all(change.before is None for change in held)
    assert fed.copy.withdrawals == 1
    # Who starts from here sees the same.
    fresh = Fed(fed.source)
    fresh.feed(*fed.source.snapshot())
    assert await fresh.copy.owners() == await fed.copy.owners()


async def test_what_takes_only_a_part_of_a_tenant_is_no_revision(fed: Fed) -> None:
    fed.feed(fed.source.commit(policy("x"), policy("y"), owner="globex"))
    message = fed.source.place("globex", "globex")
    del message.delta.changes[-1]
    kept = next(it for it in fed.copy.mirror.items.values() if it.key.id == "y")
    total = int.from_bytes(message.delta.checksum) + int.from_bytes(kept.digest)
    message.delta.checksum = (total % (1 << 256)).to_bytes(32)

    with pytest.raises(MirrorBroken):
        fed.feed(message)
    assert fed.copy.mirror.cursor == b""
    fed.source.commit(policy("c"))
    fed.feed(*fed.source.snapshot())
    assert "globex" not in await fed.copy.owners()


async def test_what_was_known_once_stays_known(fed: Fed) -> None:
    fed.beat(3)
    fed.clock.advance(5.0)
    assert fed.copy.staleness_s() == 5.0

    # Another upstream knows less: that does not make this node forget.
    fed.beat(3, staleness_s=60.0)
    assert fed.copy.staleness_s() == 5.0
    fed.beat(3, staleness_s=2.0)
    assert fed.copy.staleness_s() == 2.0
