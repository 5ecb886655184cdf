"""Items at random: stored, sent, edited. What comes back has to be what went in."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from placet import wire
from placet.v1 import policy_pb2, value_pb2
from placet_engine.changes import ChangeSet, Edit, ItemSet, diff, resolve, to_changes
from placet_engine.items import (
    CHECKSUM_MODULUS,
    PLATFORM,
    Content,
    Item,
    ItemKind,
    Revision,
    body_from_json,
    body_to_json,
    canonical_json,
    checksum,
    is_same_body,
)
from placet_engine.model import Entity, Value
from tests.property import strategies

OWNER = "acme"

# ------------------------------------------------------------------------- stored and sent


@given(body=strategies.bodies())
def test_body_survives_json(body: Content) -> None:
    document = json.loads(canonical_json(body_to_json(body)))

    read = body_from_json(body.key.kind, document)

    assert read == body
    assert Item(OWNER, Revision(1), read).digest == Item(OWNER, Revision(1), body).digest


@given(data=st.data(), platform=st.booleans(), revision=st.integers(1, 2**63 - 1))
def test_item_survives_the_wire(data: st.DataObject, platform: bool, revision: int) -> None:
    """A subscriber computes the digest of what it received, and compares it with what was sent."""
    body = data.draw(strategies.bodies(platform=platform))
    item = Item(PLATFORM if platform else OWNER, Revision(revision), body)

    sent = wire.item_to_wire(item).SerializeToString()
    received = wire.item_from_wire(policy_pb2.Item.FromString(sent))

    assert received.key == item.key
    assert received.body == body
    assert received.digest == item.digest == policy_pb2.Item.FromString(sent).digest


@given(value=strategies.values())
def test_value_survives_the_wire(value: Value) -> None:
    sent = wire.value_to_wire(value).SerializeToString()

    received = wire.value_from_wire(value_pb2.Value.FromString(sent))

    assert canonical_json(received) == canonical_json(value)


@given(entity=strategies.any_entities())
def test_entity_survives_the_wire(entity: Entity) -> None:
    sent = value_pb2.Entity.FromString(wire.entity_to_wire(entity).SerializeToString())
    reader = wire.Reader()

    received = reader.entity(sent, "entity")
    reader.finish()

    assert canonical_json(received.to_json()) == canonical_json(entity.to_json())


@given(seconds=strategies.durations_s())
def test_duration_survives_the_wire(seconds: float) -> None:
    assert wire.seconds(wire.duration(seconds)) == seconds


# ---------------------------------------------------------------------------------- edited


def contents(items: ItemSet) -> dict[object, bytes]:
    return {key: canonical_json(body_to_json(item.body)) for key, item in items.items.items()}


@st.composite
def item_sets(draw: st.DrawFn) -> ItemSet:
    """Make a set of items of some revisions between 1 and 9."""
    items = [
        Item(OWNER, Revision(draw(st.integers(1, 9))), body)
        for body in draw(st.lists(strategies.few_bodies(), max_size=8))
    ]
    by_key = {item.key: item for item in items}
    newest = max((item.revision for item in by_key.values()), default=Revision(0))
    return ItemSet(owner=OWNER, revision=newest, items=by_key)


@given(before=item_sets(), after=item_sets())
def test_differences_lead_from_one_set_to_the_other(before: ItemSet, after: ItemSet) -> None:
    changes = diff(before, after)

    assert contents(before.applying(after.revision, changes)) == contents(after)
    assert [change.key for change in changes] == sorted(change.key for change in changes)
    assert diff(before, before) == []


@given(before=item_sets(), edited=st.lists(strategies.few_bodies(), max_size=6), data=st.data())
def test_edits_are_undone_by_the_differences_backwards(
    before: ItemSet, edited: Sequence[Content], data: st.DataObject
) -> None:
    after = before.editing(edits(before, edited, data), Revision(10))

    back = after.applying(before.revision, diff(after, before))

    assert contents(back) == contents(before)


@given(before=item_sets(), edited=st.lists(strategies.few_bodies(), max_size=6), data=st.data())
def test_checksum_is_carried_forward_by_changes(
    before: ItemSet, edited: Sequence[Content], data: st.DataObject
) -> None:
    changes = to_changes(before, edits(before, edited, data), Revision(10))

    after = before.applying(Revision(10), changes)

    carried = checksum(before.items.values()) + sum(change.checksum_step for change in changes)
    assert carried % CHECKSUM_MODULUS == checksum(after.items.values())


def edits(before: ItemSet, edited: Sequence[Content], data: st.DataObject) -> list[Edit]:
    """Write some bodies and remove some of what is there, each key once."""
    by_key = {body.key: Edit(body.key, body) for body in edited}
    if before.items:
        for key in data.draw(st.lists(st.sampled_from(list(before.items)), max_size=3)):
            by_key[key] = Edit(key, None)
    return list(by_key.values())


@given(
    before=item_sets(),
    upserts=st.lists(strategies.few_bodies(), max_size=6, unique_by=lambda body: body.key),
    replace_all=st.booleans(),
)
def test_change_set_comes_to_what_it_says(
    before: ItemSet, upserts: list[Content], replace_all: bool
) -> None:
    change_set = ChangeSet(upserts=tuple(upserts), replace_all=replace_all)

    edited, problems = resolve(change_set, before)
    after = before.editing(edited, Revision(10))

    assert problems == []
    assert all(is_same_body(after.items[body.key].body, body) for body in upserts)
    assert resolve(change_set, after) == ([], []), "publishing it again is no change"
    kept = before.items.keys() - {edit.key for edit in edited}
    assert all(after.items[key] is before.items[key] for key in kept)
    if replace_all:
        replaced = {ItemKind.POLICY, ItemKind.TEMPLATE_LINK, *(body.key.kind for body in upserts)}
        written = {body.key for body in upserts}
        assert {key for key in after.items if key.kind in replaced} == written
        assert {key for key in before.items if key.kind not in replaced} <= after.items.keys()
    else:
        assert after.items.keys() == before.items.keys() | {body.key for body in upserts}


@given(one=item_sets(), other=item_sets(), data=st.data())
def test_checksum_tells_sets_apart_and_does_not_mind_the_order(
    one: ItemSet, other: ItemSet, data: st.DataObject
) -> None:
    items = list(one.items.values())
    same = {item.digest for item in items} == {item.digest for item in other.items.values()}

    assert checksum(data.draw(st.permutations(items))) == checksum(items)
    assert (checksum(other.items.values()) == checksum(items)) is same
