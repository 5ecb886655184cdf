from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import pytest

from placet_engine.entities import EntityGraph, EntitySlice, references
from placet_engine.model import Entity, Value
from tests.unit.engine import make


def cut(
    stored: Iterable[Entity] = (),
    *,
    sent: Iterable[Entity] = (),
    context: dict[str, object] | None = None,
    literals: Iterable[str] = (),
) -> EntitySlice:
    """Slice a graph for `User::ann` wanting `Action::view` on `Doc::plan`."""
    request = make.request(context=context, entities=sent)
    merged = EntityGraph(stored).merged_with(request.entities)
    starts = [request.subject, request.action, request.resource, *map(make.uid, literals)]
    return merged.slice(merged.reach([*starts, *references(request.context)]))


def names(entity_slice: EntitySlice) -> set[str]:
    return {f"{entity.uid.type}::{entity.uid.id}" for entity in entity_slice.entities}


def only(entity_slice: EntitySlice) -> Entity:
    (entity,) = entity_slice.entities
    return entity


# ------------------------------------------------------------------------------- reaching


def test_graph_knows_what_it_holds() -> None:
    entities = [make.entity("User::ann"), make.entity("User::bob")]

    graph = EntityGraph(entities)

    assert len(graph) == 2
    assert list(graph) == entities


@pytest.mark.parametrize("name", ["User::ann", "Action::view", "Doc::plan"])
def test_what_the_request_names_is_reached(name: str) -> None:
    assert names(cut([make.entity(name), make.entity("User::bob")])) == {name}


def test_what_nobody_knows_is_not_made_up() -> None:
    assert names(cut()) == set()


def test_parents_are_reached_over_any_number_of_steps() -> None:
    graph = [
        make.entity("User::ann", parents=["Group::a", "Group::b"]),
        make.entity("Group::a", parents=["Group::top"]),
        make.entity("Group::b", parents=["Group::not stored"]),
        make.entity("Group::top"),
        make.entity("Group::unrelated", parents=["Group::top"]),
        make.entity("User::child", parents=["User::ann"]),
    ]

    assert names(cut(graph)) == {"User::ann", "Group::a", "Group::b", "Group::top"}


@pytest.mark.parametrize(
    "value",
    [
        make.ref("User::boss"),
        [make.ref("User::boss")],
        [1, "x", [make.ref("User::boss")]],
        {"deep": {"deeper": [make.ref("User::boss")]}},
        {"type": "User", "id": "boss"},
        [{"type": "User", "id": "boss"}],
        {"type": "User", "id": "boss", "more": make.ref("User::boss")},
    ],
    ids=[
        "reference",
        "in a set",
        "in a set in a set",
        "in records",
        "implicit, as a schema allows",
        "implicit in a set",
        "in a record that only looks like a reference",
    ],
)
def test_references_are_followed_wherever_they_stand(value: Value) -> None:
    boss = make.entity("User::boss", parents=["Group::top"])
    rest = [boss, make.entity("Group::top"), make.entity("User::bob")]
    reached = {"User::boss", "Group::top"}

    assert names(cut([make.entity("User::ann", {"x": value}), *rest])) == {"User::ann", *reached}
    assert names(cut([make.entity("Doc::plan", tags={"x": value}), *rest])) == {
        "Doc::plan",
        *reached,
    }
    assert names(cut(rest, context={"x": value})) == reached


@pytest.mark.parametrize(
    "value",
    [
        "User::boss",
        'User::"boss"',
        {"type": "User", "id": 7},
        {"type": "User", "id": "boss", "more": 1},
        {"__extn": {"fn": "ip", "arg": "User::boss"}},
        {"type": "User"},
    ],
)
def test_values_that_are_no_references_reach_nothing(value: Value) -> None:
    assert names(cut([make.entity("User::boss")], context={"x": value})) == set()


