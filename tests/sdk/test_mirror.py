"""A copy kept by messages: equal to the source after whatever happens to the stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import placet
from placet import wire
from placet._mirror import ITEMS, Delta, ItemReader, MirrorBroken, PolicySetMirror, Snapshot
from placet.v1 import policy_pb2
from placet.v1 import subscribe_service_pb2 as pb
from placet_engine.items import (
    Body,
    Item,
    ItemKey,
    ItemKind,
    Revision,
    SchemaText,
    Settings,
    StoredEntity,
    TemplateLink,
)
from placet_engine.model import Entity, EntityUid
from tests.sdk.source import TENANT, Source, platform_policy, policy

ENGINE_ITEMS: ItemReader[Item] = ItemReader(wire.item_from_wire, wire.removal_from_wire)


def _fed(source: Source) -> PolicySetMirror[Item]:
    """Return a mirror that has a snapshot of a source."""
    mirror = PolicySetMirror(ENGINE_ITEMS)
    mirror.begin_stream()
    _feed(mirror, source.snapshot())
    return mirror


def _feed(mirror: PolicySetMirror[Item], messages: Iterable[pb.SubscribeResponse]) -> None:
    for message in messages:
        mirror.apply(message)


def test_a_snapshot_counts_when_it_is_complete() -> None:
    source = Source(policy("a"), policy("b"), policy("c"))
    mirror = PolicySetMirror(ENGINE_ITEMS)
    mirror.begin_stream()
    *parts, end = source.snapshot()

    events = [mirror.apply(part) for part in parts]
    assert {None} == set(events)
    assert not mirror.has_snapshot

    event = mirror.apply(end)
    assert isinstance(event, Snapshot)
    assert (1, source.checksum, 3) == (event.revision, event.checksum, len(event.items))
    assert source.items == mirror.items


def test_a_delta_tells_what_changed() -> None:
    source = Source(policy("a"), policy("b"))
    mirror = _fed(source)

    event = mirror.apply(
        source.commit(policy("c"), remove=[ItemKey(ItemKind.POLICY, "a")]),
    )

    assert isinstance(event, Delta)
    assert (1, 2) == (event.from_revision, event.to_revision)
    assert ["c"] == [item.key.id for item in event.upserts]
    assert ((TENANT, ItemKey(ItemKind.POLICY, "a")),) == event.removals
    assert event.commit_time is not None
    assert source.items == mirror.items


def test_an_empty_delta_changes_nothing_but_the_revision() -> None:
    source = Source(policy("a"))
    mirror = _fed(source)

    event = mirror.apply(source.commit())

    assert isinstance(event, Delta)
    assert 2 == mirror.revision
    assert source.items == mirror.items


def test_a_change_that_was_lost_is_seen() -> None:
    source = Source(policy("a"))
    mirror = _fed(source)
    before = dict(mirror.items)
    source.commit(policy("b"))

    with pytest.raises(MirrorBroken) as caught:
        mirror.apply(source.commit(policy("c")))

    assert caught.value.is_gap
    assert (1, before) == (mirror.revision, mirror.items)


def test_a_change_that_is_repeated_is_seen() -> None:
    source = Source(policy("a"))
    mirror = _fed(source)
    delta = source.commit(policy("b"))
    mirror.apply(delta)

    with pytest.raises(MirrorBroken):
        mirror.apply(delta)


def test_a_heartbeat_tells_where_to_go_on_and_nothing_else() -> None:
    """The revision in it is the node's, which may not have sent all that it knows."""
    source = Source(policy("a"))
    mirror = _fed(source)
    delta = source.commit(policy("b"))
    beat = source.heartbeat()
    beat.heartbeat.cursor = b"later"

    mirror.apply(beat)
    assert (1, b"later") == (mirror.revision, mirror.cursor)

    mirror.apply(delta)
    assert source.items == mirror.items


def test_a_wrong_checksum_keeps_what_was_held() -> None:
    source = Source(policy("a"))
    mirror = _fed(source)
    before = dict(mirror.items)
    delta = source.commit(policy("b"))
    delta.delta.checksum = b"\0" * 32

    with pytest.raises(MirrorBroken, match="checksum") as caught:
        mirror.apply(delta)

    assert caught.value.is_gap
    assert (1, before) == (mirror.revision, mirror.items)


def test_an_item_that_is_not_what_its_digest_says_is_refused() -> None:
    """The sum alone would not notice: it is made of the digests that were sent."""
    source = Source(policy("a"))
    mirror = _fed(source)
    delta = source.commit(policy("b"))
    delta.delta.changes[0].upsert.policy.cedar = "permit(principal, action, resource) ;"

    with pytest.raises(MirrorBroken, match="does not have the digest"):
        mirror.apply(delta)


