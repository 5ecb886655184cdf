from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.shell import Shell, serving
from tests.faults.ports import free_port


@pytest.fixture
def published(starter: Path, at_server: Shell) -> Shell:
    """The starter folder, published."""
    assert at_server("policy", "push", ".").code == 0
    return at_server


ALLOW = ["-s", "User::carol", "-a", "view", "-r", "Invoice::laptops"]
DENY = ["-s", "User::bob", "-a", "pay", "-r", "Invoice::laptops"]
APPROVAL = ["-s", "User::alice", "-a", "pay", "-r", "Invoice::laptops", "-c", "mfa=true"]


def test_an_allow_is_told_with_its_obligations(published: Shell) -> None:
    result = published("evaluate", *ALLOW)

    assert result.code == 0
    for words in (
        "ALLOW",
        'User::"carol" view Invoice::"laptops"',
        "a permit matched and nothing forbade",
        "invoices/view-own-department",
        "everybody sees the invoices of their department",
        "redact:iban",
        "known current",
        "by test-node in local",
    ):
        assert words in result.out


def test_of_several_servers_one_that_answers_is_enough(published: Shell, server: str) -> None:
    nobody = f"127.0.0.1:{free_port()}"

    result = published("evaluate", *ALLOW, "--address", f"{nobody},{server}", "--json")
    listed = published("policy", "list", "--address", f"{nobody},{server}")

    assert (0, "ALLOW") == (result.code, result.json["outcome"])
    assert 0 == listed.code


def test_a_denial_is_told_with_its_reason_and_has_a_code_of_its_own(published: Shell) -> None:
    result = published("evaluate", *DENY)

    assert result.code == 3
    assert "DENY" in result.out
    assert "a policy forbids it" in result.out
    assert "nobody pays an invoice they submitted themselves" in result.out


def test_what_needs_an_approval_says_whose(published: Shell) -> None:
    result = published("evaluate", *APPROVAL)

    assert result.code == 4
    assert "REQUIRES APPROVAL" in result.out
    assert "finance-leads" in result.out


@pytest.mark.parametrize(
    ("arguments", "code", "outcome"),
    [(ALLOW, 0, "ALLOW"), (DENY, 3, "DENY"), (APPROVAL, 4, "REQUIRES_APPROVAL")],
)
def test_json_is_the_decision_and_nothing_else(
    published: Shell, arguments: list[str], code: int, outcome: str
) -> None:
    result = published("evaluate", *arguments, "--json")

    assert (result.code, result.err) == (code, "")
    assert result.json["outcome"] == outcome
    assert result.json["revision"] > 0
    assert result.json["staleness_s"] >= 0


def test_an_unknown_tenant_is_no_denial(published: Shell) -> None:
    result = published("evaluate", *ALLOW, "-t", "nobody")

    assert (result.code, result.out) == (1, "")
    assert "tenant `nobody` is not known; publish its policies first" in result.err


def test_a_request_the_schema_refuses_is_a_bad_request(published: Shell) -> None:
    result = published("evaluate", *APPROVAL[:-1], "mfa=perhaps")

    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: context")


def test_a_revision_that_does_not_come_is_no_answer(published: Shell) -> None:
    result = published("evaluate", *ALLOW, "--min-revision", "999999", "--timeout", "0.3")

    assert (result.code, result.out) == (5, "")
    assert "--timeout allows more" in result.err


