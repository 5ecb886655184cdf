from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.cli.shell import Shell
from tests.cli.test_cases import GOLDEN
from tests.cli.test_documents import write
from tests.golden import loader

POLICIES = """
@id("view") @reason("everybody may look") permit (principal, action == Action::"view", resource);
@id("never") forbid (principal, action == Action::"never", resource);
"""
CASES = """
cases:
  - {name: seen, subject: User::a, action: view, resource: D::x, expect: ALLOW}
  - name: paid
    subject: User::a
    action: view
    resource: D::x
    expect: {outcome: DENY, obligations: [sign]}
"""


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    write(tmp_path, policies___a__cedar=POLICIES, tests___t__yaml=CASES)
    return tmp_path


def test_a_failure_shows_both_sides_and_the_reason(failing: Path, shell: Shell) -> None:
    result = shell("policy", "test", ".")

    assert result.code == 1
    assert result.err == ""
    assert "tests/t.yaml  1       1" in result.out
    assert (
        "FAIL paid\n"
        "  tests/t.yaml:4:11\n"
        "  outcome\n"
        "    - DENY\n"
        "    + ALLOW\n"
        "  obligations\n"
        "    - sign\n"
        "    + none\n"
        "  because a permit matched and nothing forbade\n"
        "    view  everybody may look\n"
    ) in result.out
    assert "no case is about\n  never  policies/a.cedar:3:1\n" in result.out
    assert "1 passed, 1 failed, 1 policy not covered in " in result.out


def test_uncovered_policies_fail_when_asked_to(failing: Path, shell: Shell) -> None:
    passing = "cases:" + CASES.partition("  - name: paid")[0].partition("cases:")[2]
    write(failing, tests___t__yaml=passing)

    assert shell("policy", "test", ".").code == 0
    assert shell("policy", "test", ".", "--fail-on-uncovered").code == 1


def test_only_runs_some_and_hears_nothing_of_the_rest(failing: Path, shell: Shell) -> None:
    result = shell("policy", "test", ".", "--only", "SEE", "--fail-on-uncovered", "-v")
    nothing = shell("policy", "test", ".", "--only", "zzz")

    assert result.code == 0
    assert "pass  seen\n" in result.out
    assert "1 passed in" in result.out
    assert nothing.code == 2
    assert "no case has `zzz` in its name" in nothing.err


def test_json_has_every_case_and_what_came_of_it(failing: Path, shell: Shell) -> None:
    document = shell("policy", "test", ".", "--json").json

    assert (document["passed"], document["failed"]) == (1, 1)
    (suite,) = document["suites"]
    assert suite["file"] == "tests/t.yaml"
    seen, paid = suite["cases"]
    assert (seen["passed"], paid["passed"]) == (True, False)
    assert paid["differences"][0] == {"field": "outcome", "expected": "DENY", "actual": "ALLOW"}
    assert paid["actual"]["reasons"][0]["policy_id"] == "view"
    assert document["uncovered"] == [{"policy_id": "never", "file": "policies/a.cedar", "line": 3}]


def test_junit_is_written_beside_the_output(failing: Path, shell: Shell) -> None:
    shell("policy", "test", ".", "--junit", "report.xml")
    unwritable = shell("policy", "test", ".", "--junit", "no/such/folder.xml")

    root = ET.parse(failing / "report.xml").getroot()
    assert root is not None
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    assert unwritable.code == 2
    assert "`no/such/folder.xml` cannot be written" in unwritable.err


def test_many_cases_have_a_bar_on_a_terminal_and_nowhere_else(
    failing: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = "\n".join(
        f"  - {{name: c{n}, subject: U::a, action: view, resource: D::x, expect: ALLOW}}"
        for n in range(60)
    )
    write(failing, tests___t__yaml=f"cases:\n{many}\n")

    assert shell("policy", "test", ".").err == ""
    monkeypatch.setenv("FORCE_COLOR", "1")
    on_a_terminal = shell("policy", "test", ".", "--json")
    assert "60/60" in on_a_terminal.err
    assert on_a_terminal.json["passed"] == 60


def test_the_order_is_that_of_the_files(tmp_path: Path, shell: Shell) -> None:
    write(tmp_path, policies___a__cedar=POLICIES)
    for name in ("b", "a", "c"):
        write(tmp_path, **{f"tests___{name}__yaml": CASES})

    runs = [shell("policy", "test", ".", "--json").json for _ in range(2)]

    assert [suite["file"] for suite in runs[0]["suites"]] == [
        "tests/a.yaml",
        "tests/b.yaml",
        "tests/c.yaml",
    ]
    assert runs[0] == runs[1]


def test_policies_and_tests_may_be_named_apart(failing: Path, shell: Shell) -> None:
    assert "1 passed, 1 failed" in shell("policy", "test", "policies", "tests").out

    alone = shell("policy", "test", "tests")
    assert alone.code == 2
    assert "there are no policies in `tests` for `tests/t.yaml` to be about" in alone.err


def test_policies_that_do_not_compile_are_quoted(failing: Path, shell: Shell) -> None:
    write(failing, policies___b__cedar="permit (principal, action, resorce);")

    result = shell("policy", "test", ".")

    assert (result.code, result.out) == (1, "")
    assert "policies/b.cedar:1:" in result.err
    assert "    1 | permit (principal, action, resorce);" in result.err


def test_wrong_cases_are_quoted(failing: Path, shell: Shell) -> None:
    write(failing, tests___t__yaml=CASES.replace("expect: ALLOW", "expct: ALLOW"))

    result = shell("policy", "test", ".")

    assert (result.code, result.out) == (1, "")
    assert "tests/t.yaml:3:66: error: unknown key `expct` in a case; did you mean `expect`?" in (
        result.err
    )


def test_a_server_decides_as_if_the_folder_were_published(
    starter: Path, at_server: Shell, tenant: str
) -> None:
    result = at_server("policy", "test", ".", "--server", "--fail-on-uncovered")
    published = at_server("policy", "list")

    assert result.code == 0, result
    assert "9 passed" in result.out
    assert "is not known" in published.err


def test_a_server_can_be_asked_about_what_it_has(starter: Path, at_server: Shell) -> None:
    at_server("policy", "push", ".")

    result = at_server("policy", "test", "tests", "--server")

    assert result.code == 0, result
    assert "9 passed" in result.out


def test_a_server_names_places_as_the_engine_here_does(failing: Path, at_server: Shell) -> None:
    write(failing, policies___b__cedar="permit (principal, action, resorce);")

    result = at_server("policy", "test", ".", "--server")

    assert result.code == 1
    assert "policies/b.cedar:1:" in result.err


@pytest.mark.parametrize("where", [[], ["--server"]])
def test_a_request_that_is_malformed_fails_its_case_and_no_other(
    failing: Path, at_server: Shell, where: list[str]
) -> None:
    write(
        failing,
        tests___t__yaml=f"{CASES}  - name: odd\n    subject: 'no type::a'\n    action: view\n"
        "    resource: D::x\n    expect: {undecidable: REQUEST_MALFORMED, field: subject.type}\n"
        "  - {name: last, subject: User::a, action: view, resource: D::x, expect: ALLOW}\n",
    )

    (suite,) = at_server("policy", "test", ".", "--json", *where).json["suites"]

    passed = {case["name"]: case["passed"] for case in suite["cases"]}
    assert passed == {"seen": True, "paid": False, "odd": True, "last": True}


def test_the_golden_files_pass_from_the_command_line(shell: Shell) -> None:
    result = shell("policy", "test", GOLDEN)

    assert result.code == 0, result
    assert f"{len(loader.cases())} passed in" in result.out
