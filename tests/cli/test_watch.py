from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.cli.shell import PATIENCE_S, Shell, running, serving
from tests.cli.test_documents import write

ALLOW = "permit (principal, action, resource);"


def test_changes_are_shown_as_they_come(
    tmp_path: Path, at_server: Shell, server: str, tenant: str
) -> None:
    write(tmp_path, a__cedar=ALLOW, b__cedar=ALLOW)
    at_server("policy", "push", ".")
    with running("watch", "-t", tenant, "--address", server, cwd=tmp_path) as process:
        process.wait_for("ready at revision ")
        process.wait_for("snapshot of revision ")
        write(tmp_path, b__cedar=f"// why\n{ALLOW}", c__yaml="entities: [{uid: User::a}]")
        (tmp_path / "a.cedar").unlink()
        at_server("policy", "push", ".")
        headline = process.wait_for("after it was published")
        added = process.wait_for("+ entity")
        changed = process.wait_for("~ policy")
        removed = process.wait_for("- policy")
        result = process.end()

    assert headline.startswith("revision ")
    assert added == '  + entity User::"a"'
    assert changed == "  ~ policy b  cedar, position"
    assert removed == "  - policy a"
    assert result.code == 0
    assert "Traceback" not in result.err
    # That it ends is no news.
    assert "closed" not in result.out


def test_a_filter_lets_only_its_policies_through(
    tmp_path: Path, at_server: Shell, server: str, tenant: str
) -> None:
    write(tmp_path, orders___a__cedar=ALLOW, other__cedar=ALLOW)
    at_server("policy", "push", ".")
    arguments = ["watch", "-t", tenant, "--address", server, "--filter", "orders/*", "--json"]
    with running(*arguments, cwd=tmp_path) as process:
        snapshot = json.loads(process.wait_for('"snapshot"'))
        write(tmp_path, other__cedar=f"// 2\n{ALLOW}")
        at_server("policy", "push", ".")
        first = json.loads(process.wait_for('"delta"'))
        write(tmp_path, orders___b__cedar=ALLOW)
        at_server("policy", "push", ".")
        second = json.loads(process.wait_for("orders/b"))
        result = process.end(signal.SIGTERM)

    assert snapshot["items"] == {"policy": 1}
    assert first["changes"] == []
    assert second["changes"] == [
        {"change": "added", "owner": tenant, "kind": "policy", "name": "orders/b"}
    ]
    assert second["from_revision"] == first["to_revision"]
    assert 0 <= second["lag_s"] < PATIENCE_S
    assert result.code == 0
    assert [line["event"] for line in result.lines][:2] == ["state", "snapshot"]


def test_a_server_that_goes_and_comes_back_is_followed_on(
    tmp_path: Path, starter: Path, shell: Shell
) -> None:
    with serving(tmp_path) as (address, server):
        shell("policy", "push", ".", "-t", "acme", "--address", address)
        with running("watch", "-t", "acme", "--address", address, cwd=tmp_path) as process:
            process.wait_for("snapshot of revision 1")
            server.end()
            stale = process.wait_for("stale at revision 1")
            with running("serve", "--listen", address, cwd=tmp_path) as again:
                again.wait_for("placet serves on")
                process.wait_for("ready at revision 1", after="stale")
                again.end()
            result = process.end()

    assert stale.endswith("; trying again")
    assert result.code == 0


def test_while_nobody_answers_it_says_so_once(tmp_path: Path) -> None:
    with running("watch", "-t", "acme", "--address", "127.0.0.1:1", cwd=tmp_path) as process:
        line = process.wait_for("connecting: ")
        result = process.end()

    assert "no server answers at `127.0.0.1:1`" in line
    assert result.code == 0
    assert "Traceback" not in result.err


def test_a_tenant_that_is_not_there_is_told(at_server: Shell) -> None:
    result = at_server("watch", "-t", "nobody")

    assert (result.code, result.out) == (1, "")
    assert result.err == "error: tenant `nobody` is not known; publish its policies first\n"


@pytest.mark.parametrize("pattern", ["", "a*b"])
def test_a_filter_that_is_none_is_refused(tmp_path: Path, at_server: Shell, pattern: str) -> None:
    write(tmp_path, a__cedar=ALLOW)
    at_server("policy", "push", ".")

    result = at_server("watch", "--filter", pattern)

    assert result.code == 2
    assert "use an id, or a prefix with one `*` at its end" in result.err
