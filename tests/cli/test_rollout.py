"""`placet rollout …` against a real server on which guards need few samples."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from placet.cli import completing
from tests.cli.shell import Shell, environment, running, serving
from tests.cli.test_documents import write

ALLOW = "permit (principal, action, resource);"
STOP = 'forbid (principal, action == Action::"pay", resource);'
EDIT = 'permit (principal, action == Action::"edit", resource);'


@pytest.fixture(scope="module")
def quick_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server that compares every request and steps on at once."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "placet.toml").write_text(
        "[rollouts]\ntick_s = 0.02\nmin_samples = 20\nshadow_percent = 100\n"
        "shadow_per_second = 10000\n"
    )
    with serving(folder, "--store", "memory", "--node", "test-node") as (address, process):
        yield address
        result = process.end()
    assert 0 == result.code
    assert "Traceback" not in result.err


@pytest.fixture
def at(
    quick_server: str, tenant: str, monkeypatch: pytest.MonkeyPatch, shell: Shell, tmp_path: Path
) -> Shell:
    """Runs commands as Ann, about a tenant to which everything is allowed."""
    monkeypatch.setenv("PLACET_ADDRESS", quick_server)
    monkeypatch.setenv("PLACET_TENANT", tenant)
    monkeypatch.setenv("PLACET_ACTOR", "ann")
    write(tmp_path, all__cedar=ALLOW)
    assert 0 == shell("policy", "push", ".").code
    requests = [
        {
            "subject": f"User::u{number}",
            "action": "pay" if number % 2 else "view",
            "resource": "Invoice::one",
        }
        for number in range(60)
    ]
    (tmp_path / "requests.jsonl").write_text("\n".join(map(json.dumps, requests)))
    return shell


def ask(at: Shell) -> None:
    """Ask for 60 decisions, half of them about paying."""
    assert at("evaluate", "--file", "requests.jsonl", "--json").code in (0, 3)


def start(at: Shell, tmp_path: Path, *options: str, **files: str) -> Any:
    """Start a rollout of files; return it."""
    write(tmp_path, **(files or {"stop__cedar": STOP}))
    result = at("rollout", "start", ".", *options, "--json")
    assert 0 == result.code, result.err
    return result.json["rollout"]


def until_measured(at: Shell) -> None:
    """Wait until the node has taken the candidate in: from then on it compares."""
    while not at("rollout", "show", "--json").json["nodes"]["acknowledged"]:
        pass


# ----------------------------------------------------------------------------------- start


def test_start_shows_what_changes_and_what_to_do_next(tmp_path: Path, at: Shell) -> None:
    write(tmp_path, stop__cedar=STOP)

    tried = at("rollout", "start", ".", "--dry-run")
    result = at("rollout", "start", ".", "-m", "no paying", "--canary", "10,100", "--bake", "1h")

    assert (0, "+ policy stop\ndry run: 1 change; nothing was published\n") == (
        tried.code,
        tried.out,
    )
    assert "plan: canary by subject: the server's steps" in tried.err
    assert 0 == result.code
    changed, started, summary = result.out.splitlines()
    assert ("+ policy stop", "started: canary by subject: 10 % for 1h, 100 % for 1h") == (
        changed,
        started,
    )
    assert summary.endswith("is running at 10 %, step 1 of 2")
    assert "follow it: `placet rollout watch" in result.err
    shown = at("rollout", "show", "--json").json
    assert ("ann", "no paying") == (shown["author"], shown["message"])


def test_without_a_plan_the_server_has_a_canary(tmp_path: Path, at: Shell) -> None:
    plan = start(at, tmp_path)["plan"]

    assert "CANARY" == plan["strategy"]
    assert [10, 50, 100] == [step["share_percent"] for step in plan["steps"]]
    assert 300 == plan["steps"][0]["bake_time_s"]


@pytest.mark.parametrize("arguments", [(), (".", "--restore", "1")])
def test_either_files_or_a_revision(at: Shell, arguments: tuple[str, ...]) -> None:
    result = at("rollout", "start", *arguments)

    assert (2, "") == (result.code, result.out)
    assert "what is to be rolled out?" in result.err


def test_what_does_not_compile_is_shown_and_not_started(tmp_path: Path, at: Shell) -> None:
    write(tmp_path, stop__cedar="forbid (principal, action, resource) when { 1 + true > 2 }; x")

    result = at("rollout", "start", ".")

    assert (1, "") == (result.code, result.out)
    assert "stop.cedar:1:" in result.err
    assert [] == at("rollout", "list", "--json").json


def test_what_changes_nothing_is_not_started(at: Shell) -> None:
    result = at("rollout", "start", ".")

    assert 1 == result.code
    assert "changes nothing" in result.err


def test_all_at_once_and_back(tmp_path: Path, at: Shell) -> None:
    before = at("policy", "history", "--json").json[0]["revision"]
    write(tmp_path, stop__cedar=STOP)

    done = at("rollout", "start", ".", "--immediate")
    back = ("rollout", "start", "--restore", str(before), "--immediate")
    tried = at(*back, "--dry-run")
    tried_document = at(*back, "--dry-run", "--json").json
    restored = at(*back)

    assert 0 == done.code
    assert "is completed" in done.out
    assert f"to undo it: `placet rollout start --restore {before} -t " in done.err
    assert "removed policy stop" in tried.out
    assert "dry run: 1 change; nothing was started" in tried.out
    assert [{"change": "removed", "kind": "policy", "name": "stop"}] == tried_document["changes"]
    assert "is completed" in restored.out
    assert ["all"] == [item["name"] for item in at("policy", "list", "--json").json]


def test_a_candidate_that_was_rolled_back_can_be_restored(tmp_path: Path, at: Shell) -> None:
    candidate = start(at, tmp_path)["candidate_revision"]
    at("rollout", "rollback")

    tried = at("rollout", "start", "--restore", str(candidate), "--dry-run")

    assert "added policy stop" in tried.out


def test_a_time_to_come(tmp_path: Path, at: Shell) -> None:
    rollout = start(at, tmp_path, "--at", "2h")
    shown = at("rollout", "show").out
    withdrawn = at("rollout", "rollback", "-m", "not this year")

    assert ("SCHEDULED", 0) == (rollout["state"], rollout["share_percent"])
    assert "begins in 1h 59m" in shown
    assert "by ann, who says: not this year" in withdrawn.out


# ----------------------------------------------------------------------------------- watch


def here(**changes: str) -> dict[str, str]:
    """Return the environment of commands here, for processes."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("PLACET_")}
    return environment(**kept, **changes)


