"""What the command line reads, as the engine takes it. How it reads is tested in `tests/cli`."""

from __future__ import annotations

from dataclasses import replace

import pytest

import placet
from placet.cli.cases import Expectation
from placet.cli.findings import FilesRefused
from placet_engine.items import (
    Policy,
    SchemaText,
    SchemaValidation,
    Settings,
    StoredEntity,
    TemplateLink,
)
from placet_engine.model import (
    NOWHERE,
    Cause,
    Entity,
    EntityUid,
    Layer,
    LogOnlyReport,
    Outcome,
    PolicyError,
    Reason,
    Undecidable,
    Verdict,
)
from tests.golden import loader
from tests.unit.engine import make

WHOLE = """
description: everything there is
policies:
  - {id: own, cedar: "permit(principal, action, resource);", labels: {team: billing}}
  - id: guard
    layer: agent
    description: guards agents
    cedar: |
      forbid(principal, action, resource)
      when { context.x };
  - {id: ours, layer: platform, cedar: "forbid(principal, action, resource);"}
  - {id: eu, layer: jurisdiction, jurisdiction: EU, cedar: "forbid(principal, action, resource);"}
links:
  - {id: l, template: t, principal: User::ann, resource: {type: Doc, id: 'a "b"'}}
entities:
  - uid: Acme::User::ann
    attributes: {level: 3, at: 12:30, on: 2026-01-01, boss: {__entity: {type: User, id: b}}}
    parents: [Group::a, {type: Group, id: "b::c"}]
    tags: {region: "NO"}
schema: entity User;
settings: {schema_validation: warn, jurisdictions: [EU], allow_empty_ids: true, max_staleness_s: 30}
cases:
  - name: one
    subject: {type: User, id: ann, properties: {level: 1}}
    action: view
    resource: Doc::plan
    context: {list: [1, true, x], number: -7, text: "7", limit: {__extn: {fn: decimal, arg: "1.5"}}}
    entities:
      - {uid: User::ann, attributes: {level: 2}}
    expect: ALLOW
  - name: two
    subject: User::ann
    action: Acme::Action::view
    resource: Doc::plan
    expect: {undecidable: EMPTY_ID, field: subject.id}
"""


def whole() -> loader.GoldenFile:
    return loader.parse(WHOLE, name="whole")


def test_what_is_stored_is_read() -> None:
    own, guard, link, entity, schema, settings = whole().tenant

    assert isinstance(own, Policy)
    assert replace(own, position=NOWHERE) == Policy(
        id="own", cedar="permit(principal, action, resource);", labels={"team": "billing"}
    )
    assert isinstance(guard, Policy)
    assert replace(guard, position=NOWHERE) == Policy(
        id="guard",
        cedar="forbid(principal, action, resource)\nwhen { context.x };",
        layer=Layer.AGENT,
        description="guards agents",
    )
    assert link == TemplateLink(
        id="l",
        template_id="t",
        principal=make.uid("User::ann"),
        resource=EntityUid("Doc", 'a "b"'),
    )
    assert entity == StoredEntity(
        Entity(
            uid=EntityUid("Acme::User", "ann"),
            attributes={
                "level": 3,
                "at": "12:30",
                "on": "2026-01-01",
                "boss": make.ref("User::b"),
            },
            parents=(EntityUid("Group", "a"), EntityUid("Group", "b::c")),
            tags={"region": "NO"},
        )
    )
    assert schema == SchemaText("entity User;")
    assert settings == Settings(
        schema_validation=SchemaValidation.WARN,
        jurisdictions=("EU",),
        max_staleness_s=30.0,
        allow_empty_ids=True,
    )


def test_policies_of_the_platform_are_apart() -> None:
    ours, eu = whole().platform

    assert (ours.key.id, eu.key.id) == ("ours", "eu")
    assert isinstance(eu, Policy)
    assert (eu.layer, eu.jurisdiction) == (Layer.JURISDICTION, "EU")


def test_cases_are_read() -> None:
    file = whole()

    one, two = file.cases
    assert (one.name, one.file) == ("whole/one", file)
    assert one.asked.subject == placet.Subject("User", "ann", {"level": 1})
    assert one.request == make.request(
        context={
            "list": [1, True, "x"],
            "number": -7,
            "text": "7",
            "limit": {"__extn": {"fn": "decimal", "arg": "1.5"}},
        },
        entities=[make.entity("User::ann", {"level": 1}), make.entity("User::ann", {"level": 2})],
    )
    assert one.expectation == Expectation(outcome=placet.Outcome.ALLOW)
    assert two.request.action == EntityUid("Acme::Action", "view")
    assert two.expectation == Expectation(undecidable="EMPTY_ID", field="subject.id")


CASE = "name: n, subject: User::a, action: v, resource: Doc::d"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("policies: []", "bad.yaml:1:1: a file of cases needs `cases`"),
        (f"cases: [{{{CASE}, expect: DENNY}}]", "`expect` is `DENNY`; did you mean `DENY`?"),
        (
            "{policies: [{id: p, cedar: x, layer: jurisdiction}], cases: []}",
            "`jurisdiction` is for policies of layer JURISDICTION, and needed there",
        ),
    ],
)
def test_file_that_does_not_say_what_it_means_is_refused(text: str, message: str) -> None:
    with pytest.raises(FilesRefused) as caught:
        loader.parse(text, name="bad")

    assert message in str(caught.value)


VERDICT = Verdict(
    outcome=Outcome.ALLOW,
    cause=Cause.PERMITTED,
    reasons=(Reason("a", Layer.PLATFORM, "because"), Reason("b", Layer.TENANT)),
    obligations=("x", "y"),
    errors=(PolicyError("c", Layer.TENANT, "broken"),),
    log_only=LogOnlyReport(Outcome.DENY, (Reason("w", Layer.TENANT),)),
)
UNDECIDED = Undecidable("EMPTY_ID", "`subject.id` is empty; name the entity", "subject.id")


def case_that_expects(text: str) -> loader.GoldenCase:
    return loader.parse(f"cases: [{{{CASE}, expect: {text}}}]", name="e").cases[0]


@pytest.mark.parametrize(
    ("expected", "answer", "differences"),
    [
        ("{outcome: ALLOW, reasons: [b, a], obligations: [y, x], errors: [c]}", VERDICT, []),
        ("{log_only: {outcome: DENY, reasons: [w]}, messages: [because]}", VERDICT, []),
        ("DENY", VERDICT, ["outcome: expected DENY, is ALLOW"]),
        ("{reasons: [a], errors: [c]}", VERDICT, ["reasons: expected a, is a, b"]),
        ("{approvers: [boss]}", VERDICT, ["approval_groups: expected boss, is none"]),
        ("{log_only: null}", VERDICT, ["log_only: expected nothing to report, is DENY"]),
        ("{undecidable: X}", VERDICT, ["outcome: expected no decision (X), is ALLOW"]),
        ("{undecidable: EMPTY_ID, field: subject.id}", UNDECIDED, []),
        ("{undecidable: EMPTY_ID, field: x}", UNDECIDED, ["field: expected x, is subject.id"]),
        (
            "DENY",
            UNDECIDED,
            [f"outcome: expected DENY, is no decision (EMPTY_ID): {UNDECIDED.message}"],
        ),
    ],
)
def test_answers_of_the_engine_are_compared(
    expected: str, answer: Verdict | Undecidable, differences: list[str]
) -> None:
    assert case_that_expects(expected).differences(answer) == differences
