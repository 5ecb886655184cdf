from __future__ import annotations

import itertools
from decimal import Decimal
from enum import IntEnum
from typing import Any

import pytest

import placet
from placet.local._exact import exact_key

PLAIN: dict[str, Any] = {
    "subject": ("User", "ann"),
    "action": "view",
    "resource": ("Doc", "plan"),
    "context": {"level": 1},
}


def key(**changes: object) -> bytes | None:
    return exact_key(**{**PLAIN, **changes})


class Level(IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"subject": placet.Subject("User", "ann", {"team": "a", "tags": ["x", "y"]})},
        {"action": placet.Action("view", "Acme::Action")},
        {"resource": placet.Resource("Doc", "plan", {"owner": {"name": "ann"}})},
        {"context": None},
        {"context": {"set": {1, 2}}},
    ],
)
def test_requests_written_the_same_have_one_key(changes: dict[str, object]) -> None:
    assert key(**changes) is not None
    assert key(**changes) == key(**changes)


def test_requests_written_otherwise_have_other_keys() -> None:
    variants: list[dict[str, object]] = [
        {},
        {"subject": ("User", "bob")},
        {"subject": ("ann", "User")},
        {"subject": placet.Subject("User", "ann")},
        {"subject": placet.Subject("User", "ann", {"level": 1})},
        {"subject": placet.Subject("User", "ann", {"level": True})},
        {"subject": placet.Subject("User", "ann", {"level": [1]})},
        {"subject": placet.Subject("User", "ann", {"level": {"1": 1}})},
        {"action": "edit"},
        {"action": placet.Action("view", "Acme::Action")},
        {"resource": ("Doc", "other")},
        {"context": {"level": True}},
        {"context": {"level": "1"}},
        {"context": {}},
        {"context": None},
    ]
    keys = [key(**changes) for changes in variants]

    assert None not in keys
    assert all(one != other for one, other in itertools.combinations(keys, 2))


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": ["User", "ann"]},
        {"subject": ("User", "ann", {})},
        {"subject": placet.EntityRef("User", "ann")},
        {"action": placet.EntityRef("Action", "view")},
        {"resource": "Doc::plan"},
        {"context": {"amount": Decimal("1.5")}},
        {"context": {"level": Level.ONE}},
        {"context": {"who": placet.EntityRef("User", "ann")}},
    ],
)
def test_what_is_not_plain_has_to_be_read(changes: dict[str, object]) -> None:
    assert key(**changes) is None
