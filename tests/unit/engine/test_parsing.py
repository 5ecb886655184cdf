from __future__ import annotations

import json
import threading
from typing import Any

import cedarpy
import pytest

from placet_engine.model import Effect, EntityUid
from placet_engine.parsing import PolicyParser, PolicyTextError
from tests.unit.engine import make


def refusal(cedar: str) -> PolicyTextError:
    with pytest.raises(PolicyTextError) as caught:
        make.parsed(cedar)
    return caught.value


def document(cedar: str) -> Any:
    """Return a static policy in Cedar's JSON form, without its annotations."""
    (policy,) = json.loads(cedarpy.policies_to_json_str(cedar))["staticPolicies"].values()
    policy.pop("annotations", None)
    return policy


# ------------------------------------------------------------------------------- the text


@pytest.mark.parametrize(
    ("cedar", "effect"),
    [
        ("permit(principal, action, resource);", Effect.PERMIT),
        ("forbid(principal, action, resource);", Effect.FORBID),
    ],
)
def test_effect_is_read(cedar: str, effect: Effect) -> None:
    assert make.parsed(cedar).effect is effect


@pytest.mark.parametrize(
    ("cedar", "message"),
    [
        ("permit(principal, action, resource)", "unexpected end of input"),
        ("permit(principle, action, resource);", "principle"),
        ("permit(principal, action, resource) when { foo };", "foo"),
        ("allow(principal, action, resource);", "allow"),
        ('permit(principal, action, resource) when { "open };', "invalid token"),
        ("permit(principal, action, resource) when { ?principal == resource };", "slot"),
    ],
)
def test_text_that_is_not_cedar_is_refused(cedar: str, message: str) -> None:
    error = refusal(cedar)

    assert error.reason == "POLICY_SYNTAX"
    assert message in str(error)


@pytest.mark.parametrize(
    ("cedar", "count"),
    [
        ("// only a comment", 0),
        (make.ANYBODY * 2, 2),
        (f"{make.ANYBODY} permit(principal == ?principal, action, resource);", 2),
    ],
)
def test_text_of_none_or_several_policies_is_refused(cedar: str, count: int) -> None:
    error = refusal(cedar)

    assert error.reason == "POLICY_COUNT"
    assert str(error) == f"holds {count} policies; give each policy an item of its own"


# ---------------------------------------------------------------------------- annotations


def test_annotations_are_read() -> None:
    policy = make.parsed(
        """
        @id("pay")
        @approval("finance-leads, cfo")
        @obligation("redact:ssn,notify:owner , ")
        @reason("larger payments need a second person")
        @mode("log_only")
        @team("payments")
        @bare
        permit(principal, action, resource);
        """
    )

    assert policy.approval_groups == ["finance-leads", "cfo"]
    assert policy.obligations == ["redact:ssn", "notify:owner"]
    assert policy.message == "larger payments need a second person"
    assert policy.log_only
    assert (policy.annotations["team"], policy.annotations["bare"]) == ("payments", "")


def test_policy_without_annotations_has_none_of_what_they_say() -> None:
    policy = make.parsed(make.ANYBODY)

    assert policy.annotations == {}
    assert (policy.approval_groups, policy.obligations, policy.message) == ([], [], "")
    assert not policy.log_only


def test_mode_enforce_is_the_default_spelt_out() -> None:
    assert not make.parsed(f'@mode("enforce") {make.ANYBODY}').log_only


@pytest.mark.parametrize("mode", ["dry_run", "log-only", "", "LOG_ONLY"])
def test_unknown_mode_is_refused(mode: str) -> None:
    error = refusal(f'@mode("{mode}") {make.ANYBODY}')

    assert error.reason == "POLICY_ANNOTATION"
    assert str(error) == f'`@mode("{mode}")` is not a mode; use `enforce` or `log_only`'


def test_mode_without_a_value_is_refused() -> None:
    assert refusal(f"@mode {make.ANYBODY}").reason == "POLICY_ANNOTATION"


@pytest.mark.parametrize("value", ["", '("")', '(" , ,")'])
@pytest.mark.parametrize("name", ["approval", "obligation"])
def test_approval_and_obligation_need_a_value(name: str, value: str) -> None:
    """An `@approval` that names nobody would silently allow."""
    error = refusal(f"@{name}{value} {make.ANYBODY}")

    assert error.reason == "POLICY_ANNOTATION"
    assert str(error).startswith(f"`@{name}` needs a value, as in `@{name}(")


