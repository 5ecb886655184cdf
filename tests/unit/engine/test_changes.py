from __future__ import annotations

import datetime

import pytest

from placet_engine.changes import (
    ChangeSet,
    Commit,
    Edit,
    ItemChange,
    ItemSet,
    diff,
    resolve,
    to_changes,
)
from placet_engine.items import (
    NO_REVISION,
    Content,
    Item,
    ItemKey,
    ItemKind,
    Policy,
    Revision,
    SchemaText,
    Settings,
    TemplateLink,
    checksum,
)
from tests.unit.engine import make

READ = Policy(id="read", cedar=make.ANYBODY)
WRITE = Policy(id="write", cedar='permit(principal, action == Action::"write", resource);')
TEMPLATE = Policy(id="owner", cedar="permit(principal == ?principal, action, resource);")
LINK = TemplateLink(id="ann-owns", template_id="owner", principal=make.uid("User::ann"))
ANN = make.stored("User::ann", {"level": 1})
BOB = make.stored("User::bob")
SCHEMA = SchemaText("entity User;")
SETTINGS = Settings(jurisdictions=("EU",))

EVERYTHING = (READ, WRITE, TEMPLATE, LINK, ANN, BOB, SCHEMA, SETTINGS)


def resolved(change_set: ChangeSet, *current: Content) -> list[Edit]:
    edits, problems = resolve(change_set, make.item_set("acme", current))
    assert problems == []
    return edits


# ------------------------------------------------------------------------------ resolve


def test_replacing_kinds_removes_what_nothing_is_written_of() -> None:
    kinds = frozenset({ItemKind.ENTITY, ItemKind.SETTINGS})
    change_set = ChangeSet(upserts=(READ,), replace_all=True, replace_kinds=kinds)

    assert resolved(change_set, READ, ANN, SCHEMA, SETTINGS) == [
        Edit(ANN.key, None),
        Edit(SETTINGS.key, None),
    ]


def test_writing_something_new_is_an_edit() -> None:
    assert resolved(ChangeSet(upserts=(READ,))) == [Edit(READ.key, READ)]


def test_writing_something_else_under_a_known_key_is_an_edit() -> None:
    other = Policy(id="read", cedar=WRITE.cedar)

    assert resolved(ChangeSet(upserts=(other,)), READ) == [Edit(READ.key, other)]


@pytest.mark.parametrize("body", EVERYTHING, ids=lambda body: str(body.key))
def test_writing_what_is_there_is_no_edit(body: Content) -> None:
    assert resolved(ChangeSet(upserts=(body,)), *EVERYTHING) == []


@pytest.mark.parametrize(
    ("before", "after"), [(1, True), (0, False), ([1], [True]), ({"a": 1}, {"a": True})]
)
def test_true_instead_of_one_is_an_edit(before: object, after: object) -> None:
    """They are equal in Python; the edit from `1` to `true` was once dropped for that."""
    old = make.stored("User::ann", {"x": before})  # type: ignore[dict-item]
    new = make.stored("User::ann", {"x": after})  # type: ignore[dict-item]

    edits = resolved(ChangeSet(upserts=(new,)), old)

    assert [new.key] == [edit.key for edit in edits]


def test_another_position_is_an_edit() -> None:
    """Explanations show it, so that it has to reach the nodes."""
    (moved,) = make.policies(f"\n\n{make.ANYBODY}", file="b.cedar")
    (was,) = make.policies(make.ANYBODY, file="b.cedar")

    assert resolved(ChangeSet(upserts=(moved,)), was) == [Edit(moved.key, moved)]


def test_deleting_what_is_there_is_an_edit() -> None:
    assert resolved(ChangeSet(deletes=(ANN.key,)), ANN, BOB) == [Edit(ANN.key, None)]


def test_deleting_what_is_not_there_is_a_problem() -> None:
    change_set = ChangeSet(deletes=(ANN.key, BOB.key))

    edits, problems = resolve(change_set, make.item_set("acme", [ANN]))

    (problem,) = problems
    assert problem.reason == "ITEM_MISSING"
    assert problem.field == "deletes[1]"
    assert problem.subject == "bob"
    assert (
        problem.message
        == 'cannot delete entity User::"bob": it is not there; list what is, and leave it out'
    )
    assert edits == [Edit(ANN.key, None)]


