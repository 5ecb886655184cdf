from __future__ import annotations

import pytest

from placet_engine.items import (
    Policy,
    SchemaText,
    SchemaValidation,
    Settings,
    StoredEntity,
    TemplateLink,
)
from placet_engine.model import (
    Cause,
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
    attributes:
      {level: 3, yes: no, at: 12:30, on: 2026-01-01, boss: {__entity: {type: User, id: b}}}
    parents: [Group::a, {type: Group, id: "b::c"}]
    tags: {region: NO}
schema: entity User;
settings: {schema_validation: warn, jurisdictions: [EU], allow_empty_ids: true, max_staleness_s: 30}
cases:
  - name: one
    subject: {type: User, id: ann, properties: {level: 1}}
    action: view
    resource: Doc::plan
    context: {list: [1, true, x], number: -7, text: "7", octal: 010}
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
    file = whole()

    own, guard, link, entity, schema, settings = file.tenant
    assert own == Policy(
        id="own", cedar="permit(principal, action, resource);", labels={"team": "billing"}
    )
    assert guard == Policy(
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
    assert isinstance(entity, StoredEntity)
    assert entity.entity.uid == EntityUid("Acme::User", "ann")
    assert entity.entity.parents == (EntityUid("Group", "a"), EntityUid("Group", "b::c"))
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


def test_words_and_times_are_text() -> None:
    """In YAML 1.1 `no` is false, and `12:30` is the number 750."""
    entity = whole().tenant[3]
    assert isinstance(entity, StoredEntity)

    assert entity.entity.attributes == {
        "level": 3,
        "yes": "no",
        "at": "12:30",
        "on": "2026-01-01",
        "boss": {"__entity": {"type": "User", "id": "b"}},
    }
    assert entity.entity.tags == {"region": "NO"}


def test_cases_are_read() -> None:
    file = whole()

    one, two = file.cases
    assert (one.name, one.file) == ("whole/one", file)
    assert one.request == make.request(
        context={"list": [1, True, "x"], "number": -7, "text": "7", "octal": "010"},
        entities=[make.entity("User::ann", {"level": 1}), make.entity("User::ann", {"level": 2})],
    )
    assert one.expectation == loader.Expectation(outcome=Outcome.ALLOW)
    assert two.request.action == EntityUid("Acme::Action", "view")
    assert two.expectation == loader.Expectation(undecidable="EMPTY_ID", field="subject.id")


CASE = "name: n, subject: User::a, action: v, resource: Doc::d"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "is a list; it has to be a mapping"),
        ("policies: []", "`cases` is missing"),
        ("{policies: [], cases: [], polices: []}", "`polices` is not known; use `cases`, `desc"),
        ("{policies: {}, cases: []}", "`policies` is a mapping; it has to be a list"),
        ("{policies: [{id: p}], cases: []}", "`policies[0].cedar` is missing"),
        ("{policies: [{id: 7, cedar: x}], cases: []}", "`policies[0].id` is the number 7; it has"),
        (
            "{policies: [{id: p, cedar: x, layer: TENANT}], cases: []}",
            "`policies[0].layer` is `TENANT`; use `agent`, `jurisdiction`, `platform`, `tenant`",
        ),
        (
            "{policies: [{id: p, cedar: x, layer: jurisdiction}], cases: []}",
            "`policies[0].jurisdiction` goes with `layer: jurisdiction`, and is needed there",
        ),
        (
            "{policies: [{id: p, cedar: x, jurisdiction: EU}], cases: []}",
            "`policies[0].jurisdiction` goes with",
        ),
        (
            "{policies: [], cases: [], entities: [{uid: ann}]}",
            "`entities[0].uid` is `ann`; write it like `User::ann`",
        ),
        (
            "{policies: [], cases: [], entities: [{uid: 'User::\"ann\"'}]}",
            '`entities[0].uid` is `User::"ann"`; leave the quotes out',
        ),
        (
            "{policies: [], cases: [], entities: [{uid: U::a, attributes: {x: {y: [1.5]}}}]}",
            "`entities[0].attributes.x.y[0]` is the number 1.5, which Cedar does not know",
        ),
        (
            "{policies: [], cases: [], entities: [{uid: U::a, attributes: {x: null}}]}",
            "`entities[0].attributes.x` is nothing",
        ),
        (
            "{policies: [], cases: [], entities: [{uid: U::a, parents: G::a}]}",
            "`entities[0].parents` is text; it has to be a list",
        ),
        (
            "{policies: [], cases: [], settings: {allow_empty_ids: 1}}",
            "`settings.allow_empty_ids` is the number 1; use `true` or `false`",
        ),
        (f"{{policies: [], cases: [{{{CASE}}}]}}", "`cases[0].expect` is missing"),
        (f"{{policies: [], cases: [{{{CASE}, expect: allow}}]}}", "is `allow`; use `ALLOW`,"),
        (
            f"{{policies: [], cases: [{{{CASE}, expect: {{outcome: DENY, reason: [a]}}}}]}}",
            "`cases[0].expect.reason` is not known",
        ),
        (
            f"{{policies: [], cases: [{{{CASE}, expect: {{outcome: DENY, reasons: a}}}}]}}",
            "`cases[0].expect.reasons` is text; it has to be a list",
        ),
        (
            f"{{policies: [], cases: [{{{CASE}, expect: {{reasons: [a]}}}}]}}",
            "`cases[0].expect.outcome` is missing",
        ),
        (
            f"{{policies: [], cases: [{{{CASE}, expect: {{undecidable: X, outcome: DENY}}}}]}}",
            "`cases[0].expect.outcome` is not known",
        ),
        (
            f"{{policies: [], cases: [{{{CASE}, expect: DENY}}, {{{CASE}, expect: DENY}}]}}",
            "`cases[1].name` is that of another case; choose another",
        ),
        ("{policies: [], policies: [], cases: []}", "key `policies` is given twice"),
        ("{policies: [", "bad.yaml is not YAML"),
        ("{policies: !!python/name:os.system , cases: []}", "bad.yaml is not YAML"),
    ],
)
def test_file_that_does_not_say_what_it_means_is_refused(text: str, message: str) -> None:
    with pytest.raises(loader.BadFile) as caught:
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


