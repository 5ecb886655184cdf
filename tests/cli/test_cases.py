from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from placet import (
    Action,
    Cause,
    Client,
    Decision,
    DecisionError,
    Layer,
    LogOnlyReport,
    Outcome,
    PolicyError,
    Reason,
    Resource,
    Subject,
)
from placet.cli.cases import CaseFile, Difference, Expectation, LogOnly, differences
from placet.cli.contents import Documents
from placet.cli.findings import FilesRefused, place
from placet.cli.folders import read_folder
from placet.cli.judges import Judge, LocalJudge, ServerJudge
from placet.cli.junit import to_junit
from placet.cli.suites import Report, run_suites
from tests.cli.test_documents import write
from tests.golden import loader

GOLDEN = Path(loader.__file__).parent

# ------------------------------------------------------------------------------ what is read


def read_cases(folder: Path, text: str) -> CaseFile:
    write(folder, tests___t__yaml=text)
    (case_file,) = read_folder([folder], with_cases=True).cases
    return case_file


def test_a_case_is_a_request_and_what_it_must_come_to(tmp_path: Path) -> None:
    file = read_cases(
        tmp_path,
        """
        cases:
          - name: short
            subject: User::alice
            action: view
            resource: 'Doc::"the \\"plan\\""'
            expect: deny
          - name: long
            subject: {type: User, id: bob, properties: {level: 3}}
            action: Acme::Action::pay
            resource: {type: Doc, id: ""}
            context: {mfa: true}
            entities: [{uid: Group::a}]
            expect:
              outcome: REQUIRES_APPROVAL
              cause: APPROVAL_NEEDED
              reasons: [b, a]
              messages: [why]
              obligations: []
              approvers: leads
              errors: [c]
              log_only: {outcome: DENY, reasons: [d]}
          - name: neither
            subject: User::alice
            action: {name: view, properties: {bulk: true}}
            resource: Doc::plan
            expect: {undecidable: EMPTY_ID, field: subject.id}
          - name: nothing to report
            subject: User::alice
            action: {id: view, type: App::Action}
            resource: Doc::plan
            expect: {outcome: ALLOW, log_only: null}
        """,
    )

    short, long, neither, nothing = file.cases
    assert short.request.subject == Subject("User", "alice")
    assert short.request.resource == Resource("Doc", 'the "plan"')
    # A denial is falsy, and must not be taken for nothing.
    assert short.expect == Expectation(outcome=Outcome.DENY)
    assert long.request.subject == Subject("User", "bob", {"level": 3})
    assert long.request.action == Action("pay", "Acme::Action")
    assert long.request.context == {"mfa": True}
    assert long.expect == Expectation(
        outcome=Outcome.REQUIRES_APPROVAL,
        cause=Cause.APPROVAL_NEEDED,
        reasons=("b", "a"),
        messages=("why",),
        obligations=(),
        approval_groups=("leads",),
        errors=("c",),
        log_only=LogOnly(Outcome.DENY, ("d",)),
    )
    assert neither.request.action == Action("view", properties={"bulk": True})
    assert neither.expect == Expectation(undecidable="EMPTY_ID", field="subject.id")
    assert nothing.request.action == Action("view", "App::Action")
    assert nothing.expect == Expectation(outcome=Outcome.ALLOW, log_only=LogOnly())


REQUEST = "subject: U::a, action: v, resource: D::x"