def test_a_canary_that_denies_is_rolled_back_under_traffic(tmp_path: Path, at: Shell) -> None:
    rollout = start(at, tmp_path, "--canary", "10,100", "--bake", "1h")
    with running("rollout", "watch", cwd=tmp_path, env=here()) as process:
        process.wait_for("nodes 1 acknowledged")
        ask(at)
        result = process.end(None)
    again = at("rollout", "watch", "--json")

    assert 7 == result.code
    first, *_, last = result.out.splitlines()
    assert "running at 10 %, step 1 of 2, next in 59m" in first
    assert "denies 0.0 points waiting (0 of 20)" in first
    assert "rolled back at 10 %, step 1 of 2" in result.out
    assert "the guard on denies was breached: the candidate denied" in result.out
    assert "the stable revision 0.0 %; the bound is 5 points" in " ".join(result.out.split())
    assert "answers changed" in result.out
    assert ["pay", 'Invoice::"one"', "ALLOW", "->", "DENY", "stop"] == last.split()[1:]
    assert "if that is meant: `placet rollout start PATH... -t " in result.err
    assert "--guard denies=" in result.err
    (document,) = again.lines
    assert (7, "") == (again.code, again.err)
    assert (rollout["id"], "ROLLED_BACK") == (document["id"], document["state"])
    report = document["rollback"]
    assert ("GUARD", "DENY_RATE_CHANGE") == (report["cause"], report["breach"]["guard"]["kind"])
    assert {"type": "User", "properties": {}} == {
        name: value
        for name, value in report["examples"][0]["request"]["subject"].items()
        if name != "id"
    }
    assert "stop" == report["examples"][0]["candidate"]["reasons"][0]["policy_id"]


def test_a_good_canary_is_watched_to_its_end(tmp_path: Path, at: Shell) -> None:
    write(tmp_path, edit__cedar=EDIT)
    options = ("start", ".", "--canary", "50,100", "--bake", "0s", "--watch")
    with running("rollout", *options, cwd=tmp_path, env=here()) as process:
        process.wait_for("step 1 of 2")
        process.wait_for("nodes 1 acknowledged")
        ask(at)
        process.wait_for("step 2 of 2")
        ask(at)
        result = process.end(None)

    assert 0 == result.code
    assert "running at 50 %" in result.out
    assert "completed" in result.out.splitlines()[-1]
    assert "to undo it: " in result.err