def expectation(text: str) -> loader.Expectation:
    source = f"{{policies: [], cases: [{{{CASE}, expect: {text}}}]}}"
    return loader.parse(source, name="e").cases[0].expectation


@pytest.mark.parametrize(
    "expected",
    [
        "ALLOW",
        "{outcome: ALLOW, cause: PERMITTED, reasons: [b, a], messages: [because]}",
        "{outcome: ALLOW, obligations: [y, x], errors: [c], approvers: []}",
        "{outcome: ALLOW, log_only: {outcome: DENY}}",
        "{outcome: ALLOW, log_only: {outcome: DENY, reasons: [w]}}",
    ],
)
def test_answer_that_is_as_expected_has_no_differences(expected: str) -> None:
    assert expectation(expected).differences(VERDICT) == []


@pytest.mark.parametrize(
    ("expected", "difference"),
    [
        ("DENY", "outcome: expected DENY, is ALLOW"),
        ("{outcome: ALLOW, cause: APPROVED}", "cause: expected APPROVED, is PERMITTED"),
        ("{outcome: ALLOW, reasons: [a]}", "reasons: expected a, is a, b"),
        ("{outcome: ALLOW, reasons: []}", "reasons: expected none, is a, b"),
        ("{outcome: ALLOW, messages: []}", "messages: expected none, is because"),
        ("{outcome: ALLOW, obligations: [x, y, z]}", "obligations: expected x, y, z, is x, y"),
        ("{outcome: ALLOW, errors: []}", "errors: expected none, is c"),
        ("{outcome: ALLOW, approvers: [boss]}", "approvers: expected boss, is none"),
        ("{outcome: ALLOW, log_only: null}", "log_only: expected nothing, would be DENY"),
        ("{outcome: ALLOW, log_only: {outcome: ALLOW}}", "log_only: expected ALLOW, is DENY"),
        (
            "{outcome: ALLOW, log_only: {outcome: DENY, reasons: []}}",
            "log_only.reasons: expected none, is w",
        ),
        ("{undecidable: EMPTY_ID}", "expected not to be decided (EMPTY_ID), is ALLOW"),
    ],
)
def test_answer_that_is_not_as_expected_has_differences(expected: str, difference: str) -> None:
    assert expectation(expected).differences(VERDICT) == [difference]


def test_report_that_is_missing_is_a_difference() -> None:
    silent = Verdict(outcome=Outcome.ALLOW, cause=Cause.PERMITTED)

    differences = expectation("{outcome: ALLOW, log_only: {outcome: DENY}}").differences(silent)

    assert differences == ["log_only: expected a report, there is none"]


@pytest.mark.parametrize(
    ("expected", "agrees"),
    [
        ("{undecidable: EMPTY_ID}", True),
        ("{undecidable: EMPTY_ID, field: subject.id}", True),
        ("{undecidable: EMPTY_ID, field: resource.id}", False),
        ("{undecidable: ENTITIES_REFUSED}", False),
        ("DENY", False),
        ("ALLOW", False),
    ],
)
def test_not_deciding_is_not_denying(expected: str, agrees: bool) -> None:
    answer = Undecidable("EMPTY_ID", "is empty; name the entity", "subject.id")

    assert (expectation(expected).differences(answer) == []) is agrees
