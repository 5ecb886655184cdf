from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.recorded import TENANT, by, denied, lines, record, write_log
from tests.cli.shell import Shell, serving
from tests.cli.test_documents import write

POLICIES = """
@id("view") permit (principal, action == Action::"view", resource);
@id("secret") @mode("log_only") @reason("soon")
forbid (principal, action, resource == Doc::"secret");
@id("guests") @mode("log_only")
forbid (principal == User::"gus", action == Action::"view", resource);
@id("open") @mode("log_only") permit (principal, action == Action::"view", resource);
@id("never") @mode("log_only") forbid (principal, action == Action::"delete", resource);
@id("odd") @mode("log_only") forbid (principal, action, resource) when { context has odd };
"""


def would_be(outcome: str, *policies: str) -> dict[str, Any]:
    return {"outcome": outcome, "reasons": [by(policy) for policy in policies]}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    write(tmp_path, policies___a__cedar=POLICIES)
    secret = would_be("DENY", "secret")
    return write_log(
        tmp_path / "log",
        record("ann", "view", "secret", log_only=secret, time="2026-03-02T12:00:00+00:00"),
        record("bob", "view", "secret", log_only=secret, kept_one_in=5),
        record("bob", log_only=would_be("ALLOW", "gone")),
        record("ann"),
        denied("ann", "edit", log_only=would_be("REQUIRES_APPROVAL", "gone")),
    )


def report(shell: Shell, *arguments: str) -> dict[str, Any]:
    document = shell("policy", "log-only", *arguments, "-t", TENANT, "--log", "log", "--json").json
    return {one["policy"]["policy_id"]: one for one in document["policies"]}


def test_what_was_recorded_is_counted_policy_by_policy(log: Path, shell: Shell) -> None:
    found = report(shell)

    assert list(found) == ["secret", "gone"]
    secret = found["secret"]
    assert secret["decisions"] == 6
    assert secret["changes"] == [{"from": "ALLOW", "to": "DENY", "decisions": 6}]
    assert (secret["first"], secret["last"]) == (
        "2026-03-01T12:00:00+00:00",
        "2026-03-02T12:00:00+00:00",
    )
    assert secret["subjects"] == [
        {"name": "User::bob", "decisions": 5},
        {"name": "User::ann", "decisions": 1},
    ]
    assert secret["actions"] == [{"name": "Action::view", "decisions": 6}]
    assert secret["resources"] == [{"name": "Doc::secret", "decisions": 6}]
    first = secret["examples"][0]
    assert (first["outcome"], first["would_be"]) == ("ALLOW", "DENY")
    assert first["request"]["subject"] == {"type": "User", "id": "ann"}
    assert secret["today"] is None
    assert found["gone"]["changes"] == [
        {"from": "ALLOW", "to": "ALLOW", "decisions": 1},
        {"from": "DENY", "to": "REQUIRES_APPROVAL", "decisions": 1},
    ]


def test_with_the_policies_at_hand_those_never_met_are_told(log: Path, shell: Shell) -> None:
    found = report(shell, "policies")

    def today(policy: str) -> tuple[int, int, int]:
        of = found[policy]["today"]
        return of["in_scope"], of["matched"], of["would_change"]

    assert today("secret") == (6, 6, 6)
    assert today("guests") == (0, 0, 0)
    assert today("open") == (8, 8, 0)
    assert today("never") == (0, 0, 0)
    assert today("odd") == (9, 0, 0)
    assert found["gone"]["today"] == {
        **dict.fromkeys(("in_scope", "matched", "would_change"), 0),
        "is_log_only": False,
    }


def test_people_are_told_what_it_means(log: Path, shell: Shell) -> None:
    result = shell("policy", "log-only", "policies", "-t", TENANT, "--log", "log")

    out = [" ".join(line.split()) for line in result.out.splitlines()]
    assert result.code == 0
    assert out[0] == "9 decisions recorded"
    for line in (
        "secret would have changed 6 decisions",
        "ALLOW -> DENY 6",
        "subjects User::bob (5), User::ann (1)",
        "today in scope of 6 decisions, matches 6, would change 6",
        "gone would have changed 2 decisions; it is log-only no more",
        "never saw no traffic: these records say nothing about it",
        "odd matched nothing",
        "open matched, and would have changed nothing",
    ):
        assert line in out


def test_a_policy_that_is_new_is_tried_on_what_was_recorded(log: Path, shell: Shell) -> None:
    write(
        log.parent,
        new__cedar='@id("new") @mode("log_only") forbid (principal, action, resource);'
        '@id("view") permit (principal, action, resource);',
    )

    result = shell("policy", "log-only", "new.cedar", "-t", TENANT, "--log", "log")

    assert "new  changed nothing so far, but would as it is today" in result.out
    assert "would change 9" in " ".join(result.out.split())


def test_masked_requests_are_counted_apart(log: Path, shell: Shell) -> None:
    write_log(
        log,
        record("ann", "view", "secret"),
        record("***", masked=["subject.id"]),
        record(context={"odd": "***"}, masked=["context.odd"]),
        record(subject="x" * 5000),
    )

    result = shell("policy", "log-only", "policies", "-t", TENANT, "--log", "log", "--json").json

    found = {one["policy"]["policy_id"]: one["today"] for one in result["policies"]}
    assert (result["decisions"], result["not_replayed"]) == (4, 3)
    assert (found["secret"]["matched"], found["odd"]["in_scope"], found["odd"]["matched"]) == (
        *(1, 2),
        0,
    )


def test_nothing_recorded_is_no_report(log: Path, shell: Shell) -> None:
    result = shell("policy", "log-only", "-t", "other", "--log", "log")

    assert result.code == 1
    assert "no decision of `other` is recorded there" in result.err


def test_a_real_server_records_what_the_report_is_made_of(tmp_path: Path, shell: Shell) -> None:
    (tmp_path / "placet.toml").write_text(
        '[telemetry]\ndecision_log = "file"\ndecision_log_path = "log"\n'
    )
    write(tmp_path, policies___a__cedar=POLICIES)
    asked = [
        {"subject": f"User::{user}", "action": "view", "resource": f"Doc::{doc}"}
        for user in ("ann", "gus")
        for doc in ("plan", "secret")
    ]
    (tmp_path / "asked.jsonl").write_bytes(lines(asked))
    with serving(tmp_path) as (address, process):
        server = ("-t", TENANT, "--address", address)
        shell("policy", "push", "policies", *server)
        for _ in range(3):
            shell("evaluate", "--file", "asked.jsonl", *server)
        process.end()
    with serving(tmp_path) as (address, process):
        found = report(shell, "--server", "--address", address)
        process.end()

    told = {
        policy: (one["decisions"], *(one["today"][part] for part in ("matched", "would_change")))
        for policy, one in found.items()
    }
    assert told == {
        "secret": (6, 6, 6),
        "guests": (6, 6, 6),
        "open": (0, 12, 0),
        "never": (0, 0, 0),
        "odd": (0, 0, 0),
    }
