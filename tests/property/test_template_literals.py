"""Values at random, hostile ones among them, put into policies: they stay values."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placet import EntityRef, templates
from placet.cli.applications import as_document
from placet.cli.documents import read_documents
from placet.cli.files import FileKind, SourceFile
from placet.cli.findings import Findings
from placet.templates import Kind, Parameter
from placet.templates import _literals as literals

_HOSTILE = (
    '"); permit (principal, action, resource); //',
    '") permit(principal,action,resource);\n@id("x',
    "\\",
    '\\"',
    '"',
    "\\u{22}",
    "x\x00\x1f\x7f\r\n\t",
    "$starts",
    "$reason $reason",
    "?principal",
    "// */ /*",
    "]) || true || ([",
    "\u202e\u2066reversed\u2028\u00a0",
    "EU, CH; DROP",
    '["EU"]',
    "User::\"a\" || true",
    "yes",
    "010",
    "1e3",
    "~",
)  # fmt: skip
_texts = st.one_of(
    st.sampled_from(_HOSTILE),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.text('"\\;/@()$?[]{}\n ab', min_size=1),
)
_meant = _texts.filter(lambda text: bool(text.strip()))


def _parsed(cedar: str) -> Any:
    """Parse a text that has to be one policy or template."""
    document = json.loads(cedarpy.policies_to_json_str(cedar))
    found = list(document["staticPolicies"].values()) + list(document["templates"].values())
    assert len(found) == 1
    return found[0]


def _parameter(kind: Kind) -> Parameter:
    return Parameter(name="x", kind=kind, about="", example="")


def _filled(kind: Kind, value: object) -> Any:
    """Return what Cedar reads where a parameter stands, with more policy around it."""
    parameter = _parameter(kind)
    literal = parameter.literal(parameter.read(value))
    text = literals.fill(
        "permit(principal, action, resource) when { $x == $x && false };", {"x": literal}
    )
    both = _parsed(text)["conditions"][0]["body"]["&&"]
    assert both["right"] == {"Value": False}
    assert both["left"]["=="]["left"] == both["left"]["=="]["right"]
    return both["left"]["=="]["left"]


@given(text=_meant)
def test_a_text_is_read_as_the_same_text(text: str) -> None:
    assert _filled(Kind.STRING, text) == {"Value": text}


@given(texts=st.lists(_meant, min_size=1, max_size=4))
def test_texts_are_read_as_the_same_set(texts: list[str]) -> None:
    found = _filled(Kind.STRINGS, texts)

    assert [element["Value"] for element in found["Set"]] == sorted(set(texts))
    assert _filled(Kind.STRINGS, json.dumps(texts)) == found


@given(id_=_texts)
def test_an_entity_is_read_as_the_same_entity(id_: str) -> None:
    ref = EntityRef("Acme::User", id_)

    found = _filled(Kind.ENTITY, ref)

    assert found == {"Value": {"__entity": {"type": "Acme::User", "id": id_}}}
    assert _filled(Kind.ENTITY, str(ref)) == found


@given(names=st.lists(_meant.filter(lambda text: "::" not in text), min_size=1, max_size=3))
def test_actions_are_read_as_the_same_actions(names: list[str]) -> None:
    found = _filled(Kind.ACTIONS, names)

    assert [element["Value"]["__entity"]["id"] for element in found["Set"]] == sorted(set(names))


@given(number=st.integers(-(2**63), 2**63 - 1))
def test_a_number_is_read_as_the_same_number(number: int) -> None:
    assert _number(_filled(Kind.LONG, str(number))) == number


def _number(found: Any) -> int:
    return -_number(found["neg"]["arg"]) if "neg" in found else int(found["Value"])


@given(
    moment=st.datetimes(timezones=st.just(UTC)).map(
        lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    )
)
def test_a_moment_is_read_as_the_same_moment(moment: datetime) -> None:
    found = _filled(Kind.DATETIME, moment)

    assert datetime.fromisoformat(found["datetime"][0]["Value"]) == moment
    assert _filled(Kind.DATETIME, moment.isoformat(timespec="milliseconds")) == found
    assert _holds(f'{_written(Kind.DATETIME, moment)} < datetime("9999-12-31T23:59:59.999Z")') in (
        True,
        moment == datetime(9999, 12, 31, 23, 59, 59, 999000, UTC),
    )


@given(milliseconds=st.integers(1, 36_500 * 86_400_000))
def test_a_length_of_time_is_read_as_the_same_length(milliseconds: int) -> None:
    written = _written(Kind.DURATION, timedelta(milliseconds=milliseconds))

    assert _holds(f"{written}.toMilliseconds() == {milliseconds}")


def _written(kind: Kind, value: object) -> str:
    parameter = _parameter(kind)
    return parameter.literal(parameter.read(value))


def _holds(condition: str) -> bool:
    """Ask Cedar whether something is so."""
    answer = cedarpy.is_authorized(
        {"principal": 'U::"u"', "action": 'Action::"a"', "resource": 'R::"r"', "context": {}},
        f"permit(principal, action, resource) when {{ {condition} }};",
        [],
    )
    assert answer.diagnostics.errors == []
    return answer.allowed


_WORDS = (
    "in",
    "is",
    "like",
    "has",
    "true",
    "if",
    "then",
    "__cedar",
    "Group",
    "_",
    "permit",
    "A::B",
)


@given(name=st.one_of(st.sampled_from(_WORDS), _texts, st.text("aA_:9", min_size=1)))
def test_a_type_is_taken_only_if_cedar_takes_it(name: str) -> None:
    try:
        written = _written(Kind.ENTITY_TYPE, name)
    except ValueError:
        return

    policy = _parsed(literals.fill("permit(principal is $x, action, resource);", {"x": written}))  # type: ignore[dict-item]  # made above
    assert policy["principal"] == {"op": "is", "entity_type": name}


_HOSTILE_KINDS = (Kind.STRING, Kind.STRINGS, Kind.ENTITY, Kind.ACTIONS)


@pytest.mark.parametrize("name", templates.names())
@given(hostile=_meant.filter(lambda text: "::" not in text))
def test_no_value_changes_what_a_shipped_policy_is_made_of(name: str, hostile: str) -> None:
    template = templates.load(name)

    def given_as(text: str) -> dict[str, object]:
        values: dict[str, object] = dict(template.examples)
        for parameter in template.parameters:
            if parameter.kind is Kind.ENTITY:
                values[parameter.name] = EntityRef("Group", text)
            elif parameter.kind is Kind.STRING:
                values[parameter.name] = text
            elif parameter.kind in _HOSTILE_KINDS:
                values[parameter.name] = [text]
        return values

    attacked = template.apply(given_as(hostile), id_="x")
    plain = template.apply(given_as("plain"), id_="x")

    for one, other in zip(attacked.policies, plain.policies, strict=True):
        assert one.id == other.id
        swapped = json.loads(
            json.dumps(_parsed(other.cedar)).replace('"plain"', json.dumps(hostile))
        )
        assert _parsed(one.cedar) == swapped


@given(hostile=_texts)
def test_a_printed_application_is_read_as_the_same(hostile: str) -> None:
    application = templates.load("multi-tenant-rbac").apply(
        {
            "organisation": EntityRef("Organisation", hostile),
            "viewers": EntityRef("Group", "viewers"),
            "viewer_actions": [hostile.replace("::", "") + "x"],
        }
    )
    text = as_document(application)
    file = SourceFile(kind=FileKind.DOCUMENT, name="f.yaml", shown="", stem="f", text=text)
    findings = Findings()

    read = read_documents([file], findings)

    findings.finish()
    assert read.links == application.links
    assert [(policy.id, policy.cedar, policy.labels) for policy in read.policies] == [
        (policy.id, policy.cedar, policy.labels) for policy in application.policies
    ]
