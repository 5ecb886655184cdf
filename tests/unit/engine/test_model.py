from __future__ import annotations

import json
from enum import IntEnum
from typing import Any

import cedarpy
import pytest

from placet.v1 import decision_pb2, evaluate_service_pb2, policy_pb2
from placet_engine.items import ItemKind, SchemaValidation
from placet_engine.model import (
    NOWHERE,
    Cause,
    Effect,
    Entity,
    EntityUid,
    Layer,
    Outcome,
    Position,
    Severity,
    escape,
)
from tests.unit.engine import make


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain", "plain"),
        ("", ""),
        ("a b:c/d@e.f", "a b:c/d@e.f"),
        ('say "yes"', r"say \"yes\""),
        ("back\\slash", r"back\\slash"),
        ("line\nfeed\r\ttab\0nul", r"line\nfeed\r\ttab\0nul"),
        ("\x07bell", r"\u{7}bell"),
        ("\u200bzero width", r"\u{200b}zero width"),
        ("\xa0no-break", r"\u{a0}no-break"),
        ("grüße 你好 😀", "grüße 你好 😀"),
        ("\U000e0001tag", r"\u{e0001}tag"),
    ],
)
def test_text_is_escaped_as_between_cedar_quotes(text: str, escaped: str) -> None:
    assert escape(text) == escaped


@pytest.mark.parametrize(
    "uid",
    [
        EntityUid("User", "ann"),
        EntityUid("Acme::Sub::User", "ann"),
        EntityUid("User", 'Ann "the boss" O\\Neil'),
        EntityUid("User", "a\nb\0c\x1b[0m"),
        EntityUid("User", 'User::"nested"'),
        EntityUid("User", "ünï😀\u202e"),
        EntityUid("User", ""),
    ],
    ids=repr,
)
def test_cedar_reads_a_written_uid_as_the_same_entity(uid: EntityUid) -> None:
    text = f"permit(principal == {uid}, action, resource);"

    document = json.loads(cedarpy.policies_to_json_str(text))

    assert document["staticPolicies"]["policy0"]["principal"]["entity"] == uid.to_json()


def test_uids_are_ordered_by_type_then_id() -> None:
    unordered = [make.uid("User::b"), make.uid("Group::z"), make.uid("User::a")]

    assert [str(uid) for uid in sorted(unordered)] == ['Group::"z"', 'User::"a"', 'User::"b"']


def test_entity_is_written_in_cedars_json_form() -> None:
    entity = make.entity("User::ann", {"age": 42}, parents=["Group::g"], tags={"team": "red"})

    assert entity.to_json() == {
        "uid": {"type": "User", "id": "ann"},
        "attrs": {"age": 42},
        "parents": [{"type": "Group", "id": "g"}],
        "tags": {"team": "red"},
    }


def test_entity_without_tags_writes_none() -> None:
    """So that a digest from before tags were used stays what it was."""
    assert "tags" not in Entity(uid=make.uid("User::ann")).to_json()


@pytest.mark.parametrize(
    ("position", "text"),
    [
        (NOWHERE, ""),
        (Position(file="a.cedar"), "a.cedar"),
        (Position(file="a.cedar", line=3), "a.cedar:3"),
        (Position(file="a.cedar", line=3, column=7), "a.cedar:3:7"),
        (Position(line=3, column=7), "line 3:7"),
        (Position(line=3), "line 3"),
        (Position(file="a.cedar", column=7), "a.cedar"),
    ],
)
def test_position_reads_as_editors_write_it(position: Position, text: str) -> None:
    assert str(position) == text


@pytest.mark.parametrize(
    ("ours", "wire", "prefix"),
    [
        (Outcome, decision_pb2.Outcome, "OUTCOME_"),
        (Cause, decision_pb2.Cause, "CAUSE_"),
        (Layer, decision_pb2.Layer, "LAYER_"),
        (Effect, evaluate_service_pb2.Effect, "EFFECT_"),
        (Severity, policy_pb2.Problem.Severity, "SEVERITY_"),
        (ItemKind, policy_pb2.ItemKind, "ITEM_KIND_"),
        (SchemaValidation, policy_pb2.SchemaValidation, "SCHEMA_VALIDATION_"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_members_and_numbers_of_enums_are_those_of_the_wire(
    ours: type[IntEnum], wire: Any, prefix: str
) -> None:
    """But for zero, which is "not given" there and must never be read as a member."""
    expected = {name: number for name, number in wire.items() if number}

    assert expected == {f"{prefix}{member.name}": member.value for member in ours}
