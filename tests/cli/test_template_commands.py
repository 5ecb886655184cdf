from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import placet
from placet import ChangeSet, Client, Conflict, Policy, templates
from placet.cli.applications import folder_of
from placet.cli.cedar_text import cedar_text
from placet.cli.targets import Target
from tests.cli.shell import BIN, Shell, environment
from tests.cli.test_documents import write

RED = ("template", "apply", "multi-tenant-rbac", "--resource", "Organisation::red")
FREEZE = (
    *("template", "apply", "change-freeze", "--resource", "Environment::production"),
    *("--set", "starts=2026-12-20T00:00:00Z", "--set", "ends=2027-01-03T00:00:00Z"),
    *("--set", 'emergency_group=Group::"on-call"'),
)

# ------------------------------------------------------------------------------ list and show


def test_list_names_every_template_and_what_it_asks_for(shell: Shell) -> None:
    result = shell("template", "list")

    assert result.code == 0
    for name in templates.names():
        assert name in result.out
    assert "approvers, max_amount" in result.out


def test_list_has_json(shell: Shell) -> None:
    document = shell("template", "list", "--json").json

    assert [template["name"] for template in document] == list(templates.names())
    assert document[2]["title"] == "Change freeze window"


def test_show_has_everything_there_is_to_know(shell: Shell) -> None:
    result = shell("template", "show", "change-freeze")

    assert result.code == 0
    for part in (
        "Change freeze window  Nobody changes an environment",
        "does not cover\n- The emergency group is exempted, not permitted",
        "context.now                   datetime",
        "environment      entity    required",
        "change_actions   actions   deploy ",
        "window  linked with ?resource = environment",
        "when { context.now >= $starts && context.now < $ends }",
        "11 test cases\n  just before it begins",
        "apply it: placet template apply change-freeze -t TENANT --set 'environment=",
    ):
        assert part in result.out


@pytest.mark.parametrize("name", templates.names())
def test_the_command_that_show_gives_works(shell: Shell, name: str) -> None:
    shown = shell("template", "show", name).out.rpartition("apply it: placet ")[2]
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {shown.strip()}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()

    assert shell(*words, "--print").code == 0


def test_show_has_json(shell: Shell) -> None:
    document = shell("template", "show", "change-freeze", "--json").json

    assert document["name"] == "change-freeze"
    assert document["parameters"][1] == {
        "name": "starts",
        "kind": "datetime",
        "about": "The first moment of the freeze.",
        "example": "2026-12-20T00:00:00Z",
        "default": None,
        "optional": False,
        "minimum": None,
        "before": "ends",
        "required": True,
    }
    assert document["policies"][0]["resource"] == "environment"
    assert document["cases"][0] == "just before it begins"


def test_cedar_is_coloured_and_never_obeyed() -> None:
    text = cedar_text('// see\n@reason("a\x1b[31m // no") permit (principal == ?principal) $x')

    assert "\x1b" not in text.plain
    styles = {text.plain[span.start : span.end]: span.style for span in text.spans}
    assert styles == {
        "// see": "dim",
        "@reason": "cyan",
        '"a\\u{1b}[31m // no"': "green",
        "permit": "bold",
        "?principal": "bold magenta",
        "$x": "bold magenta",
    }


# -------------------------------------------------------------------------------------- test


def test_shipped_cases_pass(shell: Shell) -> None:
    all_of_them = shell("template", "test")
    one = shell("template", "test", "ownership", "ownership", "-v")
    document = shell("template", "test", "ownership", "--json").json

    assert (all_of_them.code, one.code) == (0, 0)
    assert "0 failed" not in all_of_them.out
    assert "pass  the owner does everything" in one.out
    assert "10 passed in" in one.out
    assert (document["passed"], document["failed"], document["uncovered"]) == (10, 0, [])


# ------------------------------------------------------------------------------------- apply


def test_a_template_is_published_with_its_link_as_one_revision(at_server: Shell) -> None:
    result = at_server(*FREEZE, "-m", "holidays")
    history = at_server("policy", "history", "--json").json
    diff = at_server("policy", "diff", "--json").json
    shown = at_server("policy", "diff").out

    assert result.code == 0
    assert "named `change-freeze/production`; --id gives it another name" in result.err
    assert "relies on context.now, resource in environment, principal in emerg" in result.err
    assert "+ policy change-freeze/production/window/template\n" in result.out
    assert "+ link change-freeze/production/window\n" in result.out
    assert "2 written, 0 removed" in result.out
    assert [(entry["message"], entry["upserts"]) for entry in history] == [("holidays", 2)]
    assert [change["after"]["kind"] for change in diff["changes"]] == ["policy", "link"]
    assert '+when { context.now >= datetime("2026-12-20T00:00:00Z")' in shown
    assert "added link change-freeze/production/window" in shown