def test_values_are_json_or_else_text(at_server: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_text(
        """
        permit (principal, action == Action::"view", resource) when {
            context.n == 3 && context.t == "a b" && context.quoted == "3" && context.yes == true &&
            context.list.contains("x") && context.ref == User::"bob" &&
            context.price == decimal("1.50") && context.more == 1 &&
            principal.level == 7 && resource.owner == "ann"
        };
        """
    )
    assert at_server("policy", "push", "a.cedar").code == 0
    (tmp_path / "more.json").write_text('{"more": 1, "n": 0}')

    result = at_server(
        *[
            "evaluate",
            "-s",
            "User::a",
            "-a",
            "view",
            "-r",
            "Doc::x",
            "--context-json",
            "@more.json",
        ],
        *("-c", "n=3", "-c", "t=a b", "-c", 'quoted="3"', "-c", "yes=true", "-c", 'list=["x"]'),
        *("-c", 'ref={"__entity": {"type": "User", "id": "bob"}}'),
        *("-c", 'price={"__extn": {"fn": "decimal", "arg": "1.50"}}'),
        *("-p", "subject.level=7", "-p", "resource.owner=ann"),
    )

    assert result.code == 0, result


REQUESTS: list[dict[str, Any]] = [
    {"subject": "User::carol", "action": "view", "resource": "Invoice::laptops"},
    {
        "subject": {"type": "User", "id": "alice"},
        "action": "pay",
        "resource": "Invoice::laptops",
        "context": {"mfa": True},
    },
]


def test_requests_come_from_a_file_and_answers_in_their_order(
    published: Shell, tmp_path: Path
) -> None:
    files = {
        "list.json": json.dumps(REQUESTS, indent=2),
        "lines.jsonl": "\n".join(json.dumps(request) for request in REQUESTS),
        "list.yaml": json.dumps({"requests": REQUESTS}).replace('"', "'"),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text.replace("'requests'", "requests"))

    for name in files:
        result = published("evaluate", "--file", name, "--json")
        assert result.code == 4
        assert [line["outcome"] for line in result.lines] == ["ALLOW", "REQUIRES_APPROVAL"]

    table = published("evaluate", "--file", "list.json").out
    assert "finance-leads" in table
    assert "redact:iban" in table


def test_requests_can_be_piped_in(published: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(REQUESTS[0])))

    result = published("evaluate", "--file", "-", "--json")

    assert result.code == 0
    assert [line["outcome"] for line in result.lines] == ["ALLOW"]


def test_the_worst_answer_of_a_file_is_the_exit_code(published: Shell, tmp_path: Path) -> None:
    def code(*requests: object) -> int:
        (tmp_path / "r.json").write_text(json.dumps(requests))
        return published("evaluate", "--file", "r.json").code

    allowed, needs_approval = REQUESTS
    denied = {**needs_approval, "subject": "User::bob"}
    refused = {**needs_approval, "context": {"mfa": "x"}}
    assert code(allowed) == 0
    assert code(needs_approval, allowed) == 4
    assert code(denied, needs_approval, allowed) == 3
    assert code(allowed, refused, denied) == 5


def test_an_item_that_could_not_be_decided_stands_in_its_place(
    published: Shell, tmp_path: Path
) -> None:
    refused = {**REQUESTS[1], "context": {"mfa": "x"}}
    (tmp_path / "r.json").write_text(json.dumps([refused, REQUESTS[0]]))

    lines = published("evaluate", "--file", "r.json", "--json").lines
    table = published("evaluate", "--file", "r.json").out

    assert lines[0]["outcome"] is None
    assert lines[0]["error"]["reason"] == "REQUEST_REFUSED"
    assert lines[1]["outcome"] == "ALLOW"
    assert "NOT DECIDED" in table


def test_a_file_that_holds_no_requests_is_quoted_where_it_is_wrong(
    at_server: Shell, tmp_path: Path
) -> None:
    (tmp_path / "r.jsonl").write_text(
        json.dumps(REQUESTS[0]) + '\n{"subject": "carol", "action": "view", "resorce": "D::x"}\n'
    )

    result = at_server("evaluate", "--file", "r.jsonl")

    assert (result.code, result.out) == (2, "")
    assert "r.jsonl:2:13: error: `carol` names no entity" in result.err
    assert "unknown key `resorce` in a request; did you mean `resource`?" in result.err
    assert "    2 | {" in result.err


def test_explain_shows_layers_policies_entities_and_the_rule(published: Shell) -> None:
    result = published("explain", *APPROVAL, "-p", "resource.amount=1")

    assert result.code == 4
    for words in (
        "tenant, 6 policies: REQUIRES APPROVAL",
        "permit invoices/pay-large at policies/invoices.cedar:21:1",
        "invoices of 1,000.00 and more need a second person",
        '@approval("finance-leads")',
        "when { resource.amount >= 100000 && context has mfa && context.mfa };",
        "every permit that matched asks for an approval: requires approval",
        "with an approval by `finance-leads`: allow",
        'Invoice::"laptops" {amount: 890000, department: Department::"sales", disputed: false',
        'User::"alice" in Department::"accounting"',
        'Invoice::"laptops": `amount` is what is stored',
    ):
        assert words in result.out