def one(rest: str, request: str = REQUEST) -> str:
    return f"cases: [{{name: n, {request}, {rest}}}]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cases: [x]", "a case is a text; write a mapping"),
        ("x: 1\ncases: []", "unknown key `x` in a file of cases"),
        ("policies: []", "a file of cases needs `cases`"),
        (f"cases: [{{{REQUEST}, expect: ALLOW}}]", "a case needs `name`"),
        (f"cases: [{{name: n, {REQUEST}}}]", "case `n` needs `expect`"),
        (one("expect: DENY", "action: v, resource: D::x"), "case `n` needs `subject`"),
        (one("expect: DENNY"), "`expect` is `DENNY`; did you mean `DENY`"),
        (one("expect: 1"), "`expect` is the number 1; write a mapping"),
        (one("expect: {}"), "`expect` is empty; write ALLOW"),
        (one("expect: {outcom: DENY}"), "did you mean `outcome`?"),
        (one("expect: {cause: X}"), "`cause` is `X`; use one of"),
        (one("expect: {outcome: 1}"), "`outcome` is the number 1"),
        (one("expect: {field: x}"), "`field` goes with `undecidable`"),
        (one("expect: {undecidable: X, outcome: DENY}"), "an `undecidable` request has no"),
        (one("expect: {log_only: {}}"), "`log_only` needs `outcome`"),
        (
            one("expect: DENY", "subject: {type: U}, action: v, resource: D::x"),
            "the subject needs `id`",
        ),
        (
            one("expect: DENY", "subject: U::a, action: {}, resource: D::x"),
            "the action needs `name`",
        ),
        (
            one("expect: DENY", "subject: ua, action: v, resource: D::x"),
            "`ua` names no entity",
        ),
        (one("context: {a: 1.5}, expect: DENY"), "no floating point"),
        (
            "\n".join(["cases:"] + [f"  - {{name: n, {REQUEST}, expect: DENY}}"] * 2),
            "/tests/t.yaml:2:12 already",
        ),
    ],
)
def test_a_case_that_is_wrong_says_what_to_do(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(FilesRefused) as caught:
        read_cases(tmp_path, text)

    (finding,) = caught.value.findings
    assert expected in finding.message
    assert place(finding.position).startswith(f"{tmp_path.name}/tests/t.yaml:")


# --------------------------------------------------------------------------- what is compared

ALLOW = Decision(
    outcome=Outcome.ALLOW,
    cause=Cause.PERMITTED,
    reasons=(Reason("b", Layer.TENANT, "because"), Reason("a", Layer.TENANT)),
    obligations=("redact:x",),
    errors=(PolicyError("c", Layer.TENANT, "no such attribute"),),
    log_only=LogOnlyReport(Outcome.DENY, (Reason("d", Layer.TENANT),)),
)
UNDECIDED = DecisionError(
    "is empty", code="INVALID_ARGUMENT", reason="EMPTY_ID", field="subject.id"
)


@pytest.mark.parametrize(
    ("expect", "actual"),
    [
        (Expectation(), ALLOW),
        (Expectation(outcome=Outcome.ALLOW), ALLOW),
        (Expectation(reasons=("a", "b"), messages=("because",), errors=("c",)), ALLOW),
        (Expectation(log_only=LogOnly(Outcome.DENY, ("d",))), ALLOW),
        (Expectation(log_only=LogOnly()), Decision(outcome=Outcome.DENY)),
        (Expectation(undecidable="EMPTY_ID"), UNDECIDED),
        (Expectation(undecidable="EMPTY_ID", field="subject.id"), UNDECIDED),
    ],
)
def test_what_comes_out_as_expected_has_no_differences(
    expect: Expectation, actual: Decision | DecisionError
) -> None:
    assert differences(expect, actual) == ()


@pytest.mark.parametrize(
    ("expect", "actual", "difference"),
    [
        (Expectation(outcome=Outcome.DENY), ALLOW, ("outcome", "DENY", "ALLOW")),
        (
            Expectation(outcome=Outcome.ALLOW),
            Decision(outcome=Outcome.DENY),
            ("outcome", "ALLOW", "DENY"),
        ),
        (Expectation(cause=Cause.FORBIDDEN), ALLOW, ("cause", "FORBIDDEN", "PERMITTED")),
        (Expectation(reasons=("a",)), ALLOW, ("reasons", "a", "a, b")),
        (Expectation(reasons=()), ALLOW, ("reasons", "none", "a, b")),
        (Expectation(obligations=()), ALLOW, ("obligations", "none", "redact:x")),
        (Expectation(errors=()), ALLOW, ("errors", "none", "c")),
        (Expectation(log_only=LogOnly()), ALLOW, ("log_only", "nothing to report", "DENY")),
        (
            Expectation(log_only=LogOnly(Outcome.DENY, ())),
            ALLOW,
            ("log_only.reasons", "none", "d"),
        ),
        (
            Expectation(log_only=LogOnly(Outcome.DENY)),
            Decision(outcome=Outcome.DENY),
            ("log_only", "DENY", "nothing to report"),
        ),
        (Expectation(undecidable="X"), ALLOW, ("outcome", "no decision (X)", "ALLOW")),
        (Expectation(undecidable="X"), UNDECIDED, ("undecidable", "X", "EMPTY_ID: is empty")),
        (
            Expectation(undecidable="EMPTY_ID", field="x"),
            UNDECIDED,
            ("field", "x", "subject.id"),
        ),
        (
            Expectation(outcome=Outcome.DENY),
            UNDECIDED,
            ("outcome", "DENY", "no decision (EMPTY_ID): is empty"),
        ),
        (
            Expectation(obligations=()),
            UNDECIDED,
            ("outcome", "a decision", "no decision (EMPTY_ID): is empty"),
        ),
    ],
)
def test_a_difference_names_both_sides(
    expect: Expectation, actual: Decision | DecisionError, difference: tuple[str, str, str]
) -> None:
    assert differences(expect, actual) == (Difference(*difference),)


# ------------------------------------------------------------------------------- what is run

POLICIES = """
@id("view") @reason("everybody") permit (principal, action == Action::"view", resource);
@id("pay") permit (principal in Group::"a", action == Action::"pay", resource);
@id("never") forbid (principal, action == Action::"never", resource);
@id("template") permit (principal == ?principal, action == Action::"own", resource);
"""
CASES = """
cases:
  - {name: seen, subject: User::a, action: view, resource: D::x, expect: ALLOW}
  - {name: paid, subject: User::a, action: pay, resource: D::x, expect: ALLOW}
"""


def run(folder: Path, judge_of: Callable[[Documents], Judge] = LocalJudge) -> Report:
    read = read_folder([folder], with_cases=True)
    return run_suites(read.cases, read.documents, judge_of)


def server_judge(server: str, tenant: str) -> Callable[[Documents], Judge]:
    client = Client(server, tenant=tenant, management_timeout_s=30)
    return lambda documents: ServerJudge(client, documents)


def test_the_golden_cases_come_out_as_they_must() -> None:
    report = run(GOLDEN)

    assert report.failures == ()
    assert report.total == len(loader.cases())


@pytest.mark.parametrize("where", ["here", "server"])
def test_failures_and_uncovered_policies_are_reported(
    tmp_path: Path, server: str, tenant: str, where: str
) -> None:
    write(tmp_path, a__cedar=POLICIES, tests___t__yaml=CASES)

    report = run(tmp_path, LocalJudge if where == "here" else server_judge(server, tenant))

    (failure,) = report.failures
    assert (report.passed, report.total) == (1, 2)
    assert failure.case.name == "paid"
    assert failure.differences == (Difference("outcome", "ALLOW", "DENY"),)
    # A template by itself matches nothing, and is not expected to.
    assert [(found.policy_id, found.position.line) for found in report.uncovered] == [
        ("pay", 3),
        ("never", 4),
    ]


def test_entities_of_a_case_file_go_on_top_of_the_folders(tmp_path: Path) -> None:
    write(
        tmp_path,
        a__cedar=POLICIES,
        b__yaml="entities: [{uid: User::a, parents: [Group::b]}]",
        tests___t__yaml=f"entities: [{{uid: User::a, parents: [Group::a]}}]\n{CASES}",
    )

    assert run(tmp_path).failures == ()


def test_a_case_file_with_policies_stands_by_itself(tmp_path: Path) -> None:
    write(
        tmp_path,
        a__cedar='@id("all") forbid (principal, action, resource);',
        tests___t__yaml='policies: [{id: own, cedar: "permit (principal, action, resource);"}]\n'
        + CASES,
    )

    report = run(tmp_path)

    assert report.failures == ()
    # Nothing was asked about the folder's.
    assert report.uncovered == ()


def test_a_policy_that_fails_was_tried(tmp_path: Path) -> None:
    """A forbid that cannot be evaluated denies; the case that shows it covers the policy."""
    write(
        tmp_path,
        a__cedar='@id("broken") forbid (principal, action, resource) when { principal.nothing };',
        tests___t__yaml="cases: [{name: n, subject: U::a, action: v, resource: D::x, "
        "expect: {outcome: DENY, cause: FORBID_ERROR, errors: [broken]}}]",
    )

    report = run(tmp_path)

    assert (report.failures, report.uncovered) == ((), ())


def test_a_request_the_engine_refuses_is_told_apart_from_a_denial(tmp_path: Path) -> None:
    write(
        tmp_path,
        a__cedar=POLICIES,
        tests___t__yaml="cases: [{name: n, subject: {type: U, id: ''}, action: v, "
        "resource: D::x, expect: DENY}]",
    )

    (failure,) = run(tmp_path).failures

    assert failure.differences[0].actual.startswith("no decision (EMPTY_ID)")


def test_a_server_decides_as_the_engine_here_does(server: str, tenant: str) -> None:
    """The same files, both ways: the same decisions, whatever becomes of them."""
    # Of the platform's policies a server has its own.
    read = read_folder([GOLDEN], with_cases=True)
    files = [
        file
        for file in read.cases
        if not any(
            policy.layer in (Layer.PLATFORM, Layer.JURISDICTION)
            for policy in file.documents.policies
        )
    ]
    assert len(files) > 5

    here = run_suites(files, Documents(), LocalJudge)
    there = run_suites(files, Documents(), server_judge(server, tenant))

    for ours, theirs in zip(here.suites, there.suites, strict=True):
        for one, other in zip(ours.results, theirs.results, strict=True):
            assert one.differences == other.differences, one.case.name
    assert {found.policy_id for found in there.uncovered} == {
        found.policy_id for found in here.uncovered
    }


# ------------------------------------------------------------------------------------- JUnit


def test_junit_has_every_case_and_says_what_failed(tmp_path: Path) -> None:
    write(
        tmp_path,
        a__cedar=POLICIES,
        tests___t__yaml=CASES.replace("paid", '"paid \\u0001 <&>"'),
    )

    root = ET.fromstring(to_junit(run(tmp_path)))

    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    (suite,) = root.findall("testsuite")
    seen, paid = suite.findall("testcase")
    assert (seen.get("name"), seen.find("failure")) == ("seen", None)
    assert seen.get("classname") == f"{tmp_path.name}/tests/t.yaml"
    # XML has no way to write a control character.
    assert paid.get("name") == "paid \N{REPLACEMENT CHARACTER} <&>"
    failure = paid.find("failure")
    assert failure is not None
    assert failure.get("message") == "outcome: expected ALLOW, is DENY"


def test_junit_shows_uncovered_policies_as_failures_where_they_are(tmp_path: Path) -> None:
    write(tmp_path, a__cedar=POLICIES, tests___t__yaml=CASES)

    root = ET.fromstring(to_junit(run(tmp_path), fail_on_uncovered=True))

    assert (root.get("tests"), root.get("failures")) == ("4", "3")
    coverage = root.findall("testsuite")[-1]
    assert ["pay", "never"] == [case.get("name") for case in coverage.findall("testcase")]
