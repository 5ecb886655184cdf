"""Reading what servers send, newer servers among them: doubt denies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import placet
from placet import _convert as convert
from placet._publishing import change_set_to_wire
from placet.v1 import decision_pb2, evaluate_service_pb2, policy_pb2, value_pb2


@given(number=st.integers(-(2**31), 2**31 - 1))
def test_an_unknown_outcome_is_a_denial(number: int) -> None:
    message = decision_pb2.Decision(outcome=decision_pb2.Outcome.ValueType(number))

    decision = convert.decision(message)

    known = {1: placet.Outcome.ALLOW, 3: placet.Outcome.REQUIRES_APPROVAL}
    assert known.get(number, placet.Outcome.DENY) is decision.outcome
    assert (number == 1) is decision.allowed is bool(decision) is bool(decision.outcome)


def test_an_empty_decision_is_a_denial() -> None:
    decision = convert.decision(decision_pb2.Decision())

    assert placet.Outcome.DENY is decision.outcome
    assert placet.Cause.UNKNOWN is decision.cause


def test_a_decision_is_read_whole() -> None:
    message = decision_pb2.Decision(
        outcome=decision_pb2.OUTCOME_REQUIRES_APPROVAL,
        cause=decision_pb2.CAUSE_APPROVAL_NEEDED,
        reasons=[decision_pb2.Reason(policy_id="p", layer=decision_pb2.LAYER_TENANT, message="m")],
        obligations=["redact:ssn"],
        errors=[
            decision_pb2.PolicyError(
                policy_id="q", layer=decision_pb2.Layer.ValueType(99), message="e"
            )
        ],
        approval=decision_pb2.ApprovalRequirement(groups=["leads"]),
        log_only=decision_pb2.LogOnlyReport(outcome=decision_pb2.OUTCOME_DENY),
        decision_id="d",
        revision=7,
        cached=True,
        region="eu-west",
        node="n",
        rollout_variant="stable",
    )
    message.staleness.FromMilliseconds(1500)

    expected = placet.Decision(
        outcome=placet.Outcome.REQUIRES_APPROVAL,
        cause=placet.Cause.APPROVAL_NEEDED,
        reasons=(placet.Reason("p", placet.Layer.TENANT, "m"),),
        obligations=("redact:ssn",),
        errors=(placet.PolicyError("q", placet.Layer.UNSPECIFIED, "e"),),
        approval_groups=("leads",),
        log_only=placet.LogOnlyReport(placet.Outcome.DENY, ()),
        decision_id="d",
        revision=7,
        staleness=timedelta(seconds=1.5),
        cached=True,
        region="eu-west",
        node="n",
        rollout_variant="stable",
    )

    assert expected == convert.decision(message)


def test_a_result_of_neither_kind_is_no_decision() -> None:
    result = convert.result(evaluate_service_pb2.BatchResult())

    assert isinstance(result, placet.DecisionError)
    assert "RESULT_UNKNOWN" == result.reason


def test_an_error_in_place_of_a_decision_is_not_taken_for_an_allow() -> None:
    message = evaluate_service_pb2.BatchResult(
        error=decision_pb2.DecisionError(code=3, reason="EMPTY_ID", message="m", field="subject.id")
    )

    result = convert.result(message)

    assert isinstance(result, placet.DecisionError)
    assert isinstance(result, placet.CouldNotDecide)
    assert not result
    assert result.allowed is False
    assert ("INVALID_ARGUMENT", "EMPTY_ID", "subject.id") == (
        result.code,
        result.reason,
        result.field,
    )


@pytest.mark.parametrize(
    ("function", "argument", "expected"),
    [
        (
            "duration",
            "1d2h3m4s5ms",
            timedelta(days=1, hours=2, minutes=3, seconds=4, milliseconds=5),
        ),
        ("duration", "-90m", timedelta(minutes=-90)),
        ("duration", "5ms", timedelta(milliseconds=5)),
        ("duration", "9223372036854775807ms", None),
        ("duration", "soon", None),
        ("datetime", "2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
        ("datetime", "2026-01-02T03:04:05+0200", datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)),
        ("datetime", "0000-01-01", None),
        ("ip", "1.2.3.400", None),
        ("novelty", "x", None),
    ],
)
def test_extension_values_that_python_cannot_hold_stay_text(
    function: str, argument: str, expected: object
) -> None:
    message = value_pb2.Value(
        extension_value=value_pb2.ExtensionValue(function=function, argument=argument)
    )

    assert (expected or placet.Extension(function, argument)) == convert.value(message)


def test_values_of_unknown_kinds_are_left_out() -> None:
    assert {} == convert.attributes({"new": value_pb2.Value()})


_ITEMS = [
    placet.Policy(
        id="orders/read",
        cedar="permit(principal, action, resource);",
        layer=placet.Layer.AGENT,
        description="d",
        labels={"team": "x"},
        position=placet.Position(file="a.cedar", line=3, column=1),
    ),
    placet.TemplateLink(id="l", template_id="t", principal=placet.EntityRef("User", "a")),
    placet.Entity(
        placet.EntityRef("User", "a"), {"n": 1}, (placet.EntityRef("G", "g"),), {"t": "x"}
    ),
    placet.Schema("entity User;"),
    placet.TenantSettings(
        schema_validation=placet.SchemaValidation.WARN,
        jurisdictions=("EU",),
        max_staleness=timedelta(seconds=30),
        allow_empty_ids=True,
    ),
]


@pytest.mark.parametrize("body", _ITEMS, ids=lambda body: type(body).__name__)
def test_items_come_back_as_they_went(body: object) -> None:
    sent = change_set_to_wire(
        placet.ChangeSet(
            policies=[body] if isinstance(body, placet.Policy) else [],
            template_links=[body] if isinstance(body, placet.TemplateLink) else [],
            entities=[body] if isinstance(body, placet.Entity) else [],
            schema=body if isinstance(body, placet.Schema) else None,
            settings=body if isinstance(body, placet.TenantSettings) else None,
        )
    )
    stored = policy_pb2.Item(owner="acme", revision=3, digest=b"d")
    for field, place in (
        ("policies", "policy"),
        ("template_links", "template_link"),
        ("entities", "entity"),
    ):
        for message in getattr(sent, field):
            getattr(stored, place).CopyFrom(message)
    for field in ("schema", "settings"):
        if sent.HasField(field):  # type: ignore[arg-type]  # one of the two names
            getattr(stored, field).CopyFrom(getattr(sent, field))

    item = convert.item(stored)

    assert placet.Item("acme", 3, b"d", body) == item  # type: ignore[arg-type]  # one of the bodies


def test_items_of_unknown_kinds_are_left_out() -> None:
    assert [] == convert.items([policy_pb2.Item(owner="acme")])