def test_a_removal_of_what_is_not_there_is_seen() -> None:
    """The checksum would not notice: it comes to the same."""
    source = Source(policy("a"))
    mirror = _fed(source)
    delta = source.commit(policy("b"))
    removal = pb.Removal(owner=TENANT, key=wire.key_to_wire(ItemKey(ItemKind.POLICY, "never")))
    delta.delta.changes.add(removal=removal)

    with pytest.raises(MirrorBroken, match="was not there"):
        mirror.apply(delta)


@pytest.mark.parametrize(("field", "value"), [("items", 7), ("revision", 9)])
def test_a_snapshot_that_is_not_what_it_announced_is_refused(field: str, value: int) -> None:
    begin, *rest = Source(policy("a")).snapshot()
    setattr(begin.snapshot_begin, field, value)
    mirror = PolicySetMirror(ENGINE_ITEMS)
    mirror.begin_stream()

    with pytest.raises(MirrorBroken, match="the snapshot announced"):
        _feed(mirror, [begin, *rest])


def test_an_item_of_an_unknown_kind_is_refused() -> None:
    source = Source(policy("a"))
    mirror = _fed(source)
    delta = source.commit(policy("b"))
    delta.delta.changes[0].upsert.ClearField("policy")

    with pytest.raises(MirrorBroken, match="upgrade"):
        mirror.apply(delta)


def test_half_a_snapshot_is_dropped_with_its_stream() -> None:
    source = Source(policy("a"))
    mirror = _fed(source)
    source.commit(policy("b"))
    mirror.start_over()
    mirror.begin_stream()
    for message in source.snapshot()[:-1]:
        mirror.apply(message)

    mirror.begin_stream()

    assert 1 == len(mirror.items)
    assert not mirror.is_following
    for message in source.snapshot():
        mirror.apply(message)
    assert source.items == mirror.items


def test_heartbeats_before_a_new_snapshot_confirm_nothing() -> None:
    source = Source(policy("a"))
    mirror = _fed(source)
    mirror.start_over()
    mirror.begin_stream()
    source.commit(policy("b"))

    mirror.apply(source.heartbeat())

    assert (1, b"") == (mirror.revision, mirror.cursor)


@pytest.mark.parametrize(
    "messages",
    [
        lambda source: source.snapshot()[1:],
        lambda source: source.snapshot()[:1] * 2,
        lambda source: source.snapshot()[-1:],
        lambda source: [*source.snapshot()[:-2], source.snapshot()[-1]],
        lambda source: [*source.snapshot()[:2], *source.snapshot()[1:]],
        lambda source: [source.commit(policy("z"))],
    ],
    ids=["no start", "two starts", "only an end", "a part lost", "a part twice", "no snapshot"],
)
def test_what_is_no_snapshot_is_refused(
    messages: Callable[[Source], list[pb.SubscribeResponse]],
) -> None:
    source = Source(policy("a"), policy("b"), policy("c"))
    mirror = PolicySetMirror(ENGINE_ITEMS)
    mirror.begin_stream()

    sent = messages(source)

    with pytest.raises(MirrorBroken) as caught:
        _feed(mirror, sent)

    assert not caught.value.is_gap
    assert not mirror.has_snapshot


def test_messages_about_the_stream_and_unknown_ones_leave_the_set_alone() -> None:
    mirror = _fed(Source(policy("a")))
    before = dict(mirror.items)

    for message in (
        pb.SubscribeResponse(reset_required=pb.ResetRequired()),
        pb.SubscribeResponse(go_away=pb.GoAway()),
        pb.SubscribeResponse(),
    ):
        assert mirror.apply(message) is None

    assert before == mirror.items


# As they come off the wire, which has nanoseconds.
_SECONDS = st.integers(1, 10**15).map(lambda nanos: wire.seconds(wire.duration(nanos / 1e9)))
_NAMES = st.sampled_from(["a", "b", "c", "orders/read"])
_UIDS = st.builds(EntityUid, st.sampled_from(["User", "Group"]), _NAMES)
_BODIES = st.one_of(
    st.builds(policy, _NAMES, description=st.text(max_size=3)),
    st.builds(TemplateLink, id=_NAMES, template_id=st.just("t"), principal=_UIDS),
    st.builds(
        lambda uid, level: StoredEntity(Entity(uid=uid, attributes={"level": level})),
        _UIDS,
        st.integers(0, 3),
    ),
    st.builds(SchemaText, st.sampled_from(["entity User;", "entity Group;"])),
    st.builds(Settings, max_staleness_s=st.none() | _SECONDS, allow_empty_ids=st.booleans()),
)