def test_a_terminal_gets_one_view_that_changes(tmp_path: Path, at: Shell) -> None:
    start(at, tmp_path)
    forced = here(FORCE_COLOR="1", TERM="xterm", COLUMNS="100")
    with running("rollout", "watch", cwd=tmp_path, env=forced) as process:
        process.wait_for("waiting")
        process.wait_for("\x1b[1A")
        at("rollout", "rollback", "-m", "enough")
        result = process.end(None)

    assert 7 == result.code
    assert "enough" in result.out
    assert "\x1b[?25h" in result.out, "the cursor is hidden"


def test_ctrl_c_ends_the_watching_and_not_the_rollout(tmp_path: Path, at: Shell) -> None:
    start(at, tmp_path)
    with running("rollout", "watch", "--plain", cwd=tmp_path, env=here()) as process:
        process.wait_for("running at 10 %")
        result = process.end(signal.SIGINT)

    assert 5 == result.code
    assert "the rollout goes on without being watched" in result.err
    assert "RUNNING" == at("rollout", "show", "--json").json["state"]


def test_nobody_answers(shell: Shell) -> None:
    result = shell("rollout", "watch", "-t", "acme", "--address", "127.0.0.1:1")

    assert (5, "") == (result.code, result.out)
    assert "no server answers at `127.0.0.1:1`" in result.err


def test_a_tenant_without_rollouts(at: Shell) -> None:
    missing = at("rollout", "show")
    listed = at("rollout", "list")

    assert (1, "") == (missing.code, missing.out)
    assert "had no rollout yet" in missing.err
    assert (0, "") == (listed.code, listed.out)
    assert "`placet rollout start` begins one" in listed.err


# ----------------------------------------------------------------------------------- steer


def test_a_person_pauses_resumes_promotes_and_rolls_back(tmp_path: Path, at: Shell) -> None:
    id_ = start(at, tmp_path, "--canary", "10,50,100", "--bake", "1h")["id"]

    paused = at("rollout", "pause", "-m", "lunch")
    held = at("rollout", "show").out
    resumed = at("rollout", "resume", id_)
    promoted = at("rollout", "promote")
    back = at("rollout", "rollback", id_, "--as", "bob", "-m", "flooded")
    again = at("rollout", "rollback", id_)

    assert paused.out.endswith("is paused at 10 %, step 1 of 3\n")
    assert f"let it go on: `placet rollout resume {id_} -t " in paused.err
    assert "held until somebody resumes it" in held
    assert resumed.out.endswith("is running at 10 %, step 1 of 3\n")
    assert promoted.out.endswith("is running at 50 %, step 2 of 3\n")
    assert "by bob, who says: flooded" in back.out
    assert 0 == back.code
    assert 1 == again.code
    assert "has ended, it is rolled back" in again.err


def test_all_the_steps_that_are_left(tmp_path: Path, at: Shell) -> None:
    start(at, tmp_path)

    done = at("rollout", "promote", "--all", "--json")

    assert (0, "COMPLETED") == (done.code, done.json["state"])


def test_what_needs_approval_is_shown_to_who_approves(tmp_path: Path, at: Shell) -> None:
    start(at, tmp_path, "--manual", "--approvers", "leads", "--deadline", "24h")

    unasked = at("rollout", "approve", "--as", "bob", "--groups", "leads")
    by_author = at("rollout", "approve", "--yes", "--groups", "leads")
    outsider = at("rollout", "approve", "--yes", "--as", "bob", "--groups", "ops")
    approved = at("rollout", "approve", "--yes", "--as", "bob", "--groups", "ops, leads")

    assert 2 == unasked.code
    assert "--yes approves without asking" in unasked.err
    assert "added policy stop" in unasked.out
    assert "all at once when somebody of leads has approved it until" in unasked.out
    assert [1, 1] == [by_author.code, outsider.code]
    assert "`ann` started the rollout and cannot approve it" in by_author.err
    assert "in none of the groups that may approve: leads" in outsider.err
    assert (0, True) == (approved.code, "is completed" in approved.out)
    assert "bob" == at("rollout", "show", "--json").json["approver"]