@pytest.mark.parametrize(
    "change_set",
    [
        ChangeSet(upserts=(READ, READ)),
        ChangeSet(upserts=(READ,), deletes=(READ.key,)),
        ChangeSet(deletes=(READ.key, READ.key)),
    ],
    ids=["written twice", "written and deleted", "deleted twice"],
)
def test_a_key_given_twice_is_a_problem(change_set: ChangeSet) -> None:
    _, problems = resolve(change_set, make.item_set("acme", [READ]))

    (problem,) = problems
    assert problem.reason == "DUPLICATE_KEY"
    assert problem.message == "policy read is in the change set 2 times; keep one"
    assert problem.subject == "read"


def test_one_id_may_be_of_an_entity_and_of_a_policy() -> None:
    entity = make.stored("User::read")

    assert [READ.key, entity.key] == [
        edit.key for edit in resolved(ChangeSet(upserts=(READ, entity)))
    ]


@pytest.mark.parametrize(
    ("written", "gone"),
    [
        ((), [READ, WRITE, TEMPLATE, LINK]),
        ((READ,), [WRITE, TEMPLATE, LINK]),
        ((READ, LINK, TEMPLATE), [WRITE]),
        ((ANN,), [READ, WRITE, TEMPLATE, LINK, BOB]),
        ((SCHEMA,), [READ, WRITE, TEMPLATE, LINK]),
        ((SETTINGS,), [READ, WRITE, TEMPLATE, LINK]),
        (EVERYTHING, []),
    ],
    ids=[
        "nothing written",
        "one policy",
        "a template and its link",
        "an entity, so entities are replaced as well",
        "a schema",
        "settings",
        "all that is there",
    ],
)
def test_replace_all_removes_what_is_not_written(
    written: tuple[Content, ...], gone: list[Content]
) -> None:
    """Policies, templates and links always; entities only where the set has any."""
    edits = resolved(ChangeSet(upserts=written, replace_all=True), *EVERYTHING)

    assert {body.key for body in gone} == {edit.key for edit in edits}
    assert all(edit.body is None for edit in edits)


def test_replace_all_still_writes_and_deletes() -> None:
    changed = Policy(id="read", cedar=WRITE.cedar)

    edits = resolved(
        ChangeSet(upserts=(changed,), deletes=(SCHEMA.key, WRITE.key), replace_all=True),
        READ,
        WRITE,
        SCHEMA,
        SETTINGS,
    )

    assert {READ.key: changed, SCHEMA.key: None, WRITE.key: None} == {
        edit.key: edit.body for edit in edits
    }
    assert len(edits) == 3, "what is deleted and replaced goes once"


# ---------------------------------------------------------------------- sets and changes


def test_item_set_is_edited_into_a_new_one() -> None:
    before = make.item_set("acme", [READ, ANN], Revision(1))
    changed = make.stored("User::ann", {"level": 2})

    after = before.editing(
        [Edit(READ.key, None), Edit(ANN.key, changed), Edit(BOB.key, BOB)], Revision(5)
    )

    assert after.items == (
        {
            ANN.key: Item("acme", Revision(5), changed),
            BOB.key: Item("acme", Revision(5), BOB),
        }
    )
    assert after.revision == 5
    assert before.items.keys() == {READ.key, ANN.key}, "the old set is as it was"
    assert before.revision == 1


def test_what_is_not_edited_keeps_the_revision_that_wrote_it() -> None:
    before = make.item_set("acme", [READ], Revision(1))

    after = before.editing([Edit(BOB.key, BOB)], Revision(2))

    assert [after.items[key].revision for key in (READ.key, BOB.key)] == [1, 2]


def test_item_set_cannot_be_changed_in_place() -> None:
    after = ItemSet(owner="acme").editing([Edit(BOB.key, BOB)], Revision(2))

    with pytest.raises(TypeError):
        after.items[BOB.key] = Item("acme", Revision(3), BOB)  # type: ignore[index]