def test_explain_goes_through_the_layers_top_down_and_fits_a_plain_terminal(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = " ||\n    ".join(f"context.n == {number}" for number in range(12))
    (tmp_path / "a.yaml").write_text(
        "policies:\n"
        '  - {id: audit, layer: platform, cedar: \'@obligation("audit") '
        "permit (principal, action, resource) when { resource has audited };'}\n"
        "  - {id: eu, layer: jurisdiction, jurisdiction: EU, cedar: "
        "'forbid (principal, action, resource) when { context.exported };'}\n"
    )
    own = tmp_path / "own"
    own.mkdir()
    (own / "b.cedar").write_text(
        f'// why\n@id("odd")\npermit (principal, action, resource)\nwhen {{ {long} }};\n'
    )
    (own / "c.yaml").write_text(
        "settings: {jurisdictions: [EU]}\n"
        "policies:\n"
        "  - {id: agents/all, layer: agent, cedar: 'permit (principal, action, resource);'}\n"
    )
    monkeypatch.setenv("COLUMNS", "80")

    with serving(tmp_path, "--store", "memory") as (address, process):
        monkeypatch.setenv("PLACET_ADDRESS", address)
        assert shell("policy", "push", "a.yaml", "--platform").code == 0
        assert shell("policy", "push", "own", "-t", "t").code == 0
        ask = ["explain", *ALLOW, "-t", "t", "-c", "n=99"]
        denied = shell(*ask, "-c", "exported=false")
        doubted = shell(*ask)
        forbidden = shell(*ask, "-c", "exported=true")
        process.end()

    layers = denied.out[denied.out.index("layers, top down") : denied.out.index("why")]
    assert [line.rstrip() for line in layers.splitlines()[:-1]] == [
        "layers, top down",
        "  platform, 1 policy: nothing permitted, nothing forbidden",
        "    permit audit at a.yaml:2:42 (its condition is false)",
        '      @obligation("audit")',
        "      permit (principal, action, resource) when { resource has audited };",
        "  jurisdiction, 1 policy: nothing permitted, nothing forbidden",
        "    none matched",
        "  tenant, 1 policy: nothing permitted, nothing forbidden",
        "    permit odd at own/b.cedar:2:1 (its condition is false)",
        "      permit (principal, action, resource)",
        "      when { context.n == 0 ||",
        *(f"          context.n == {number} ||" for number in range(1, 7)),
        "      … 5 more lines",
        "  agent, 1 policy: nothing permitted, nothing forbidden",
        "    permit agents/all at own/c.yaml:3:44 (does not count: a permit of layer",
        "    agent cannot allow)",
        "      permit (principal, action, resource);",
    ]
    assert max(map(len, denied.out.splitlines())) <= 80
    assert "if a condition held that is false: that of permit `audit`, permit `odd`" in denied.out
    assert "jurisdiction, 1 policy: DENY\n    forbid eu at a.yaml:3:61\n" in doubted.out
    assert "could not be evaluated: record does not have the attribute" in doubted.out
    assert "without forbid `eu`: deny, for no permit matched" in forbidden.out


def test_explain_shows_what_failed_and_what_does_not_count(
    at_server: Shell, tmp_path: Path
) -> None:
    (tmp_path / "a.cedar").write_text(
        '@id("broken") forbid (principal, action, resource) when { principal.nothing };\n'
        '@id("next") @mode("log_only") permit (principal, action, resource);\n'
    )
    assert at_server("policy", "push", "a.cedar").code == 0

    result = at_server("explain", *ALLOW)

    assert result.code == 3
    for words in (
        "a forbid could not be evaluated, and doubt denies",
        "forbid broken at a.cedar:1:1\n      could not be evaluated: ",
        "permit next at a.cedar:2:1 (does not count: it is log-only)",
        "if forbid `broken` could be evaluated and did not match: deny, for no permit matched",
    ):
        assert words in result.out


def test_explain_has_json_with_values_that_can_be_sent_back(published: Shell) -> None:
    document = published("explain", *ALLOW, "--json").json

    assert document["decision"]["outcome"] == "ALLOW"
    (layer,) = document["layers"]
    assert layer["matched"][0]["position"]["line"] > 0
    assert document["would_change"] == [
        "without permit `invoices/view-own-department`: deny, for no permit matched"
    ]
    assert (layer["unmet_count"], layer["unmet"], layer["failed"]) == (0, [], [])
    invoice = next(e for e in document["entities"] if e["uid"]["type"] == "Invoice")
    assert invoice["attrs"]["submitter"] == {"__entity": {"type": "User", "id": "bob"}}


def test_what_comes_from_a_server_cannot_take_over_the_terminal(
    at_server: Shell, tmp_path: Path
) -> None:
    (tmp_path / "a.cedar").write_text(
        '@id("evil") @reason("\\u{1b}[2J[red]gone[/red]") permit (principal, action, resource);'
    )
    assert at_server("policy", "push", "a.cedar").code == 0

    result = at_server("evaluate", *ALLOW)

    assert "\x1b[2J" not in result.out
    assert "[red]gone[/red]" in result.out