class _Person(io.StringIO):
    """A terminal with somebody who types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "state"), [("n", "AWAITING_APPROVAL"), ("y", "COMPLETED")])
def test_a_person_is_asked(
    tmp_path: Path, at: Shell, monkeypatch: pytest.MonkeyPatch, answer: str, state: str
) -> None:
    start(at, tmp_path, "--manual")
    monkeypatch.setattr(sys, "stdin", _Person(f"{answer}\n"))

    result = at("rollout", "approve", "--as", "bob")

    assert (0 if answer == "y" else 1) == result.code
    assert state == at("rollout", "show", "--json").json["state"]


def test_while_a_rollout_is_under_way_nothing_is_pushed(tmp_path: Path, at: Shell) -> None:
    id_ = start(at, tmp_path)["id"]

    result = at("policy", "push", ".")

    assert (1, "") == (result.code, result.out)
    assert f"rollout `{id_}`" in result.err


# ------------------------------------------------------------------------------------ show


def test_rollouts_are_listed_newest_first(tmp_path: Path, at: Shell) -> None:
    first = start(at, tmp_path, "--immediate", "-m", "one")["id"]
    second = start(at, tmp_path, "-m", "two", edit__cedar=EDIT)["id"]

    listed = at("rollout", "list").out.splitlines()
    ended = at("rollout", "list", "--state", "completed", "--json").json
    unknown = at("rollout", "list", "--state", "complete")

    assert [first, second] == [line.split()[0] for line in listed[:0:-1]]
    assert ["running", "10", "%"] == listed[1].split()[1:4]
    assert [first] == [rollout["id"] for rollout in ended]
    assert 2 == unknown.code
    assert "did you mean `completed`?" in unknown.err


def test_show_tells_all_there_is(tmp_path: Path, at: Shell) -> None:
    id_ = start(at, tmp_path, "--no-guard", "latency", "-m", "why not")["id"]

    shown = at("rollout", "show", id_, "--diff")
    document = at("rollout", "show", id_, "--diff", "--json").json

    assert 0 == shown.code
    assert f"{id_} of tenant `" in shown.out
    for part in ("by ann", "why not", "stable ", "━ 10 %", "step       1 of 3, next in 4m"):
        assert part in shown.out
    assert "latency           0 ms       10 ms  0 of 20  waiting, not enforced" in shown.out
    assert "added policy stop" in shown.out
    assert "stop" == document["changes"][0]["after"]["name"]


def test_who_runs_what(tmp_path: Path, at: Shell) -> None:
    rollout = start(at, tmp_path)
    until_measured(at)

    result = at("rollout", "nodes")
    document = at("rollout", "nodes", "--json").json
    elsewhere = at("rollout", "nodes", "--region", "mars")

    assert 0 == result.code
    row = result.out.splitlines()[-1].split()
    assert ["test-node", "local", rollout["etag"], "-"] == row[:4]
    assert "10 % by" in result.out
    (node,) = document["nodes"]
    assert (int(rollout["etag"]), 0.0, None) == (node["revision"], node["lag_s"], node["rejection"])
    assert 0 <= node["propagation_s"] < 10
    assert "no node has told where it stands" in elsewhere.out


def test_who_runs_what_can_be_watched(tmp_path: Path, at: Shell) -> None:
    with running(
        "rollout", "nodes", "--watch", "--interval", "0.1", "--json", cwd=tmp_path, env=here()
    ) as process:
        process.wait_for('"test-node"')
        result = process.end(signal.SIGINT)

    assert (0, "") == (result.code, result.err)


def test_rollouts_are_no_policies(tmp_path: Path, at: Shell) -> None:
    start(at, tmp_path)

    usual = at("policy", "list", "--json").json
    asked = at("policy", "list", "--kind", "rollout", "--kind", "candidate")

    assert ["all"] == [item["name"] for item in usual]
    assert "running, 10 %" in asked.out
    assert "1 of its policies written, 0 items removed" in asked.out


def test_who_follows_policies_hears_of_rollouts_in_a_line(tmp_path: Path, at: Shell) -> None:
    with running("watch", cwd=tmp_path, env=here()) as process:
        snapshot = process.wait_for("snapshot of revision ")
        id_ = start(at, tmp_path)["id"]
        moved = process.wait_for(f"rollout {id_} ")
        at("rollout", "promote", "--all")
        process.wait_for("+ policy stop")
        ended = process.wait_for(f"rollout {id_} completed")
        result = process.end(signal.SIGINT)

    assert snapshot.endswith(": policy 1")
    assert (f"  rollout {id_} running, 10 %", f"  rollout {id_} completed, 100 %") == (moved, ended)
    assert "candidate" not in result.out
    assert 0 == result.code


def test_ids_are_completed(tmp_path: Path, at: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    id_ = start(at, tmp_path)["id"]
    context = typer.Context(typer.main.get_command(typer.Typer(callback=lambda: None)))
    context.params = {}

    offered = completing.rollout_ids(context, id_[:3])
    none = completing.rollout_ids(context, "x")
    monkeypatch.setenv("PLACET_ADDRESS", "127.0.0.1:1")

    assert ([(id_, "running")], []) == (offered, none)
    assert [] == completing.rollout_ids(context, "")