def test_a_removal_of_what_is_not_there_changes_nothing() -> None:
    """A repeated delta must not break a subscriber."""
    gone = ItemChange(Item("acme", Revision(1), READ), None)

    after = make.item_set("acme", [BOB]).applying(Revision(2), [gone, gone])

    assert after.items.keys() == {BOB.key}


def test_owner_nobody_wrote_to_is_empty_at_revision_0() -> None:
    empty = ItemSet(owner="acme")

    assert empty.revision == NO_REVISION
    assert empty.items == {}
    assert list(empty.of_kind(ItemKind.POLICY)) == []


def test_items_of_one_kind() -> None:
    items = make.item_set("acme", EVERYTHING)

    assert [item.body for item in items.of_kind(ItemKind.POLICY)] == [READ, WRITE, TEMPLATE]
    assert [item.body for item in items.of_kind(ItemKind.SETTINGS)] == [SETTINGS]


def test_to_changes_pairs_before_and_after() -> None:
    current = make.item_set("acme", [READ, ANN], Revision(1))

    changes = to_changes(current, [Edit(READ.key, None), Edit(BOB.key, BOB)], Revision(2))

    assert changes == [
        ItemChange(Item("acme", Revision(1), READ), None),
        ItemChange(None, Item("acme", Revision(2), BOB)),
    ]


# --------------------------------------------------------------------------------- diff


def test_diff_lists_what_was_added_changed_and_removed_in_order_of_key() -> None:
    changed = make.stored("User::ann", {"level": 2})
    before = make.item_set("acme", [WRITE, ANN, SCHEMA, SETTINGS], Revision(1))
    after = make.item_set("acme", [SETTINGS, SCHEMA, changed, BOB, READ], Revision(4))

    changes = diff(before, after)

    assert [
        (change.key, change.before and change.before.body, change.after and change.after.body)
        for change in changes
    ] == [
        (READ.key, None, READ),
        (WRITE.key, WRITE, None),
        (ANN.key, ANN, changed),
        (BOB.key, None, BOB),
    ]


def test_diff_sees_true_instead_of_one() -> None:
    before = make.item_set("acme", [make.stored("User::ann", {"x": 1})])
    after = make.item_set("acme", [make.stored("User::ann", {"x": True})])

    assert [ANN.key] == [change.key for change in diff(before, after)]


@pytest.mark.parametrize("revision", [1, 2])
def test_diff_of_equal_sets_is_empty(revision: int) -> None:
    """Also where the same was written again later."""
    before = make.item_set("acme", EVERYTHING, Revision(1))
    after = make.item_set("acme", reversed(EVERYTHING), Revision(revision))

    assert diff(before, after) == []


@pytest.mark.parametrize(
    "edit",
    [
        Edit(BOB.key, BOB),
        Edit(ANN.key, make.stored("User::ann", {"level": 2})),
        Edit(READ.key, None),
    ],
    ids=["added", "changed", "removed"],
)
def test_checksum_is_carried_forward_by_the_steps_of_changes(edit: Edit) -> None:
    before = make.item_set("acme", [READ, ANN], Revision(1))
    changes = to_changes(before, [edit], Revision(2))
    after = before.applying(Revision(2), changes)

    step = sum(change.checksum_step for change in changes)

    assert checksum(after.items.values()) == (checksum(before.items.values()) + step) % 2**256
    assert all(0 <= change.checksum_step < 2**256 for change in changes)


def test_commit_counts_what_it_wrote_and_removed() -> None:
    commit = Commit(
        revision=Revision(2),
        owner="acme",
        time=datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC),
        changes=(
            ItemChange(None, Item("acme", Revision(2), READ)),
            ItemChange(Item("acme", Revision(1), WRITE), None),
            ItemChange(Item("acme", Revision(1), ANN), None),
        ),
    )

    assert (commit.upserts, commit.deletes) == (1, 2)


def test_change_knows_its_key() -> None:
    item = Item("acme", Revision(1), ANN)

    assert ItemChange(item, None).key == ItemKey(ItemKind.ENTITY, "ann", "User")
    assert ItemChange(None, item).key == ANN.key
