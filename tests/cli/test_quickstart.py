"""`make run` as a stranger meets it: everything it prints works as printed."""

from __future__ import annotations

import json
import shlex
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.cli.shell import BIN, PATIENCE_S, Process, Result, Shell, environment, running

READY = "Ctrl-C stops the server"


def commands(output: str) -> list[str]:
    """Return the commands it printed to try next."""
    return [line.strip() for line in output.splitlines() if line.startswith("  grpcurl ")]


def run_as_printed(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def address_of(process: Process) -> str:
    return process.wait_for("placet serves on ").split()[3].rstrip(",")


def test_every_command_it_prints_works_as_printed(tmp_path: Path) -> None:
    assert (BIN / "grpcurl").exists(), "grpcurl is in the dev requirements"
    with running("quickstart", cwd=tmp_path) as process:
        process.wait_for(READY)
        listing, describing, evaluating, subscribing = commands(process.out)
        listed = run_as_printed(listing, tmp_path)
        described = run_as_printed(describing, tmp_path)
        evaluated = run_as_printed(evaluating, tmp_path)
        # It would go on for ever.
        limited = subscribing.replace("grpcurl ", "grpcurl -max-time 3 ", 1)
        subscribed = run_as_printed(limited, tmp_path)
        result = process.end()

    assert listed.returncode == 0, listed
    assert "placet.v1.EvaluateService" in listed.stdout.split()
    assert described.returncode == 0, described
    assert "rpc Evaluate ( .placet.v1.EvaluateRequest )" in described.stdout
    assert evaluated.returncode == 0, evaluated
    decision = json.loads(evaluated.stdout)["decision"]
    assert decision["outcome"] == "OUTCOME_DENY"
    assert decision["reasons"][0]["message"] == "nobody pays an invoice they submitted themselves"
    assert "snapshot_begin" in subscribed.stdout or "snapshotBegin" in subscribed.stdout
    assert "invoices/pay-large" in subscribed.stdout
    assert "heartbeat" in subscribed.stdout
    assert "DeadlineExceeded" in subscribed.stderr
    assert_ended_well(result)


def assert_ended_well(result: Result) -> None:
    assert result.code == 0
    assert result.out.splitlines()[-1].startswith("goodbye: ")
    assert "Traceback" not in result.out + result.err


def test_it_shows_an_allow_a_deny_and_an_approval_with_reasons(tmp_path: Path) -> None:
    with running("quickstart", cwd=tmp_path) as process:
        process.wait_for(READY)
        result = process.end(signal.SIGTERM)

    rows = [line.split("  ")[0] for line in result.out.splitlines()]
    assert [row for row in rows if row in ("ALLOW", "DENY", "REQUIRES APPROVAL")] == [
        "ALLOW",
        "DENY",
        "REQUIRES APPROVAL",
    ]
    words = " ".join(result.out.split())
    assert "redact:iban" in words
    assert "nobody pays an invoice they submitted" in words
    assert "finance-leads" in words
    assert_ended_well(result)


def test_its_data_goes_with_it_unless_it_is_to_stay(tmp_path: Path, shell: Shell) -> None:
    with running("quickstart", cwd=tmp_path) as process:
        process.wait_for(READY)
        process.end()
    assert [path.name for path in (tmp_path / ".placet").iterdir()] == [".gitignore"]

    with running("quickstart", "--keep-data", cwd=tmp_path) as process:
        process.wait_for(READY)
        kept = process.end()
    assert "its data is in .placet/quickstart.db" in kept.out

    # Again, on the store that is there; and what was there stays.
    with running("quickstart", cwd=tmp_path) as process:
        process.wait_for(READY)
        assert "at revision 1" in process.out
        address = address_of(process)
        history = shell("policy", "history", "-t", "demo", "--address", address, "--json").json
        assert_ended_well(process.end())
    assert len(history) == 1
    assert (tmp_path / ".placet" / "quickstart.db").exists()


def test_a_store_that_a_crash_left_is_used_again(tmp_path: Path) -> None:
    with running("quickstart", cwd=tmp_path) as process:
        process.wait_for(READY)
        process.send(signal.SIGKILL)

    with running("quickstart", cwd=tmp_path) as process:
        process.wait_for(READY)
        assert_ended_well(process.end())


def test_with_its_port_taken_it_takes_the_next(tmp_path: Path) -> None:
    try:
        taken = socket.create_server(("127.0.0.1", 7717))
    except OSError:
        pytest.skip("somebody else has port 7717; then the other tests show the same")
    with taken, running("quickstart", cwd=tmp_path) as process:
        process.wait_for(READY)
        address = address_of(process)
        shown = commands(process.out)
        result = process.end()

    assert "port 7717 is taken; trying the next" in result.err
    assert address != "127.0.0.1:7717"
    assert all(address in shlex.split(command) for command in shown)
    assert_ended_well(result)


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path) -> None:
    (tmp_path / ".placet").write_text("in the way")

    with running("quickstart", cwd=tmp_path) as process:
        result = process.end(None)

    assert result.code == 1
    assert result.err.startswith("error: `.placet` cannot be made here")


def test_a_damaged_store_is_told(tmp_path: Path) -> None:
    (tmp_path / ".placet").mkdir()
    (tmp_path / ".placet" / "quickstart.db").write_bytes(b"garbage" * 1000)

    with running("quickstart", cwd=tmp_path) as process:
        result = process.end(None)

    assert result.code == 1
    assert "restore it from a backup" in result.err
    assert "Traceback" not in result.err
    # It was there before, and is not ours to remove.
    assert (tmp_path / ".placet" / "quickstart.db").exists()