def test_the_command_that_apply_names_shows_what_came_of_it(at_server: Shell) -> None:
    applied = at_server(*FREEZE)
    command = applied.err.rpartition("see it: placet ")[2].split()

    shown = at_server(*command)

    assert shown.code == 0
    assert 'unless { principal in Group::"on-call" };' in shown.out
    assert "// link change-freeze/production/window of template" in shown.out


def test_what_is_applied_decides(at_server: Shell) -> None:
    at_server(*FREEZE)
    asked = ("evaluate", "-s", "User::a", "-a", "deploy", "-r", "Environment::production")
    now = '{"now": {"__extn": {"fn": "datetime", "arg": "2026-12-24T00:00:00Z"}}}'

    decision = at_server(*asked, "--context-json", now, "--json").json

    assert decision["cause"] == "FORBIDDEN"
    assert [reason["policy_id"] for reason in decision["reasons"]] == [
        "change-freeze/production/window"
    ]


def test_applying_twice_changes_nothing(at_server: Shell) -> None:
    first = at_server(*FREEZE, "--json").json

    again = at_server(*FREEZE)
    spelt_otherwise = at_server(
        *(word.replace("2026-12-20T00:00:00Z", "2026-12-20T01:00:00+01:00") for word in FREEZE),
        *("--set", 'change_actions=["deploy", "deploy"]'),
    )

    for result in (again, spelt_otherwise):
        assert result.code == 0
        assert "nothing to change: tenant `tenant-" in result.out
        assert f"at revision {first['revision']}" in result.out
    assert len(at_server("policy", "history", "--json").json) == 1


def test_one_template_has_many_links(at_server: Shell) -> None:
    at_server(*RED, "--set", "admins=Group::red", "--id", "red")
    result = at_server(*RED, "--set", "admins=Group::blue", "--id", "blue", "--json").json
    links = at_server("policy", "list", "--kind", "link", "--json").json

    assert result["changes"] == [
        {"change": "added", "kind": "link", "name": "blue/admin"},
        {"change": "added", "kind": "link", "name": "blue/apart"},
    ]
    assert {link["body"]["template_id"] for link in links} == {
        "templates/multi-tenant-rbac/admin",
        "templates/multi-tenant-rbac/apart",
    }
    assert [link["name"] for link in links] == [
        *("blue/admin", "blue/apart"),
        *("red/admin", "red/apart"),
    ]


def test_other_values_change_what_was_named_and_nothing_else(at_server: Shell) -> None:
    at_server(*RED, "--set", "admins=Group::a", "--set", "viewers=Group::v")

    unnamed = at_server(*RED, "--set", "admins=Group::b")
    named = at_server(*RED, "--set", "admins=Group::b", "--id", "multi-tenant-rbac/red")
    added = at_server(*RED, "--set", "editors=Group::e", "--id", "second")

    assert (unnamed.code, unnamed.out) == (1, "")
    assert "`multi-tenant-rbac/red` is applied already, with other values" in unnamed.err
    assert "--id multi-tenant-rbac/red changes it, another --id adds one" in unnamed.err
    assert "~ link multi-tenant-rbac/red/admin" in named.out
    assert "- link multi-tenant-rbac/red/viewer" in named.out
    assert "1 written, 1 removed" in named.out
    assert "~" not in added.out
    assert "-" not in {line[:1] for line in added.out.splitlines()}


@pytest.mark.parametrize("how", [("--id", "mine"), ("--id", "mine", "--dry-run")])
def test_what_does_not_come_from_the_template_is_left_alone(
    tmp_path: Path, at_server: Shell, how: tuple[str, ...]
) -> None:
    write(tmp_path, a__cedar='@id("mine/window")\npermit (principal, action, resource);')
    at_server("policy", "push", "a.cedar")

    result = at_server(*FREEZE, *how)

    assert (result.code, result.out) == (1, "")
    assert "`mine/window` is there and does not come from `change-freeze`" in result.err
    assert "choose another --id" in result.err


def test_a_dry_run_changes_nothing(at_server: Shell) -> None:
    new = at_server(*FREEZE, "--dry-run")
    at_server(*FREEZE)
    same = at_server(*FREEZE, "--dry-run", "--json").json
    moved = at_server(
        *(word.replace("2027-01-03", "2027-01-10") for word in FREEZE),
        *("--id", "change-freeze/production", "--dry-run", "--json"),
    ).json

    assert new.code == 0
    assert "dry run: 2 changes; nothing was published" in new.out
    assert same == {"valid": True, "changes": [], "problems": []}
    assert moved["changes"] == [
        {
            "change": "changed",
            "kind": "policy",
            "name": "change-freeze/production/window/template",
        }
    ]
    assert len(at_server("policy", "history", "--json").json) == 1