class StreamMachine(RuleBasedStateMachine):
    """A source that changes, and a mirror whose stream breaks, loses, resumes and starts over.

    Both readers follow, the SDK's items and the engine's.
    """

    @initialize()
    def begin(self) -> None:
        self.source = Source()
        # Of two types: what is looked at of their items is the same.
        self.mirrors: list[PolicySetMirror[Any]] = [
            PolicySetMirror(ENGINE_ITEMS),
            PolicySetMirror(ITEMS),
        ]
        self.streams: list[list[pb.SubscribeResponse]] = [[], []]
        self.reconnect()

    @rule(bodies=st.lists(_BODIES, max_size=4, unique_by=lambda body: body.key), data=st.data())
    def commit(self, bodies: list[Body], data: st.DataObject) -> None:
        written = {body.key for body in bodies}
        mine = sorted(key for owner, key in self.source.items if owner == TENANT)
        removable = [key for key in mine if key not in written]
        removed = data.draw(st.lists(st.sampled_from(removable), unique=True)) if removable else []
        delta = self.source.commit(*bodies, remove=removed)
        for stream in self.streams:
            stream.append(delta)

    @rule(name=_NAMES, effect=st.sampled_from(["permit", "forbid"]))
    def commit_to_platform(self, name: str, effect: str) -> None:
        body = platform_policy(name, f"{effect}(principal, action, resource);")
        delta = self.source.commit_to_platform(body)
        for stream in self.streams:
            stream.append(delta)

    @rule()
    def beat(self) -> None:
        for stream in self.streams:
            stream.append(self.source.heartbeat())

    @rule(count=st.integers(1, 6))
    def deliver(self, count: int) -> None:
        for mirror, stream in zip(self.mirrors, self.streams, strict=True):
            for _ in range(min(count, len(stream))):
                try:
                    mirror.apply(stream.pop(0))
                except MirrorBroken as broken:
                    if not broken.is_gap:
                        raise  # the source itself sends nothing wrong
                    mirror.start_over()
                    mirror.begin_stream()
                    stream[:] = self.source.since(b"")
                    break

    @rule(at=st.integers(0, 5))
    def lose(self, at: int) -> None:
        """Lose a message without the connection noticing, which no transport should do."""
        for stream in self.streams:
            if at < len(stream) and stream[at].HasField("delta"):
                del stream[at]

    @rule()
    def reconnect(self) -> None:
        for place, mirror in enumerate(self.mirrors):
            mirror.begin_stream()
            self.streams[place] = list(self.source.since(mirror.cursor))

    @rule()
    def start_over(self) -> None:
        for mirror in self.mirrors:
            mirror.start_over()
        self.reconnect()

    @invariant()
    def what_is_held_is_one_state_of_the_source(self) -> None:
        for mirror in self.mirrors:
            if mirror.revision == self.source.revision and mirror.has_snapshot:
                assert mirror.snapshot().checksum == self.source.checksum

    def teardown(self) -> None:
        if not hasattr(self, "source"):
            return
        # A lost message may show only when the next change comes.
        self.commit_to_platform("last", "permit")
        while any(self.streams):
            self.deliver(1)
        engine, sdk = self.mirrors
        assert self.source.items == engine.items
        assert self.source.checksum == engine.snapshot().checksum == sdk.snapshot().checksum
        assert self.source.revision == engine.revision == sdk.revision
        assert {item.digest for item in self.source.items.values()} == {
            item.digest for item in sdk.items.values()
        }


TestStreams = StreamMachine.TestCase
TestStreams.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(body=_BODIES)
def test_the_sdks_items_have_the_names_the_engine_gives_them(body: Body) -> None:
    """Removals are matched by name: a name read in two ways would lose them."""
    item = Item(TENANT, Revision(3), body)
    removal = pb.Removal(owner=TENANT, key=wire.key_to_wire(item.key))

    read = ITEMS.item(wire.item_to_wire(item))

    assert (TENANT, read.key) == ITEMS.removal(removal)
    assert item.digest == read.digest


def test_a_schema_is_named_by_its_kind_alone() -> None:
    removal = pb.Removal(key=policy_pb2.ItemKey(kind=policy_pb2.ITEM_KIND_SCHEMA, id="noise"))

    assert ("", placet.ItemKey(placet.ItemKind.SCHEMA)) == ITEMS.removal(removal)