def test_entities_that_policies_name_are_reached_and_what_they_lead_to() -> None:
    graph = [
        make.entity("Config::limits", {"owner": make.ref("User::boss")}),
        make.entity("User::boss"),
        make.entity("Config::other"),
    ]

    assert names(cut(graph, literals=["Config::limits"])) == {"Config::limits", "User::boss"}


def test_references_in_a_circle_end() -> None:
    graph = [
        make.entity("User::ann", {"peer": make.ref("User::bob")}),
        make.entity("User::bob", {"peer": make.ref("User::ann")}),
    ]

    assert names(cut(graph)) == {"User::ann", "User::bob"}


def test_entity_reached_twice_is_there_once() -> None:
    graph = [
        make.entity("User::ann", {"group": make.ref("Group::a")}, parents=["Group::a"]),
        make.entity("Group::a"),
    ]

    assert len(cut(graph, literals=["Group::a"]).entities) == 2


def test_sent_entities_take_part_only_when_reached() -> None:
    sent = [make.entity("User::ann", parents=["Group::a"]), make.entity("Group::a")]

    entity_slice = cut(sent=[*sent, make.entity("Group::b")])

    assert names(entity_slice) == {"User::ann", "Group::a"}


# -------------------------------------------------------------------------------- merging


def test_stored_attributes_win_and_others_are_added() -> None:
    entity_slice = cut(
        [make.entity("User::ann", {"level": 1, "name": "Ann"})],
        sent=[make.entity("User::ann", {"level": 9, "name": "Ann", "device": "phone"})],
    )

    assert only(entity_slice).attributes == {"level": 1, "name": "Ann", "device": "phone"}
    assert entity_slice.overrides == ((make.uid("User::ann"), "level"),)


def test_stored_tags_win_and_others_are_added() -> None:
    entity_slice = cut(
        [make.entity("Doc::plan", tags={"colour": "red"})],
        sent=[make.entity("Doc::plan", tags={"colour": "blue", "size": "big"})],
    )

    assert only(entity_slice).tags == {"colour": "red", "size": "big"}
    assert entity_slice.overrides == ((make.uid("Doc::plan"), "colour"),)


def test_an_attribute_and_a_tag_of_one_name_are_apart() -> None:
    entity_slice = cut(
        [make.entity("Doc::plan", {"x": 1})], sent=[make.entity("Doc::plan", tags={"x": 2})]
    )

    assert (only(entity_slice).attributes, only(entity_slice).tags) == ({"x": 1}, {"x": 2})
    assert entity_slice.overrides == ()


def test_a_record_is_won_or_lost_as_a_whole() -> None:
    """Half of a stored record and half of a sent one would be nobody's data."""
    entity_slice = cut(
        [make.entity("User::ann", {"address": {"country": "DE"}})],
        sent=[make.entity("User::ann", {"address": {"country": "US", "zip": "1"}})],
    )

    assert only(entity_slice).attributes == {"address": {"country": "DE"}}
    assert entity_slice.overrides == ((make.uid("User::ann"), "address"),)


def test_parents_add_up_and_count_once() -> None:
    entity_slice = cut(
        [make.entity("User::ann", parents=["Group::a", "Group::b"])],
        sent=[make.entity("User::ann", parents=["Group::b", "Group::c"])],
    )

    assert only(entity_slice).parents == tuple(
        make.uid(f"Group::{name}") for name in ("a", "b", "c")
    )
    assert entity_slice.overrides == ()


def test_what_only_the_request_knows_is_taken_as_sent() -> None:
    sent = make.entity("User::ann", {"x": 1}, parents=["Group::a"], tags={"t": "1"})

    assert only(cut(sent=[sent])) == sent


def test_an_entity_sent_twice_is_merged_the_first_winning() -> None:
    """A subject's properties come before the entities of the request."""
    entity_slice = cut(
        sent=[
            make.entity("User::ann", {"x": 1}, parents=["Group::a"]),
            make.entity("User::ann", {"x": 2, "y": 3}, parents=["Group::b"]),
        ]
    )

    assert only(entity_slice).attributes == {"x": 1, "y": 3}
    assert only(entity_slice).parents == (make.uid("Group::a"), make.uid("Group::b"))


