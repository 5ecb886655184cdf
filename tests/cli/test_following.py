"""What a follower does at each look. Processes, repositories and signals: test_sync_watch.py."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from placet import Client
from placet.cli import following
from placet.cli.folder_source import FolderSource
from placet.cli.following import Following, Target
from placet.cli.sync_reports import Reporter
from tests.cli.repositories import SETTINGS
from tests.cli.shell import PATIENCE_S, Shell
from tests.cli.test_documents import write

ALLOW = "permit (principal, action, resource);"
FORBID = "forbid (principal, action, resource);"
INTERVAL_S = 10.0


class Follower:
    """A follower of a folder, and what it said."""

    def __init__(
        self,
        folder: Path,
        address: str,
        tenant: str,
        client: Client,
        capfd: pytest.CaptureFixture[str],
        *,
        heals: bool,
    ) -> None:
        self._capfd = capfd
        self.status_file = folder.parent / f"{folder.name}.status"
        source = FolderSource(folder, git_timeout_s=PATIENCE_S)
        reporter = Reporter(source.shown, tenant, as_json=False, status_file=self.status_file)
        self.following = Following(
            source,
            Target(client, address, tenant),
            reporter,
            interval_s=INTERVAL_S,
            heals=heals,
            rng=random.Random(1),
        )
        self.pause_s = 0.0

    def step(self) -> str:
        """Look once; return what was printed."""
        self._capfd.readouterr()
        self.pause_s = self.following.step()
        captured = self._capfd.readouterr()
        return captured.out + captured.err

    @property
    def state(self) -> str:
        """What the status file says."""
        state: str = json.loads(self.status_file.read_text())["state"]
        return state


@pytest.fixture(autouse=True)
def _no_waiting_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else writes, so that nobody has to be waited for."""
    monkeypatch.setattr("placet.cli.folder_source._QUIET_S", 0.0)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def client(server: str, tenant: str) -> Iterator[Client]:
    with Client(server, tenant=tenant) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "f", a__cedar=ALLOW)
    return tmp_path / "f"


@pytest.fixture
def follower(
    folder: Path, server: str, tenant: str, client: Client, capfd: pytest.CaptureFixture[str]
) -> Follower:
    return Follower(folder, server, tenant, client, capfd, heals=False)


def test_what_did_not_change_is_no_news(follower: Follower, client: Client) -> None:
    assert "published revision" in follower.step()

    assert [follower.step() for _ in range(3)] == ["", "", ""]
    assert len(list(client.history())) == 1
    assert follower.state == "current"


def test_what_is_refused_is_told_once(
    follower: Follower, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, a__cedar="permit (principal);")

    first = follower.step()
    again = [follower.step(), follower.step()]
    monkeypatch.setattr(following, "_REFUSED_AGAIN_S", 0.0)
    tried_again = follower.step()

    assert "the folder was not published: 1 problem" in first
    assert [*again, tried_again] == ["", "", ""]
    assert follower.state == "refused"


def test_what_was_refused_is_tried_again_after_a_while(
    follower: Follower, folder: Path, at_server: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stood in the way may be gone: here, a schema that somebody else published."""
    write(folder.parent, s__cedarschema="entity U;")
    at_server("policy", "push", "s.cedarschema")
    write(folder, a__cedar="permit (principal is V, action, resource);")
    assert "was not published" in follower.step()
    write(
        folder.parent,
        s__cedarschema="entity U; entity V;action a appliesTo {principal: V, resource: U};",
    )
    at_server("policy", "push", "s.cedarschema")

    assert follower.step() == ""
    monkeypatch.setattr(following, "_REFUSED_AGAIN_S", 0.0)
    assert "published revision" in follower.step()


def test_what_others_publish_stays_unless_it_is_to_be_undone(
    folder: Path,
    follower: Follower,
    server: str,
    tenant: str,
    client: Client,
    at_server: Shell,
    capfd: pytest.CaptureFixture[str],
) -> None:
    follower.step()
    healing = Follower(folder, server, tenant, client, capfd, heals=True)
    healing.step()
    write(folder.parent, b__cedar=FORBID)
    at_server("policy", "push", "b.cedar")

    told = follower.step()
    kept = [follower.step(), follower.step()]
    state = follower.state
    noticed = healing.step()
    undone = healing.step()

    assert "somebody else published" in told
    assert kept == ["", ""]
    assert state == "drifted"
    assert "it is undone at the next look" in noticed
    assert "- policy b" in undone


def test_of_two_followers_the_one_behind_does_not_take_back_what_the_other_brought(
    folder: Path,
    server: str,
    tenant: str,
    client: Client,
    at_server: Shell,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It has not seen the new state yet when it sees that somebody published."""
    behind = Follower(folder, server, tenant, client, capfd, heals=True)
    behind.step()
    write(folder.parent, new___a__cedar=FORBID)
    at_server("policy", "push", "new")
    noticed = behind.step()
    write(folder, a__cedar=FORBID)

    then = behind.step()

    assert "somebody else published" in noticed
    assert "~ policy a  position" in then
    assert {revision.upserts for revision in client.history()} == {1}


def test_pauses_grow_while_something_is_away_and_the_reason_is_told_once(
    follower: Follower, folder: Path
) -> None:
    follower.step()
    usual_s = follower.pause_s
    folder.rename(folder.parent / "elsewhere")
    told = [follower.step() for _ in range(6)]
    pauses_s = follower.pause_s
    (folder.parent / "elsewhere").rename(folder)
    back = follower.step()

    assert 0.9 * INTERVAL_S <= usual_s <= 1.1 * INTERVAL_S
    assert "away: `" in told[0]
    assert told[1:] == [""] * 5
    assert pauses_s > usual_s
    assert back.startswith("back after 0s\n")
    assert 0.9 * INTERVAL_S <= follower.pause_s <= 1.1 * INTERVAL_S
    assert follower.state == "current"