@pytest.mark.parametrize("name", ["approval", "obligation"])
def test_approval_and_obligation_are_refused_on_a_forbid(name: str) -> None:
    error = refusal(f'@{name}("x") forbid(principal, action, resource);')

    assert error.reason == "POLICY_ANNOTATION"
    assert str(error) == f"`@{name}` has no meaning on a `forbid`; put it on the `permit`"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("approvals", "approval"),
        ("aproval", "approval"),
        ("Approval", "approval"),
        ("APPROVAL", "approval"),
        ("obligations", "obligation"),
        ("obligaton", "obligation"),
        ("Obligation", "obligation"),
        ("modes", "mode"),
        ("Mode", "mode"),
        ("MODE", "mode"),
        ("reasons", "reason"),
        ("Id", "id"),
        ("approve", "approval"),
        ("Approvers", "approval"),
        ("oblige", "obligation"),
    ],
)
def test_misspelt_annotation_is_refused(name: str, meant: str) -> None:
    """Cedar ignores what it does not know, so that a misspelt `@approval` would allow."""
    error = refusal(f'@{name}("x") {make.ANYBODY}')

    assert error.reason == "POLICY_ANNOTATION"
    assert str(error) == f"`@{name}` has no meaning; did you mean `@{meant}`?"


@pytest.mark.parametrize(
    "name", ["season", "model", "node", "owner", "proposal", "removal", "description"]
)
def test_annotations_of_the_authors_own_are_kept(name: str) -> None:
    assert make.parsed(f'@{name}("x") {make.ANYBODY}').annotations == {name: "x"}


# ------------------------------------------------------------------------------- literals


@pytest.mark.parametrize(
    ("condition", "literals"),
    [
        ("when { true }", []),
        ('when { principal == User::"ann" }', ["User::ann"]),
        ('unless { resource in Folder::"a" }', ["Folder::a"]),
        ('when { principal in [Group::"a", Acme::Group::"b"] }', ["Group::a", "Acme::Group::b"]),
        ('when { resource.readers.contains(User::"ann") }', ["User::ann"]),
        ('when { Config::"limits".max > 3 }', ["Config::limits"]),
        ('when { (if context.x then User::"a" else User::"b").ok }', ["User::a", "User::b"]),
        ('when { {owner: User::"a"}.owner.ok }', ["User::a"]),
        ('when { User::"a" has x && User::"a".hasTag("t") }', ["User::a"]),
        ('when { context.u is User in Group::"a" }', ["Group::a"]),
        ('when { action == Action::"x" } unless { User::"u".x }', ["Action::x", "User::u"]),
        ('when { context.text == "User::\\"ann\\"" }', []),
    ],
)
def test_entities_named_in_conditions_are_found(condition: str, literals: list[str]) -> None:
    policy = make.parsed(f"permit(principal, action, resource) {condition};")

    assert policy.literals == {make.uid(literal) for literal in literals}


def test_ids_of_literals_are_unescaped() -> None:
    policy = make.parsed(
        r'permit(principal, action, resource) when { User::"a\"\n\u{1f600}" has x };'
    )

    assert policy.literals == {EntityUid("User", 'a"\n😀')}


def test_entities_of_the_scope_are_no_literals() -> None:
    """The scope compares names and ancestors of the request's own entities; it reads no data."""
    policy = make.parsed(
        'permit(principal in Group::"a", action == Action::"x", resource is Doc in Folder::"f");'
    )

    assert policy.literals == frozenset()


# -------------------------------------------------------------------------- slots and links

ANN, DOC = EntityUid("User", 'a"n\nn😀'), EntityUid("Acme::Doc", "plan")

SCOPES = {
    "principal == ?principal": "principal == {ann}",
    "principal in ?principal": "principal in {ann}",
    "principal is User in ?principal": "principal is User in {ann}",
}
RESOURCE_SCOPES = {
    "resource == ?resource": "resource == {doc}",
    "resource in ?resource": "resource in {doc}",
    "resource is Acme::Doc in ?resource": "resource is Acme::Doc in {doc}",
}
UNSLOTTED = {
    "principal": "principal",
    'principal == User::"x"': 'principal == User::"x"',
    "principal is User": "principal is User",
    'principal is User in Group::"g"': 'principal is User in Group::"g"',
}
CONDITION = 'when { context.x == "?principal" && resource.owner == principal }'


