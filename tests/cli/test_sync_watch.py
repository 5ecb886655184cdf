"""`placet policy sync --watch`: real processes, repositories, servers and signals."""

from __future__ import annotations

import json
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.cli.repositories import SETTINGS, Repository, needs_git
from tests.cli.shell import PATIENCE_S, Process, Shell, environment, running, serving
from tests.cli.test_documents import write

pytestmark = needs_git

ALLOW = "permit (principal, action, resource);"
FORBID = "forbid (principal, action, resource);"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    found = Repository(tmp_path / "repository")
    found.commit("first", a__cedar=ALLOW)
    return found


@contextmanager
def following(
    source: object, tenant: str, server: str, cwd: Path, *options: str, **variables: str
) -> Iterator[Process]:
    """Follow a source, looking at it ten times a second."""
    arguments = ["policy", "sync", str(source), "-t", tenant, "--address", server, "--watch"]
    with running(
        *arguments,
        *("--interval", "100ms", *options),
        cwd=cwd,
        env=environment(**SETTINGS, **variables),
    ) as process:
        yield process


def history(shell: Shell) -> list[Any]:
    found: list[Any] = shell("policy", "history", "--json").json
    return found


def test_commits_are_followed_and_a_broken_one_is_healed_by_the_next(
    repository: Repository, at_server: Shell, server: str, tenant: str, tmp_path: Path
) -> None:
    with following(repository.url, tenant, server, tmp_path) as process:
        process.wait_for("published revision ")
        second = repository.commit("second", b__cedar=ALLOW)
        process.wait_for(f"{second[:10]}: published revision")
        broken = repository.commit("broken", b__cedar="permit (principal);")
        told = process.wait_for(f"{broken[:10]} was not published: 1 problem; tenant")
        where = process.wait_for("b.cedar:1:1: error: policy `b`", in_="err")
        healed = repository.commit("healed", b__cedar=FORBID)
        process.wait_for(f"{healed[:10]}: published revision")
        result = process.end(signal.SIGTERM)

    assert result.code == 0
    assert "stays at revision " in told
    assert where.startswith("b.cedar:1:1: error")
    assert result.err.count("error: policy `b`") == 1
    assert result.out.count("was not published") == 1
    assert result.out.splitlines()[-1].startswith(f"stopped; tenant `{tenant}` stays at revision")
    messages = [revision["message"].split(": ")[1].split(" ")[0] for revision in history(at_server)]
    assert messages == ["healed", "second", "first"]


def test_a_broken_commit_that_is_taken_back_needs_no_publish(
    repository: Repository, at_server: Shell, server: str, tenant: str, tmp_path: Path
) -> None:
    first = repository.head
    with following(repository.url, tenant, server, tmp_path, "--json") as process:
        process.wait_for('"published"')
        repository.commit("broken", a__cedar="permit (principal);")
        refused = json.loads(process.wait_for('"refused"'))
        repository.git("reset", "--quiet", "--hard", first)
        rewritten = json.loads(process.wait_for('"rewritten"'))
        current = json.loads(process.wait_for('"current"'))
        result = process.end()

    assert result.code == 0
    assert refused["problems"][0]["file"] == "a.cedar"
    assert rewritten["commit"] == current["commit"] == first
    assert [line["event"] for line in result.lines] == [
        *("watching", "published", "refused", "rewritten", "current", "stopped")
    ]
    assert len(history(at_server)) == 1


def test_a_branch_that_was_rewritten_is_followed_and_told(
    repository: Repository, at_server: Shell, server: str, tenant: str, tmp_path: Path
) -> None:
    first = repository.head
    with following(repository.url, tenant, server, tmp_path) as process:
        process.wait_for("published revision ")
        one = repository.commit("one", a__cedar=FORBID)
        process.wait_for(f"{one[:10]}: published")
        repository.git("reset", "--quiet", "--hard", first)
        other = repository.commit("other", b__cedar=ALLOW)
        process.wait_for(f"history was rewritten: {other[:10]} does not follow {one[:10]}")
        process.wait_for(f"{other[:10]}: published")
        more = repository.commit("more", c__cedar=ALLOW)
        process.wait_for(f"{more[:10]}: published")
        result = process.end()

    assert result.code == 0
    assert result.out.count("history was rewritten") == 1
    items = [item["name"] for item in at_server("policy", "list", "--json").json]
    assert items == ["a", "b", "c"]


def test_a_remote_that_goes_and_comes_back_is_followed_on(
    repository: Repository, server: str, tenant: str, tmp_path: Path
) -> None:
    status = tmp_path / "status.json"
    with following(
        repository.url, tenant, server, tmp_path, "--status-file", str(status)
    ) as process:
        process.wait_for("published revision ")
        repository.folder.rename(tmp_path / "elsewhere")
        process.wait_for(f"away: cannot fetch {repository.url}: ")
        (tmp_path / "elsewhere").rename(repository.folder)
        process.wait_for("back after ")
        newer = repository.commit("newer", b__cedar=ALLOW)
        process.wait_for(f"{newer[:10]}: published")
        result = process.end()

    assert result.code == 0
    reasons = re.findall(r"^away[^:]*: (.*); trying again$", result.out, re.MULTILINE)
    # Told once, however often it was looked at; a look that the move met half-way may have found
    # another reason.
    assert all(one != next_one for one, next_one in pairwise(reasons))
    standing = json.loads(status.read_text())
    assert (standing["state"], standing["commit"], standing["tenant"]) == ("stopped", newer, tenant)
    assert [path.name for path in tmp_path.glob(".status*")] == []


