from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.cli.shell import Shell, environment, running, serving
from tests.postgres import new_schema, shared_cluster


@pytest.fixture
def url() -> str:
    """A database's schema for the test alone; its URL has a password."""
    return new_schema().replace("placet@", "placet:geheim@")


@pytest.fixture
def filled(tmp_path: Path, shell: Shell, starter: Path) -> Path:
    """A store in a file, with the starter's policies."""
    with serving(tmp_path) as (address, process):
        assert shell("policy", "push", ".", "-t", "demo", "--address", address).code == 0
        process.end()
    return tmp_path / "placet.db"


def test_a_server_on_postgres_keeps_its_password_to_itself(
    tmp_path: Path, shell: Shell, url: str, starter: Path
) -> None:
    arguments = ("serve", "--listen", "127.0.0.1:0", "--store", "postgres")
    env = environment(PLACET_STORE_URL=url)
    with running(*arguments, "--workers", "2", cwd=tmp_path, env=env) as process:
        line = process.wait_for("placet serves on")
        address = line.split()[3].rstrip(",")
        pushed = shell("policy", "push", ".", "-t", "demo", "--address", address)
        result = process.end(signal.SIGTERM)
    (tmp_path / "placet.toml").write_text(f'[store]\nkind = "postgres"\nurl = "{url}"\n')
    with running(*arguments[:3], cwd=tmp_path) as process:
        again = process.wait_for("placet serves on")
        process.end()
    shown = shell("config", "--explain")

    assert pushed.code == 0
    assert "store postgresql://placet@127.0.0.1:" in line
    assert "at revision 1; ask it" in again
    assert "placet:***@" in shown.out
    for text in (result.out, result.err, shown.out):
        assert "geheim" not in text


def test_a_store_is_copied_and_checked(
    shell: Shell, filled: Path, url: str, tmp_path: Path
) -> None:
    copied = shell("store", "copy", filled, url)
    back = shell("store", "copy", url, "back.db", "--json")
    checks = [shell("store", "check", place, "--json").json for place in (filled, url, "back.db")]
    twice = shell("store", "copy", filled, url)

    assert copied.code == 0
    assert "copied 14 changes of 1 owner up to revision 1; the copy agrees" in copied.out
    assert "keep them off the source" in copied.err
    assert back.json["head"] == 1
    assert checks[0] == checks[1] == checks[2]
    assert checks[0]["findings"] == []
    assert twice.code == 1
    assert "the target is at revision 1 already" in twice.err


def test_a_store_that_is_served_is_not_copied(shell: Shell, tmp_path: Path, url: str) -> None:
    with serving(tmp_path) as (_, process):
        refused = shell("store", "copy", "placet.db", url)
        process.end()

    assert refused.code == 1
    assert "`placet.db` is in use: stop the nodes" in refused.err


def test_damage_is_told(shell: Shell, filled: Path, url: str) -> None:
    assert shell("store", "copy", filled, url).code == 0
    schema = url.rpartition("=")[2]
    shared_cluster().run(f"UPDATE \"{schema}\".changes SET body = '{{}}' WHERE kind = 1")

    checked = shell("store", "check", url)

    assert checked.code == 1
    assert "error: revision 1: the body of an item does not read as POLICY" in checked.err
    assert "restore it from a backup" in checked.err


def test_migrating_says_from_where_to_where(shell: Shell, url: str, tmp_path: Path) -> None:
    made = shell("store", "migrate", url)
    again = shell("store", "migrate", url)
    (tmp_path / "placet.toml").write_text('[store]\npath = "other.db"\n')
    configured = shell("store", "migrate", "--json")

    assert (made.code, again.code, configured.code) == (0, 0, 0)
    assert "made a store with layout" in made.out
    assert "the newest; nothing to do" in again.out
    assert "geheim" not in made.out + again.out
    assert configured.json["place"] == "other.db"
    assert configured.json["before"] is None


def test_going_on_without_what_was_lost_is_asked_about(shell: Shell, filled: Path) -> None:
    before = shell("store", "check", filled, "--json").json
    refused = shell("store", "accept", filled)
    accepted = shell("store", "accept", filled, "--yes", "--json")
    after = shell("store", "check", filled, "--json").json

    assert refused.code == 2
    assert "--yes does without asking" in refused.err
    assert after == before | {"store_id": accepted.json["store_id"]}
    assert after != before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("check", "no.db"), 1, "`no.db` is not there"),
        (("check", "mysql://u:geheim@h/d"), 2, "postgresql://user@host1,host2/database"),
        (("check", "postgresql://u:geheim@h:port/d"), 2, "postgresql://user@host1,host2/database"),
        (("migrate", "postgresql://u:geheim@127.0.0.1:1/d"), 1, "127.0.0.1:1: connection refused"),
    ],
)
def test_what_is_no_store_is_told(
    shell: Shell, arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = shell("store", *arguments)

    assert result.code == code
    assert message in result.err
    assert "geheim" not in result.err


def test_a_store_in_memory_is_nowhere(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "placet.toml").write_text('[store]\nkind = "memory"\n')

    result = shell("store", "check")

    assert result.code == 2
    assert "the configured store is in memory" in result.err


@pytest.mark.parametrize("command", [("store", "check"), ("serve", "--listen", "127.0.0.1:0")])
def test_the_missing_driver_is_named(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    for name in [name for name in sys.modules if name.startswith("placet_server.store.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    monkeypatch.setenv("PLACET_STORE_KIND", "postgres")
    monkeypatch.setenv("PLACET_STORE_URL", "postgresql://u@h/d")

    result = shell(*command)

    assert result.code == 2
    assert "pip install 'placet[postgres]'" in result.err