@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)])
def test_what_a_tenants_schema_refuses_is_shown_with_its_place(
    tmp_path: Path, at_server: Shell, dry_run: tuple[str, ...]
) -> None:
    write(tmp_path, s__cedarschema="entity U, Environment;\naction deploy appliesTo {\n"
          "  principal: U, resource: Environment, context: {} };\n")  # fmt: skip
    at_server("policy", "push", "s.cedarschema")

    result = at_server(*FREEZE, *dry_run)

    assert result.code == 1
    assert "change-freeze/window.cedar:3:1: error: policy `change-freeze/produ" in result.err
    assert "    3 | @reason(" in result.err
    assert "does not compile" in result.err
    assert "`now`" in result.err
    assert at_server("policy", "list", "--kind", "policy", "--json").json == []


def test_the_platforms_policies_hold_for_every_tenant(at_server: Shell) -> None:
    applied = at_server(
        *("template", "apply", "residency-gdpr", "--platform", "--set", "allowed_regions=EU"),
        "--json",
    )
    listed = at_server("policy", "list", "--platform", "--prefix", "residency-gdpr/", "--json").json

    assert applied.code == 0
    assert {(item["body"]["layer"], item["body"]["jurisdiction"]) for item in listed} == {
        ("JURISDICTION", "EU")
    }


def test_every_mistake_is_told_at_once(shell: Shell) -> None:
    result = shell(
        *("template", "apply", "change-freeze", "-t", "x", "--id", "templates/x"),
        *("--principal", "Group::a", "--resource", "Environment::a", "--set", "environment=E::b"),
        *("--set", "now", "--set", "strats=1", "--set", "starts=soon", "--set", "starts=later"),
    )

    assert (result.code, result.out) == (2, "")
    assert result.err.splitlines() == [
        "error: --set is `now`; write it as name=value",
        "error: `starts` is given twice; keep one",
        "error: --principal: `change-freeze` has no ?principal; leave it out",
        "error: `environment` is given with --resource as well; keep one",
        "error: `strats` is no parameter; use one of `environment`, `starts`, `ends`, "
        "`emergency_group`, `change_actions`, `reason`",
        "error: `starts` is `soon`, which is no moment; write it like 2026-12-20T00:00:00Z",
        "error: `ends` is missing; give a datetime, such as 2027-01-03T00:00:00Z",
        'error: `emergency_group` is missing; give an entity, such as Group::"on-call"',
        "error: `id` begins with `templates/`, where shared ones are; choose another; see "
        "`placet template show change-freeze`",
    ]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("show chnge-freeze", "no template `chnge-freeze`; did you mean `change-freeze`?"),
        ("remove ownership --id a -t x --platform", "exclude each other"),
        ("remove ownership --id templates -t x", "`id` begins with `templates/`, where shared"),
        ("test x", "no template `x`; use one of `agent-guardrails`"),
        ("apply ownership", "whose policies? name a tenant with --tenant, or --platform"),
        ("apply ownership -t x --set resource_type=a-b", "`resource_type` is `a-b`, which is no"),
        (
            "apply multi-tenant-rbac -t x --resource O::a --principal G::a",
            "--principal could be any of `viewers`, `editors`, `admins`; use --set to say which",
        ),
    ],
)
def test_wrong_usage_says_what_to_do(shell: Shell, command: str, message: str) -> None:
    result = shell("template", *command.split())

    assert (result.code, result.out) == (2, "")
    assert message in result.err


# ------------------------------------------------------------------------------------ remove


def test_what_was_applied_can_be_removed_and_nothing_else_is(at_server: Shell) -> None:
    at_server(*RED, "--set", "admins=Group::red", "--id", "red")
    at_server(*RED, "--set", "admins=Group::blue", "--id", "blue")
    command = ("template", "remove", "multi-tenant-rbac", "--id", "red")

    tried = at_server(*command, "--dry-run")
    removed = at_server(*command)
    again = at_server(*command)
    left = at_server("policy", "list", "--json").json
    history = at_server("policy", "history", "--json").json

    assert tried.out.splitlines() == [
        "- link red/admin",
        "- link red/apart",
        "dry run: 2 changes; nothing was published",
    ]
    assert (removed.code, removed.err) == (0, "")
    assert "0 written, 2 removed" in removed.out
    assert (again.code, again.out) == (1, "")
    assert "`multi-tenant-rbac` is not applied as `red`; `placet policy list`" in again.err
    assert [item["name"] for item in left] == [
        "templates/multi-tenant-rbac/admin",
        "templates/multi-tenant-rbac/apart",
        "blue/admin",
        "blue/apart",
    ]
    assert history[0]["message"] == "remove red, of template multi-tenant-rbac"