def test_a_server_that_goes_and_comes_back_gets_what_it_missed(
    repository: Repository, tmp_path: Path
) -> None:
    with (
        serving(tmp_path) as (address, server),
        following(repository.url, "acme", address, tmp_path, "--json") as process,
    ):
        process.wait_for('"published"')
        server.end()
        # Before, a look may have met a server that was about to end, which is another reason.
        away = json.loads(process.wait_for(f"no server answers at `{address}`"))
        missed = repository.commit("missed", b__cedar=ALLOW)
        with running("serve", "--listen", address, cwd=tmp_path) as again:
            again.wait_for("placet serves on")
            process.wait_for('"back"')
            published = json.loads(process.wait_for('"published"', after='"back"'))
            again.end()
        result = process.end()

    assert result.code == 0
    assert away["event"] == "away"
    assert published["commit"] == missed


def test_it_can_start_before_its_server_and_its_remote(
    repository: Repository, server: str, tenant: str, tmp_path: Path
) -> None:
    repository.folder.rename(tmp_path / "elsewhere")
    with following(repository.url, tenant, server, tmp_path) as process:
        process.wait_for("away: cannot fetch")
        (tmp_path / "elsewhere").rename(repository.folder)
        process.wait_for("published revision")
        result = process.end()

    assert result.code == 0


def test_a_folder_is_followed_as_it_is_saved(
    at_server: Shell, server: str, tenant: str, tmp_path: Path
) -> None:
    folder = tmp_path / "policies"
    write(folder, a__cedar=ALLOW)
    with following(folder, tenant, server, tmp_path) as process:
        process.wait_for("+ policy a")
        write(folder, b__cedar=ALLOW)
        process.wait_for("+ policy b")
        write(folder, b__cedar="permit (")
        process.wait_for("the folder was not published: 1 problem")
        write(folder, b__cedar=FORBID)
        process.wait_for("~ policy b")
        folder.rename(tmp_path / "elsewhere")
        process.wait_for("away: `")
        write(tmp_path / "elsewhere", c__cedar=ALLOW)
        (tmp_path / "elsewhere").rename(folder)
        process.wait_for("+ policy c")
        result = process.end()

    assert result.code == 0
    assert len(history(at_server)) == 4


def test_what_somebody_else_publishes_is_told(
    repository: Repository, at_server: Shell, server: str, tenant: str, tmp_path: Path
) -> None:
    """An urgent change by hand must not be undone a moment later by a program."""
    with following(repository.url, tenant, server, tmp_path) as process:
        process.wait_for("published revision")
        write(tmp_path, urgent__cedar=FORBID)
        at_server("policy", "push", "urgent.cedar", "-m", "urgent")
        told = process.wait_for(f"somebody else published: tenant `{tenant}` is at revision ")
        kept = [item["name"] for item in at_server("policy", "list", "--json").json]
        newer = repository.commit("newer", b__cedar=ALLOW)
        process.wait_for(f"{newer[:10]}: published")
        result = process.end()

    assert result.code == 0
    assert told.endswith("; --heal would undo that")
    assert kept == ["a", "urgent"]
    assert [item["name"] for item in at_server("policy", "list", "--json").json] == ["a", "b"]


def test_what_somebody_else_publishes_is_undone_if_asked_for(
    repository: Repository, at_server: Shell, server: str, tenant: str, tmp_path: Path
) -> None:
    with following(repository.url, tenant, server, tmp_path, "--heal") as process:
        process.wait_for("published revision")
        write(tmp_path, b__cedar=ALLOW)
        at_server("policy", "push", "b.cedar")
        process.wait_for("it is undone at the next look")
        process.wait_for("- policy b")
        result = process.end()

    assert result.code == 0
    assert [item["name"] for item in at_server("policy", "list", "--json").json] == ["a"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_the_middle_of_a_fetch_and_leaves_nothing(
    server: str, tenant: str, tmp_path: Path, number: signal.Signals
) -> None:
    """A remote that takes the connection and says nothing."""
    room = tmp_path / "room"
    room.mkdir()
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"git://127.0.0.1:{silent.getsockname()[1]}/x"
        with following(address, tenant, server, tmp_path, TMPDIR=str(room)) as process:
            silent.settimeout(PATIENCE_S)
            connection, _ = silent.accept()
            result = process.end(number)
            connection.settimeout(PATIENCE_S)
            # Git has ended, too: what it asked for is followed by the end of the stream.
            while connection.recv(4096):
                pass
            ended.set()
            connection.close()

    assert result.code == 0
    assert "Traceback" not in result.err
    assert ended.is_set()
    assert list(room.iterdir()) == []


def test_a_signal_ends_it_while_a_server_says_nothing(
    repository: Repository, tenant: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with following(repository.url, tenant, address, tmp_path, "--timeout", "600") as process:
            silent.settimeout(PATIENCE_S)
            connection, _ = silent.accept()
            result = process.end(signal.SIGTERM)
            connection.close()

    assert result.code == 0
    assert "Traceback" not in result.err
