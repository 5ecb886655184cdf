"""The templates that ship: complete, checked when they are filled in, and in the wheel."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import cedarpy
import pytest

import placet
from placet import (
    EntityRef,
    InvalidRequest,
    Item,
    ItemKey,
    ItemKind,
    Layer,
    Policy,
    TemplateLink,
    templates,
)
from placet.cli.applications import with_cases
from placet.templates import Kind, Parameter, Template
from placet.templates import _literals as literals

ROOT = Path(__file__).parents[2]
ALL = [templates.load(name) for name in templates.names()]
_each = pytest.mark.parametrize("template", ALL, ids=lambda template: template.name)

_START = datetime(2026, 12, 20, tzinfo=UTC)
FREEZE = {
    "environment": EntityRef("Environment", "production"),
    "starts": _START,
    "ends": datetime(2027, 1, 3, tzinfo=UTC),
    "emergency_group": EntityRef("Group", "on-call"),
}
_RED = {"organisation": EntityRef("Organisation", "red")}


# ------------------------------------------------------------------------------ documentation


def test_what_ships() -> None:
    assert templates.names() == (
        "agent-guardrails",
        "break-glass",
        "change-freeze",
        "mfa-step-up",
        "multi-tenant-rbac",
        "ownership",
        "residency-ccpa",
        "residency-gdpr",
        "time-boxed-access",
    )


@_each
def test_documentation_is_complete(template: Template) -> None:
    assert template.title
    assert template.summary.endswith(".")
    assert len(template.purpose.split("\n\n")) >= 2
    assert len(template.limits) >= 3
    assert all(limit.endswith(".") for limit in template.limits)
    assert template.relies_on
    assert all(reliance.type and reliance.about for reliance in template.relies_on)
    assert all(policy.description.endswith(".") for policy in template.policies)
    for parameter in template.parameters:
        assert parameter.about.endswith("."), parameter.name
        assert parameter.example, parameter.name


_READ = re.compile(r"\b(principal|resource|context)(?:\.| has )(\w+)")
_READ_BY_NAME = re.compile(r'\b(resource)(?:\[| has )"(\w+)"')


@_each
def test_whatever_a_template_reads_of_a_request_is_documented_and_no_more(
    template: Template,
) -> None:
    texts = [policy.cedar for policy in template.apply(template.examples).policies]
    read = {
        f"{found[1]}.{found[2]}"
        for text in texts
        for pattern in (_READ, _READ_BY_NAME)
        for found in pattern.finditer(text)
    }
    told = {reliance.name for reliance in template.relies_on if " " not in reliance.name}

    assert {".".join(name.split(".")[:2]) for name in told} == read


@_each
def test_parameters_are_all_used_and_all_there(template: Template) -> None:
    used = {name for policy in template.policies for name in (*policy.placeholders, *policy.slots)}

    assert {parameter.name for parameter in template.parameters} == used
    assert set(template.any_of) <= used
    assert {parameter.before for parameter in template.parameters} - {""} <= used


@_each
def test_slots_are_filled_where_they_are(template: Template) -> None:
    kinds = {parameter.name: parameter.kind for parameter in template.parameters}

    for policy in template.policies:
        assert ("?principal" in policy.cedar) == bool(policy.principal), policy.name
        assert ("?resource" in policy.cedar) == bool(policy.resource), policy.name
        assert {kinds[name] for name in policy.slots} <= {Kind.ENTITY}
        assert policy.name != "template"


@_each
def test_every_file_of_a_template_belongs_to_it(template: Template) -> None:
    folder = ROOT / "clients/python/placet/templates/library" / template.name

    assert {path.name for path in folder.iterdir()} == {
        "template.yaml",
        "cases.yaml",
        *(f"{policy.name}.cedar" for policy in template.policies),
    }


@_each
def test_texts_are_written_as_cedar_writes_them_and_fit_a_line(template: Template) -> None:
    for policy in template.policies:
        assert policy.cedar.startswith("// ")
        assert max(map(len, policy.cedar.splitlines())) <= 100
    for filled in template.apply(template.examples).policies:
        assert cedarpy.policies_to_json_str(filled.cedar)


@_each
def test_defaults_are_values_and_everything_may_be_left_out_that_need_not_be_given(
    template: Template,
) -> None:
    needed = {
        parameter.name: parameter.example
        for parameter in template.parameters
        if parameter.required or parameter.name in template.any_of
    }

    assert template.apply(needed).policies


@_each
def test_names_of_cases_are_sentences_of_their_own(template: Template) -> None:
    (file,) = with_cases(template).cases

    assert len({case.name for case in file.cases}) == len(file.cases)


def test_an_unknown_template_is_not_found() -> None:
    with pytest.raises(placet.NotFound, match="no template `frieze`; use one of `agent-guardr"):
        templates.load("frieze")


def test_public_names_are_documented() -> None:
    for name in templates.__all__:
        assert getattr(templates, name).__doc__, name


# --------------------------------------------------------------------------------- parameters


def _parameter(kind: Kind) -> Parameter:
    return Parameter(name="x", kind=kind, about="", example="")


@pytest.mark.parametrize(
    ("kind", "given", "written"),
    [
        (Kind.ENTITY, "Group::editors", 'Group::"editors"'),
        (Kind.ENTITY, 'Group::"a\\"b"', 'Group::"a\\"b"'),
        (Kind.ENTITY, ("Acme::Group", "a::b"), 'Acme::Group::"a::b"'),
        (Kind.ENTITY_TYPE, "Acme::Document", "Acme::Document"),
        (Kind.ACTIONS, "write, read,read", '[Action::"read", Action::"write"]'),
        (Kind.ACTIONS, 'Acme::Action::"a b"', '[Acme::Action::"a b"]'),
        (Kind.ACTIONS, ["a,b", EntityRef("Action", "c")], '[Action::"a,b", Action::"c"]'),
        (Kind.STRING, "say \"hi\"\n", '"say \\"hi\\"\\u{a}"'),
        (Kind.STRING, "left \u202e right", '"left \\u{202e} right"'),
        (Kind.STRINGS, "EU, CH, EU", '["CH", "EU"]'),
        (Kind.STRINGS, '["a, b", "c"]', '["a, b", "c"]'),
        (Kind.STRINGS, {"b", "a"}, '["a", "b"]'),
        (Kind.LONG, " 12 ", "12"),
        (Kind.LONG, -(2**63), "-9223372036854775808"),
        (Kind.DATETIME, "2026-12-20T01:00:00+01:00", 'datetime("2026-12-20T00:00:00Z")'),
        (Kind.DATETIME, "2026-12-20T00:00Z", 'datetime("2026-12-20T00:00:00Z")'),
        (Kind.DATETIME, "2026-12-20T00:00:00.25Z", 'datetime("2026-12-20T00:00:00.250Z")'),
        (
            Kind.DATETIME,
            datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
            'datetime("2026-01-01T00:00:00Z")',
        ),
        (Kind.DURATION, "90m", 'duration("1h30m")'),
        (Kind.DURATION, timedelta(days=1, milliseconds=5), 'duration("1d5ms")'),
    ],
)  # fmt: skip
def test_a_value_is_written_as_cedar(kind: Kind, given: object, written: str) -> None:
    parameter = _parameter(kind)

    assert parameter.literal(parameter.read(given)) == written


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (
            Kind.ENTITY,
            "editors",
            'is `editors`, which is no entity; write it like Group::"editors"',
        ),
        (Kind.ENTITY, 5, "is of Python's type `int`, which is no entity"),
        (Kind.ENTITY, 'Group::""', "has an empty id"),
        (Kind.ENTITY, "in::a", "is `in`, but Cedar keeps `in` for itself; rename it"),
        (Kind.ENTITY, ("Gro up", "a"), "is `Gro up`, which is no type"),
        (Kind.ENTITY, "Group::\ud800", "has half of a surrogate pair"),
        (Kind.ENTITY_TYPE, "Doc ument", "is `Doc ument`, which is no type; write it like Document"),
        (Kind.ENTITY_TYPE, "A::true", "Cedar keeps `true` for itself"),
        (Kind.ACTIONS, "read,", "has an empty element; leave it out"),
        (Kind.ACTIONS, "", "has an empty element"),
        (Kind.ACTIONS, [], "is empty; give one"),
        (Kind.ACTIONS, "Group::read", 'has `Group::"read"`, which is no action'),
        (Kind.ACTIONS, 5, "is of Python's type `int`; give several texts"),
        (Kind.STRING, " ", "is empty; give text"),
        (Kind.STRING, True, "is of Python's type `bool`; give text"),
        (Kind.STRING, "a\udc00", "has half of a surrogate pair"),
        (Kind.STRINGS, "[EU]", "no JSON list"),
        (Kind.STRINGS, "[1]", "is of Python's type `int`; give text"),
        (Kind.STRINGS, "[]", "is empty; give one"),
        (Kind.LONG, "1.5", "is `1.5`, which is no whole number; write it like 1000"),
        (Kind.LONG, "٣", "no whole number"),
        (Kind.LONG, True, "no whole number"),
        (Kind.LONG, 2**63, "does not fit into 64 bits"),
        (Kind.LONG, "9" * 19, "does not fit into 64 bits"),
        (Kind.DATETIME, "tomorrow", "is `tomorrow`, which is no moment; write it like 2026-12-20T"),
        (Kind.DATETIME, "2026-02-30T00:00:00Z", "no moment"),
        (Kind.DATETIME, "2026-12-20", "has no time zone; write it like 2026-12-20T00:00:00Z"),
        (Kind.DATETIME, _START.replace(tzinfo=None), "has no time zone"),
        (Kind.DATETIME, "2026-12-20T00:00:00.0001Z", "no moment"),
        (Kind.DATETIME, datetime(2026, 1, 1, microsecond=1, tzinfo=UTC), "finer than milliseconds"),
        (Kind.DATETIME, "0001-01-01T00:00:00+14:00", "outside the years 1 to 9999"),
        (Kind.DATETIME, 1.5, "no moment"),
        (Kind.DURATION, "soon", "is `soon`, which is no length of time; write it like 15m"),
        (Kind.DURATION, "", "no length of time"),
        (Kind.DURATION, "0s", "is out of range; give from 1ms"),
        (Kind.DURATION, "9" * 30 + "d", "is out of range"),
        (Kind.DURATION, timedelta(seconds=-1), "is out of range"),
        (Kind.DURATION, timedelta(milliseconds=1, microseconds=1), "finer than milliseconds"),
        (Kind.DURATION, 15, "no length of time"),
    ],
)
def test_what_is_no_value_of_its_kind_is_refused(kind: Kind, given: object, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        _parameter(kind).read(given)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(InvalidRequest) as refused:
        templates.load("change-freeze").apply(
            {
                "environment": "production",
                "starts": "2027-01-03T00:00:00Z",
                "ends": "2027-01-03T00:00:00Z",
                "strats": "x",
                "change_actions": "",
            },
            id_="no id",
        )

    assert refused.value.reason == "PARAMETERS_REFUSED"
    assert [bad.field for bad in refused.value.violations] == [
        "strats",
        "environment",
        "emergency_group",
        "change_actions",
        "starts",
        "id",
    ]
    told = {bad.field: bad.message for bad in refused.value.violations}
    assert told["emergency_group"] == 'is missing; give an entity, such as Group::"on-call"'
    assert told["starts"] == "is not before `ends`; give an earlier moment"
    assert told["id"] == "is `no id`; use 1 to 200 letters, digits and `._/:@#+-`"


def test_a_number_below_the_least_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="`max_amount` is -1; give 0 or more"):
        templates.load("agent-guardrails").apply({"approvers": "leads", "max_amount": -1})


def test_of_optional_ones_at_least_one_is_needed() -> None:
    with pytest.raises(InvalidRequest, match="give at least one of `viewers`, `editors`, `admins`"):
        templates.load("multi-tenant-rbac").apply({"organisation": ("Organisation", "red")})


def test_what_was_filled_in_is_not_filled_in_again() -> None:
    text = literals.fill(
        'permit(principal, action, resource) when { $a == "$a" }; // $a',
        {"a": literals.string("$a $b")},
    )

    assert text == 'permit(principal, action, resource) when { "$a $b" == "$a" }; // $a'


# ----------------------------------------------------------------------------------- applying


def test_a_template_with_values_of_its_own_is_one_policy_and_its_link() -> None:
    application = templates.load("change-freeze").apply(FREEZE, id_="holidays")

    (policy,), (link,) = application.policies, application.links
    assert (policy.id, link.id, link.template_id) == (
        "holidays/window/template",
        "holidays/window",
        "holidays/window/template",
    )
    assert (link.principal, link.resource) == (None, EntityRef("Environment", "production"))
    assert policy.labels == {"template": "change-freeze"}
    assert 'context.now >= datetime("2026-12-20T00:00:00Z")' in policy.cedar
    assert application.change_set().deletes == []


def test_one_template_has_many_links() -> None:
    rbac = templates.load("multi-tenant-rbac")
    red, blue = (
        rbac.apply({"organisation": ("Organisation", name), "admins": ("Group", name)})
        for name in ("red", "blue")
    )

    assert red.policies == blue.policies
    assert [policy.id for policy in red.policies] == [
        "templates/multi-tenant-rbac/admin",
        "templates/multi-tenant-rbac/apart",
    ]
    assert [link.id for link in (*red.links, *blue.links)] == [
        "multi-tenant-rbac/red/admin",
        "multi-tenant-rbac/red/apart",
        "multi-tenant-rbac/blue/admin",
        "multi-tenant-rbac/blue/apart",
    ]


def test_values_of_its_own_never_go_into_what_is_shared() -> None:
    application = templates.load("multi-tenant-rbac").apply(
        {
            "organisation": ("Organisation", "red"),
            "viewers": ("Group", "v"),
            "admins": ("Group", "a"),
            "viewer_actions": ["look"],
        }
    )

    assert [link.template_id for link in application.links] == [
        "multi-tenant-rbac/red/viewer/template",
        "templates/multi-tenant-rbac/admin",
        "templates/multi-tenant-rbac/apart",
    ]


def test_what_an_id_no_longer_has_is_removed_if_it_is_there() -> None:
    rbac = templates.load("multi-tenant-rbac")
    before = rbac.apply({**_RED, "viewers": ("Group", "v"), "viewer_actions": ["look"]}, id_="red")
    after = rbac.apply({**_RED, "admins": ("Group", "a")}, id_="red")
    stranger = Policy(id="red/other", cedar="")

    assert after.change_set().deletes == []
    assert after.change_set([*_items(*before.items, stranger)]).deletes == [
        ItemKey(ItemKind.TEMPLATE_LINK, "red/viewer"),
        ItemKey(ItemKind.POLICY, "red/viewer/template"),
    ]


@_each
def test_a_removal_takes_away_all_that_is_an_applications_own(template: Template) -> None:
    application = template.apply(template.examples, id_="x")

    removal = template.removal("x").change_set(_items(*application.items))

    assert (removal.policies, removal.template_links) == ([], ())
    assert set(removal.deletes) == application.own & {item.key for item in application.items}
    assert {link.key for link in application.links} <= set(removal.deletes)


def test_a_removal_needs_an_id_that_there_can_be() -> None:
    with pytest.raises(InvalidRequest, match="where shared ones are"):
        templates.load("ownership").removal("templates/ownership")
    with pytest.raises(InvalidRequest, match="`id` is ``; use 1 to 200 letters"):
        templates.load("ownership").removal("")


def test_a_text_that_is_there_keeps_the_place_it_is_known_to_come_from() -> None:
    application = templates.load("change-freeze").apply(FREEZE)
    (policy,) = application.policies
    pushed = replace(policy, position=placet.Position(file="policies/freeze.yaml", line=3))

    assert application.change_set(_items(pushed)).policies == [pushed]
    other = replace(pushed, cedar=f"// mine\n{policy.cedar}")
    assert application.change_set(_items(other)).policies == [policy]


def _items(*bodies: Policy | TemplateLink) -> list[Item]:
    return [Item(owner="acme", revision=1, digest=b"", body=body) for body in bodies]


@pytest.mark.parametrize(
    ("name", "given", "id_"),
    [
        ("ownership", {}, "ownership"),
        ("change-freeze", FREEZE, "change-freeze/production"),
        (
            "multi-tenant-rbac",
            {"organisation": ("Org", "a b/c\u00e9 "), "admins": ("Group", "x")},
            "multi-tenant-rbac/a-b-c-",
        ),
    ],
)
def test_an_id_is_made_of_the_name_and_of_what_links_are_about(
    name: str, given: dict[str, object], id_: str
) -> None:
    assert templates.load(name).apply(given).id == id_


@pytest.mark.parametrize("id_", ["templates", "templates/x"])
def test_an_application_cannot_be_among_what_is_shared(id_: str) -> None:
    with pytest.raises(InvalidRequest, match="where shared ones are; choose another"):
        templates.load("ownership").apply({}, id_=id_)


def test_layers_are_a_tenants_or_the_platforms() -> None:
    def layers(name: str, *, platform: bool) -> set[tuple[Layer, str]]:
        template = templates.load(name)
        application = template.apply(template.examples, platform=platform)
        return {(policy.layer, policy.jurisdiction) for policy in application.policies}

    assert layers("residency-gdpr", platform=False) == {(Layer.UNSPECIFIED, "")}
    assert layers("residency-gdpr", platform=True) == {(Layer.JURISDICTION, "EU")}
    assert layers("residency-ccpa", platform=True) == {(Layer.JURISDICTION, "US")}
    assert layers("agent-guardrails", platform=False) == {
        (Layer.AGENT, ""),
        (Layer.UNSPECIFIED, ""),
    }
    assert layers("agent-guardrails", platform=True) == {(Layer.UNSPECIFIED, "")}


# ------------------------------------------------------------------------------------ package


def test_without_yaml_the_package_says_what_to_install() -> None:
    script = """
        import sys
        sys.modules["yaml"] = None
        try:
            import placet.templates
        except ModuleNotFoundError as error:
            assert "placet[cli]" in str(error), error
        else:
            raise SystemExit("it was imported")
    """

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )

    assert (0, "") == (done.returncode, done.stderr)


def test_a_wheel_has_the_templates_and_they_work_from_there(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    folder = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    library = folder / "placet" / "templates" / "library"
    shipped = ROOT / "clients/python/placet/templates/library"
    script = (
        "from placet import templates; print(templates.__file__); "
        "[templates.load(name).apply(templates.load(name).examples) for name in templates.names()]"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(folder)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert _files(library) == _files(shipped)
    assert Path(done.stdout.strip()).is_relative_to(folder)


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
