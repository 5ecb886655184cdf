"""Requests as callers write them."""

from __future__ import annotations

from typing import Any

import pytest

import placet
from placet import _requests as building
from placet.v1 import evaluate_service_pb2 as pb


def _request(**parts: Any) -> pb.EvaluateRequest:
    whole = {"subject": ("User", "alice"), "action": "read", "resource": ("Invoice", "1")}
    return building.evaluate_request("acme", **{**whole, **parts})


@pytest.mark.parametrize(
    "subject",
    [
        ("User", "alice"),
        ["User", "alice"],
        placet.EntityRef("User", "alice"),
        placet.Subject("User", "alice"),
    ],
)
def test_a_subject_may_be_written_in_several_ways(subject: Any) -> None:
    assert pb.Subject(type="User", id="alice") == _request(subject=subject).subject


@pytest.mark.parametrize("action", ["read", placet.Action("read")])
def test_an_action_may_be_its_name(action: Any) -> None:
    assert pb.Action(name="read") == _request(action=action).action


@pytest.mark.parametrize(
    "action", [placet.Action("read", "Acme::Action"), placet.EntityRef("Acme::Action", "read")]
)
def test_an_action_may_be_in_a_namespace(action: Any) -> None:
    assert pb.Action(name="read", type="Acme::Action") == _request(action=action).action


@pytest.mark.parametrize("subject", ["User::alice", 'User::"alice"', "alice", None, 42, ("User",)])
def test_a_subject_as_one_text_is_refused(subject: Any) -> None:
    """Ids come from outside: taking `User::` + id apart again is how one user becomes another."""
    with pytest.raises(placet.InvalidRequest, match="pass type and id"):
        _request(subject=subject)


def test_an_id_has_to_be_text() -> None:
    with pytest.raises(placet.InvalidRequest) as caught:
        _request(resource=("Invoice", 1))

    assert placet.Violation("resource.id", "is an int; pass text") == caught.value.violations[0]


def test_properties_entities_and_context_go_along() -> None:
    message = _request(
        subject=placet.Subject("User", "alice", {"level": 3}),
        context={"purpose": "audit"},
        entities=[
            placet.Entity(
                placet.EntityRef("Group", "clerks"),
                attributes={"size": 2},
                parents=(placet.EntityRef("Group", "staff"),),
                tags={"site": "x"},
            )
        ],
        permit="leave",
        min_revision=7,
    )

    assert 3 == message.subject.properties["level"].int_value
    assert "audit" == message.context["purpose"].string_value
    assert "staff" == message.entities[0].parents[0].id
    assert "x" == message.entities[0].tags["site"].string_value
    assert ("leave", 7) == (message.permit, message.min_revision)


def test_the_tenant_has_to_be_said_somewhere() -> None:
    with pytest.raises(placet.InvalidRequest, match="`tenant` is missing"):
        building.evaluate_request(None, ("User", "a"), "read", ("Invoice", "1"))


@pytest.mark.parametrize(
    ("parts", "target"),
    [
        ({"subject": placet.AnyOf("User")}, pb.SEARCH_TARGET_SUBJECT),
        ({"action": placet.AnyOf()}, pb.SEARCH_TARGET_ACTION),
        ({"resource": placet.AnyOf("Invoice")}, pb.SEARCH_TARGET_RESOURCE),
    ],
)
def test_a_search_leaves_one_part_open(parts: dict[str, Any], target: int) -> None:
    whole: dict[str, Any] = {
        "subject": ("User", "alice"),
        "action": "read",
        "resource": ("Invoice", "1"),
    }

    message = building.search_request("acme", **{**whole, **parts})

    assert target == message.target
    ids = [message.request.subject.id, message.request.action.name, message.request.resource.id]
    assert 1 == ids.count("")


@pytest.mark.parametrize("subject", [("User", "alice"), placet.AnyOf("User")])
def test_a_search_leaves_neither_none_nor_two_open(subject: Any) -> None:
    resource: Any = placet.AnyOf("Invoice") if isinstance(subject, placet.AnyOf) else ("I", "1")

    with pytest.raises(placet.InvalidRequest, match="exactly one"):
        building.search_request("acme", subject, "read", resource)


def test_every_publish_can_be_repeated() -> None:
    from placet._publishing import publish_request

    first, second = (
        publish_request(
            "acme", placet.ChangeSet(), expected_revision=0, message="", request_id=None
        )
        for _ in range(2)
    )

    assert first.request_id
    assert first.request_id != second.request_id
    assert first.HasField("expected_revision")