def test_references_in_overridden_attributes_are_not_followed() -> None:
    entity_slice = cut(
        [
            make.entity("User::ann", {"boss": make.ref("User::real")}),
            make.entity("User::real"),
            make.entity("User::pretended"),
        ],
        sent=[make.entity("User::ann", {"boss": make.ref("User::pretended")})],
    )

    assert names(entity_slice) == {"User::ann", "User::real"}


def test_slicing_does_not_change_the_graph() -> None:
    graph = EntityGraph([make.entity("User::ann", {"x": 1})])
    sent = [make.entity("User::ann", {"y": 2}, parents=["Group::a"])]

    graph.merged_with(sent).reach([make.uid("User::ann")])

    assert list(graph) == [make.entity("User::ann", {"x": 1})]


def test_slice_is_written_as_cedars_entities_document() -> None:
    entity_slice = cut([make.entity("User::ann", {"x": 1}), make.entity("Doc::plan")])

    document = json.loads(entity_slice.to_json_text())

    assert sorted(document, key=lambda entity: entity["uid"]["type"]) == [
        {"uid": {"type": "Doc", "id": "plan"}, "attrs": {}, "parents": []},
        {"uid": {"type": "User", "id": "ann"}, "attrs": {"x": 1}, "parents": []},
    ]


# ------------------------------------------------------------------------------- ancestors


def ancestors(stored: Iterable[Entity], *, sent: Sequence[Entity] = ()) -> set[str]:
    found = EntityGraph(stored).merged_with(sent).ancestors(make.uid("User::ann"))
    return {f"{uid.type}::{uid.id}" for uid in found}


def test_ancestors_are_all_that_an_entity_is_in() -> None:
    stored = [
        make.entity("User::ann", parents=["Group::a"]),
        make.entity("Group::a", parents=["Group::top"]),
        make.entity("Group::other"),
    ]
    sent = [make.entity("User::ann", parents=["Group::sent"])]

    assert ancestors(stored, sent=sent) == {"Group::a", "Group::top", "Group::sent"}


def test_ancestors_of_what_nobody_knows_are_none() -> None:
    assert ancestors([]) == set()


def test_ancestors_in_a_circle_are_found_once() -> None:
    stored = [
        make.entity("User::ann", parents=["Group::a"]),
        make.entity("Group::a", parents=["User::ann"]),
    ]

    assert ancestors(stored) == {"Group::a", "User::ann"}


def test_a_schema_may_give_further_parents() -> None:
    more = {make.uid("Action::view"): (make.uid("Action::all"),)}
    merged = EntityGraph([make.entity("Action::all", parents=["Action::any"])]).merged_with(())

    found = merged.ancestors(make.uid("Action::view"), more)

    assert set(found) == {make.uid("Action::all"), make.uid("Action::any")}


def test_changing_a_graph_leaves_the_graph_alone() -> None:
    ann, bob, eve = (make.entity(f"User::{name}") for name in ("ann", "bob", "eve"))
    graph = EntityGraph([ann, bob])

    changed = graph.changing([bob.uid], [eve])

    assert (list(graph), list(changed)) == ([ann, bob], [ann, eve])


@pytest.mark.parametrize("uid", ["User::ann", "Group::a"])
def test_cycle_is_found_from_any_of_its_entities(uid: str) -> None:
    graph = EntityGraph(
        [
            make.entity("User::ann", parents=["Group::a"]),
            make.entity("Group::a", parents=["User::ann"]),
        ]
    )

    assert graph.has_cycle_through([make.uid(uid)])


def test_what_only_leads_to_a_cycle_is_on_none() -> None:
    graph = EntityGraph([make.entity("Doc::d", parents=["Group::a"]), make.entity("Group::a")])

    assert not graph.has_cycle_through([make.uid("Doc::d"), make.uid("Group::a")])