def test_slots_are_found() -> None:
    for principal in SCOPES:
        policy = make.parsed(f"permit({principal}, action, resource);")
        assert policy.slots == {"?principal"}
        assert policy.is_template
    for resource in RESOURCE_SCOPES:
        assert make.parsed(f"permit(principal, action, {resource});").slots == {"?resource"}
    for principal in UNSLOTTED:
        policy = make.parsed(f"permit({principal}, action, resource) {CONDITION};")
        assert policy.slots == frozenset()
        assert not policy.is_template


@pytest.mark.parametrize("resource", RESOURCE_SCOPES)
@pytest.mark.parametrize("principal", SCOPES)
def test_a_link_is_the_policy_with_the_slots_written_out(principal: str, resource: str) -> None:
    template = make.parsed(f'@reason("r") permit({principal}, action, {resource}) {CONDITION};')

    link = template.link(principal=ANN, resource=DOC)

    written_out = (
        (f"permit({SCOPES[principal]}, action, {RESOURCE_SCOPES[resource]}) {CONDITION};")
        .replace("{ann}", str(ANN))
        .replace("{doc}", str(DOC))
    )
    linked = json.loads(link.json_text)
    assert linked.pop("annotations") == {"reason": "r"}
    assert linked == document(written_out)
    assert not link.is_template
    assert link.message == "r"


@pytest.mark.parametrize("principal", UNSLOTTED)
def test_a_link_leaves_the_part_without_a_slot_alone(principal: str) -> None:
    template = make.parsed(f"permit({principal}, action, resource in ?resource);")

    link = template.link(resource=DOC)

    assert json.loads(link.json_text) == document(
        f"permit({principal}, action, resource in {DOC});"
    )


def test_linking_leaves_the_template_as_it_was() -> None:
    template = make.parsed("permit(principal == ?principal, action, resource);")
    before = template.json_text

    template.link(principal=ANN)

    assert template.is_template
    assert template.json_text == before


def test_a_link_keeps_what_the_template_reads_and_demands() -> None:
    template = make.parsed(
        '@obligation("log") @approval("boss") @mode("log_only")'
        'permit(principal == ?principal, action, resource) when { Config::"c".closed };'
    )

    link = template.link(principal=ANN)

    assert (link.obligations, link.approval_groups, link.log_only) == (["log"], ["boss"], True)
    assert link.literals == {make.uid("Config::c")}
    assert link.effect is Effect.PERMIT


@pytest.mark.parametrize(
    ("scope", "given", "message"),
    [
        (
            "principal == ?principal, action, resource",
            {},
            "the template has `?principal` and the link fills no slots",
        ),
        (
            "principal == ?principal, action, resource",
            {"resource": DOC},
            "the template has `?principal` and the link fills `?resource`",
        ),
        (
            "principal == ?principal, action, resource",
            {"principal": ANN, "resource": DOC},
            "the template has `?principal` and the link fills `?principal` and `?resource`",
        ),
        (
            "principal in ?principal, action, resource is Acme::Doc in ?resource",
            {"principal": ANN},
            "the template has `?principal` and `?resource` and the link fills `?principal`",
        ),
    ],
)
def test_a_link_fills_exactly_the_slots_there_are(
    scope: str, given: dict[str, EntityUid], message: str
) -> None:
    template = make.parsed(f"permit({scope});")

    with pytest.raises(PolicyTextError) as caught:
        template.link(**given)

    assert caught.value.reason == "LINK_SLOTS"
    assert str(caught.value) == message


# -------------------------------------------------------------------------------- memory


def test_a_text_is_parsed_once() -> None:
    parser = PolicyParser()

    assert parser.parse(make.ANYBODY) is parser.parse(make.ANYBODY)


def test_what_is_remembered_is_bounded() -> None:
    parser = PolicyParser(max_entries=1)
    first = parser.parse(make.ANYBODY)
    parser.parse("forbid(principal, action, resource);")

    again = parser.parse(make.ANYBODY)

    assert again is not first
    assert again == first


def test_a_refusal_is_not_remembered_as_a_policy() -> None:
    parser = PolicyParser()
    for _ in range(2):
        with pytest.raises(PolicyTextError):
            parser.parse("nonsense")


def test_a_parser_is_shared_between_threads() -> None:
    parser = PolicyParser(max_entries=3)
    texts = [f'permit(principal == User::"{n}", action, resource);' for n in range(20)]
    wrong: list[str] = []

    def parse_all() -> None:
        wrong.extend(
            text for text in texts * 10 if text.split('"')[1] not in parser.parse(text).json_text
        )

    threads = [threading.Thread(target=parse_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert wrong == []
    assert not any(thread.is_alive() for thread in threads)