def test_what_others_made_is_not_removed(tmp_path: Path, at_server: Shell) -> None:
    write(tmp_path, a__cedar='@id("mine/owner")\npermit (principal, action, resource);')
    at_server("policy", "push", "a.cedar")

    result = at_server("template", "remove", "ownership", "--id", "mine")

    assert result.code == 1
    assert "`mine/owner` is there and does not come from `ownership`" in result.err
    assert len(at_server("policy", "list", "--json").json) == 1


# ----------------------------------------------------------------------------- side by side


class _Racing(Client):
    """A client that somebody is always a little faster than, for some time."""

    def __init__(self, *arguments: Any, times: int, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._times = times

    def publish(self, change_set: ChangeSet, **options: Any) -> placet.Publication:
        if self._times:
            self._times -= 1
            other = Policy(
                id="other", cedar=f"// {self._times}\npermit (principal, action, resource);"
            )
            super().publish(ChangeSet(policies=[other]))
        return super().publish(change_set, **options)


@pytest.fixture
def racing(server: str, tenant: str) -> Callable[[int], _Racing]:
    return lambda times: _Racing(server, tenant=tenant, timeout_s=30.0, times=times)


def _target(tenant: str) -> Target:
    application = templates.load("ownership").apply({})
    return Target(application, folder_of(application), tenant, may_change=False)


def test_an_application_that_was_overtaken_is_looked_at_again(
    racing: Callable[[int], _Racing], tenant: str
) -> None:
    with racing(2) as client:
        applied = _target(tenant).publish(client, "", None)
        found = client.get([key for _, key in applied.changes])

    assert len(found) == applied.publication.upserts == 2


@pytest.mark.parametrize(("times", "expected"), [(3, None), (1, 0)])
def test_it_is_not_looked_at_for_ever_or_against_what_was_expected(
    racing: Callable[[int], _Racing], tenant: str, times: int, expected: int | None
) -> None:
    with racing(times) as client:
        with pytest.raises(Conflict):
            _target(tenant).publish(client, "", expected)
        left = [item.key.id for item in client.list_items()]

    assert left == ["other"]


def test_an_expected_revision_is_kept_to(at_server: Shell) -> None:
    first = at_server(*FREEZE, "--expected-revision", "0", "--json").json
    conflict = at_server(*RED, "--set", "admins=Group::a", "--expected-revision", "0")
    applied = at_server(*RED, "--set", "admins=Group::a", "--expected-revision", first["revision"])

    assert (conflict.code, applied.code) == (1, 0)
    assert "expected revision 0" in conflict.err


# ------------------------------------------------------------------------------------ folders


def test_what_is_printed_is_a_document_of_a_policy_folder(tmp_path: Path, at_server: Shell) -> None:
    write(tmp_path, policies___own__cedar="permit (principal, action, resource);")
    printed = at_server(*FREEZE, "--print")
    write(tmp_path, policies___freeze__yaml=printed.out)

    checked = at_server("policy", "validate", ".")
    pushed = at_server("policy", "push", ".", "--json").json
    applied = at_server(*FREEZE)

    assert (printed.code, printed.err, checked.code) == (0, "", 0)
    assert [change["name"] for change in pushed["changes"]] == [
        "change-freeze/production/window/template",
        "own",
        "change-freeze/production/window",
    ]
    assert "nothing to change" in applied.out


def test_printing_needs_neither_a_tenant_nor_the_engine(tmp_path: Path) -> None:
    (tmp_path / "cedarpy.py").write_text("raise ModuleNotFoundError(name='cedarpy')")

    done = subprocess.run(
        [BIN / "placet", "template", "apply", "ownership", "--print"],
        env=environment(PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.startswith("policies:\n- id: ownership/owner\n")


# ------------------------------------------------------------------------------------ shells


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("placet template sh", ["show"]),
        ("placet template show res", ["residency-ccpa", "residency-gdpr"]),
        ("placet template test own", ["ownership"]),
        ("placet template apply change-freeze --set en", ["environment=", "ends="]),
        ("placet template apply -t x --set reason=y change-freeze --set st", ["starts="]),
        ("placet template apply nothing --set st", []),
    ],
)  # fmt: skip
def test_shells_complete_templates_and_their_parameters(typed: str, offered: list[str]) -> None:
    position = str(len(typed.split()) - 1)

    ended = subprocess.run(
        [BIN / "placet"],
        env=environment(_PLACET_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=position),
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.stdout.split() == offered


def test_json_is_all_there_is_on_standard_output(at_server: Shell) -> None:
    result = at_server(*FREEZE, "--json")

    assert result.err == ""
    document = json.loads(result.out)
    assert (document["template"], document["id"]) == ("change-freeze", "change-freeze/production")
    assert (document["upserts"], document["deletes"], document["warnings"]) == (2, 0, [])
