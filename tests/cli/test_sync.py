"""`placet policy sync` that ends when it is done. With --watch: test_sync_watch.py."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from placet.cli import folder_source, sources
from placet.cli.folder_source import FolderSource
from placet.cli.git import git, without_credentials
from placet.cli.stopping import pause, undisturbed, until_stopped
from tests.cli.repositories import SETTINGS, Repository, needs_git
from tests.cli.shell import BIN, PATIENCE_S, Shell, environment
from tests.cli.test_documents import write

pytestmark = needs_git

ALLOW = "permit (principal, action, resource);"
FORBID = "forbid (principal, action, resource);"


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("GIT_ASKPASS", raising=False)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def names(shell: Shell) -> list[str]:
    """Return what the tenant has."""
    return [item["name"] for item in shell("policy", "list", "--json").json]


# ------------------------------------------------------------------------------ repositories


def test_a_commit_is_published_and_history_says_which(
    repository: Repository, at_server: Shell
) -> None:
    commit = repository.commit("Let everybody in", policies___a__cedar=ALLOW)

    synced = at_server("policy", "sync", repository.url)
    again = at_server("policy", "sync", repository.url)

    assert synced.code == again.code == 0
    assert "+ policy a\n" in synced.out
    assert f"{commit[:10]}: published revision " in synced.out
    assert f"{commit[:10]}: nothing to publish" in again.out
    (revision,) = at_server("policy", "history", "--json").json
    assert revision["message"] == (
        f"sync {commit[:10]}: Let everybody in "
        f"(commit {commit} by Ann <ann@example.com>, {repository.url})"
    )
    (item,) = at_server("policy", "list", "--json").json
    assert item["body"]["position"] == {"file": "policies/a.cedar", "line": 1, "column": 1}


def test_what_the_source_has_no_longer_goes_away(repository: Repository, at_server: Shell) -> None:
    repository.commit("two", a__cedar=ALLOW, b__cedar=ALLOW)
    at_server("policy", "sync", repository.url)
    (repository.folder / "a.cedar").unlink()
    repository.commit("one")

    synced = at_server("policy", "sync", repository.url, "--json")

    assert synced.json["event"] == "published"
    assert synced.json["changes"] == [{"change": "removed", "kind": "policy", "name": "a"}]
    assert names(at_server) == ["b"]


def test_a_commit_that_comes_back_is_published_again(
    repository: Repository, at_server: Shell
) -> None:
    """A request id of tenant and commit alone would be answered with the first publish of it."""
    first = repository.commit("first", a__cedar=ALLOW)
    at_server("policy", "sync", repository.url)
    repository.commit("second", a__cedar=FORBID)
    at_server("policy", "sync", repository.url)
    repository.git("reset", "--quiet", "--hard", first)

    back = at_server("policy", "sync", repository.url)

    assert "~ policy a" in back.out
    assert "permit" in at_server("policy", "get", "a").out
    assert len(at_server("policy", "history", "--json").json) == 3


def test_what_somebody_else_published_is_undone(repository: Repository, at_server: Shell) -> None:
    repository.commit("all", a__cedar=ALLOW)
    at_server("policy", "sync", repository.url)
    write(repository.folder.parent, b__cedar=ALLOW)
    at_server("policy", "push", "b.cedar")

    at_server("policy", "sync", repository.url)

    assert names(at_server) == ["a"]


def test_several_at_once_publish_once(
    repository: Repository, at_server: Shell, server: str, tenant: str
) -> None:
    repository.commit("all", a__cedar=ALLOW)
    command = [str(BIN / "placet"), "policy", "sync", repository.url, "-t", tenant]

    def sync(_: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, "--address", server],
            env=environment(**SETTINGS),
            capture_output=True,
            text=True,
            check=False,
        )

    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(sync, range(4)))

    assert [0] * 4 == [process.returncode for process in ended], ended
    assert len(at_server("policy", "history", "--json").json) == 1


def test_what_does_not_compile_is_told_by_its_place_in_the_repository(
    repository: Repository, at_server: Shell
) -> None:
    repository.commit("good", rules___policies___a__cedar=ALLOW)
    at_server("policy", "sync", repository.url, "--path", "rules")
    repository.commit("bad", rules___policies___a__cedar="permit (principal, action);")

    refused = at_server("policy", "sync", repository.url, "--path", "rules/")

    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("rules/policies/a.cedar:1:1: error: policy `a`")
    assert "    1 | permit (principal, action);" in refused.err
    assert "permit (principal, action, resource)" in at_server("policy", "get", "a").out


@pytest.mark.parametrize("ref", ["release", "v1", "refs/heads/release"])
def test_a_branch_or_a_tag_can_be_named(repository: Repository, at_server: Shell, ref: str) -> None:
    repository.git("checkout", "--quiet", "-b", "release")
    repository.commit("released", a__cedar=ALLOW)
    repository.git("tag", "--annotate", "--message", "1", "v1")
    repository.git("checkout", "--quiet", "-b", "main")
    repository.commit("newer", b__cedar=ALLOW)

    synced = at_server("policy", "sync", repository.folder, "--ref", ref)

    assert synced.code == 0
    assert names(at_server) == ["a"]


def test_a_bare_repository_is_one(repository: Repository, at_server: Shell, tmp_path: Path) -> None:
    repository.commit("all", a__cedar=ALLOW)
    repository.git("clone", "--quiet", "--bare", str(repository.folder), str(tmp_path / "bare"))

    assert at_server("policy", "sync", "bare").code == 0
    assert names(at_server) == ["a"]


def test_a_link_that_leads_out_of_the_repository_is_not_followed(
    repository: Repository, at_server: Shell, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("hunter2")
    (repository.folder / "a.cedar").symlink_to(tmp_path / "secret")
    repository.commit("a link", b__cedar=ALLOW)

    result = at_server("policy", "sync", repository.url)

    assert result.code == 1
    assert "hunter2" not in result.out + result.err


def test_an_empty_source_empties_no_tenant(repository: Repository, at_server: Shell) -> None:
    repository.commit("all", a__cedar=ALLOW)
    at_server("policy", "sync", repository.url)
    repository.git("rm", "--quiet", "a.cedar")
    repository.commit("nothing", README__md="moved")

    empty = at_server("policy", "sync", repository.url)
    elsewhere = at_server("policy", "sync", repository.url, "--path", "rules")

    assert empty.code == elsewhere.code == 1
    assert "no tenant is emptied for that" in empty.err
    assert f"there is no folder `rules` in {repository.head[:10]}" in elsewhere.err
    assert names(at_server) == ["a"]


def test_variables_of_a_hook_do_not_lead_to_another_repository(
    repository: Repository, at_server: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Repository(tmp_path / "other")
    commit = repository.commit("all", a__cedar=ALLOW)
    monkeypatch.setenv("GIT_DIR", str(other.folder / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other.folder))

    synced = at_server("policy", "sync", repository.url)
    write(repository.folder, b__cedar=ALLOW)
    at_server("policy", "sync", repository.folder)

    assert synced.code == 0
    newest, first = at_server("policy", "history", "--json").json
    assert first["message"].startswith(f"sync {commit[:10]}: all")
    assert newest["message"].startswith(f"sync {commit[:10]} with uncommitted changes: all")


def test_credentials_are_not_shown(at_server: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    address = f"http://ann:hunter2@127.0.0.1:{port}/policies.git"

    result = at_server("policy", "sync", address, "--status-file", "status.json")

    assert result.code == 1
    assert f"cannot fetch http://127.0.0.1:{port}/policies.git: " in result.err
    assert "hunter2" not in result.err + Path("status.json").read_text()
    assert json.loads(Path("status.json").read_text())["state"] == "failed"


def test_credentials_are_taken_out_of_any_address() -> None:
    text = "a https://u:p@h/x?q ssh://git@h:22/y http://h/z@1"

    assert without_credentials(text) == "a https://h/x?q ssh://h:22/y http://h/z@1"


def test_a_remote_that_says_nothing_is_given_up(at_server: Shell, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"git://127.0.0.1:{silent.getsockname()[1]}/x"

        result = at_server("policy", "sync", address, "--fetch-timeout", "0.5")

    assert result.code == 1
    assert "git did not answer within 0.5 s" in result.err


def test_a_remote_that_is_asked_for_a_password_does_not_make_anybody_ask(
    at_server: Shell, tmp_path: Path
) -> None:
    script = (
        "import http.server\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(401)\n"
        "        self.send_header('WWW-Authenticate', 'Basic realm=\"x\"')\n"
        "        self.send_header('Content-Length', '0')\n"
        "        self.end_headers()\n"
        "    def log_message(self, *_): pass\n"
        "server = http.server.HTTPServer(('127.0.0.1', 0), H)\n"
        "print(server.server_port, flush=True)\n"
        "server.serve_forever()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as web:
        try:
            assert web.stdout is not None
            port = int(web.stdout.readline())
            result = at_server("policy", "sync", f"http://127.0.0.1:{port}/x.git")
        finally:
            web.kill()

    assert result.code == 1
    assert "terminal prompts disabled" in result.err


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
def test_only_commits_that_are_signed_by_a_trusted_key_if_asked_for(
    repository: Repository, at_server: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("trusted", "other"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True
        )
    public = (tmp_path / "trusted.pub").read_text()
    (tmp_path / "signers").write_text(f"ann@example.com {public}")
    (tmp_path / "gitconfig").write_text(
        f'[gpg "ssh"]\nallowedSignersFile = {tmp_path / "signers"}\n'
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))

    def signed_by(name: str) -> tuple[str, ...]:
        key = f"user.signingKey={tmp_path / name}"
        return "-c", "gpg.format=ssh", "-c", key, "-c", "commit.gpgSign=true"

    repository.commit("signed", *signed_by("trusted"), a__cedar=ALLOW)
    good = at_server("policy", "sync", repository.url, "--verify-signatures")
    repository.commit("by another", *signed_by("other"), b__cedar=ALLOW)
    other = at_server("policy", "sync", repository.url, "--verify-signatures")
    repository.commit("by nobody", c__cedar=ALLOW)
    nobody = at_server("policy", "sync", repository.folder, "--verify-signatures")

    assert good.code == 0
    assert other.code == nobody.code == 1
    assert "has no good signature of a key that git trusts here" in other.err
    assert "has no good signature of a key that git trusts here" in nobody.err
    assert names(at_server) == ["a"]


def ends_though_another_thread_is_handed_the_signal(
    when: Callable[[], object], wait: Callable[[], object]
) -> None:
    """Wait in this thread, and have another handle a signal as soon as ``when`` has returned."""

    def take_the_signal() -> None:
        when()
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    thread = threading.Thread(target=take_the_signal)
    began = time.monotonic()
    with until_stopped():
        thread.start()
        wait()
    thread.join()
    assert time.monotonic() - began < PATIENCE_S / 2


def test_a_pause_ends_though_another_thread_is_handed_the_signal() -> None:
    ends_though_another_thread_is_handed_the_signal(lambda: None, lambda: pause(PATIENCE_S))


def test_git_is_ended_though_another_thread_is_handed_the_signal() -> None:
    """It ran on: the kernel gives no signal to a thread that is just starting a process."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE_S)
        address = f"git://127.0.0.1:{silent.getsockname()[1]}/x"
        accepted: list[socket.socket] = []
        ends_though_another_thread_is_handed_the_signal(
            lambda: accepted.append(silent.accept()[0]),
            lambda: git("ls-remote", address, timeout_s=PATIENCE_S),
        )
        accepted[0].close()


def test_a_signal_during_what_is_not_to_be_disturbed_waits_for_its_end() -> None:
    """Otherwise a git that was just started would run on, known to nobody."""
    done = []

    with until_stopped():
        with undisturbed():
            signal.raise_signal(signal.SIGTERM)
            done.append("the block")
        done.append("more")

    assert done == ["the block"]


# ----------------------------------------------------------------------------------- folders


def test_a_folder_in_git_is_read_as_it_is_and_said_to_be_changed(
    repository: Repository, at_server: Shell
) -> None:
    commit = repository.commit("all", policies___a__cedar=ALLOW)
    clean = at_server("policy", "sync", repository.folder)
    write(repository.folder, policies___b__cedar=ALLOW)
    dirty = at_server("policy", "sync", repository.folder / "policies", "--json")

    assert clean.code == dirty.code == 0
    assert dirty.json["uncommitted_changes"]
    newest, first = at_server("policy", "history", "--json").json
    assert first["message"].startswith(f"sync {commit[:10]}: all (commit {commit} by Ann")
    assert newest["message"].startswith(f"sync {commit[:10]} with uncommitted changes: all (")
    listed = at_server("policy", "list", "--json").json
    files = [item["body"]["position"]["file"] for item in listed]
    assert files == ["policies/a.cedar", "policies/b.cedar"]


def test_a_folder_that_git_ignores_is_of_no_commit(
    repository: Repository, at_server: Shell
) -> None:
    """What is beside it says nothing about what is in it."""
    repository.commit("ignore", __gitignore="made/\n")
    write(repository.folder, made___a__cedar=ALLOW)

    at_server("policy", "sync", repository.folder / "made", "-m", "release 7")

    (revision,) = at_server("policy", "history", "--json").json
    assert revision["message"] == f"release 7; sync of folder `{repository.folder / 'made'}`"


def test_a_folder_needs_no_git(
    tmp_path: Path, at_server: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, policies___a__cedar=ALLOW)
    monkeypatch.setenv("PATH", "")

    folder = at_server("policy", "sync", ".")
    repository = at_server("policy", "sync", "https://127.0.0.1:1/x")

    assert folder.code == 0
    assert "the folder: published revision" in folder.out
    assert repository.code == 1
    assert repository.err == (
        "error: git is not installed; install it, or sync a folder that is not in git\n"
    )


def test_a_file_that_is_being_saved_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, a__cedar=ALLOW)
    source = FolderSource(tmp_path, git_timeout_s=PATIENCE_S)
    first = source.look()
    write(tmp_path, a__cedar="permit (princ")
    parts = ["permit (principal, act", FORBID]

    def pause(_: float) -> None:
        if parts:
            write(tmp_path, a__cedar=parts.pop(0))

    monkeypatch.setattr("placet.cli.folder_source.time.sleep", pause)
    second = source.look()

    assert parts == []
    assert first.mark != second.mark
    assert [policy.cedar for policy in source.read().documents.policies] == [FORBID]
    assert source.look() == second


def test_a_folder_that_changes_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, a__cedar="permit (", b__cedar=ALLOW)
    source = FolderSource(tmp_path, git_timeout_s=PATIENCE_S)
    saves = [ALLOW]

    def read_whole(*arguments: object, **options: object) -> object:
        try:
            return sources.read_whole(*arguments, **options)  # type: ignore[arg-type]  # passed on
        finally:
            if saves:
                write(tmp_path, a__cedar=saves.pop())

    monkeypatch.setattr(folder_source, "read_whole", read_whole)

    assert [policy.cedar for policy in source.read().documents.policies] == [ALLOW, ALLOW]


# ------------------------------------------------------------------------------------- usage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "`nothing` is not there; name a folder, or the address"),
        (["a.cedar"], "`a.cedar` is no folder; name a folder, or the address"),
        (["ext::sh -c true"], "`ext::sh -c true` is not there"),
        ([".", "--ref=--upload-pack=x"], "name a branch, a tag or a commit"),
        ([".", "--ref", "a:b"], "name a branch, a tag or a commit"),
        ([".", "--path", "../x"], "name a folder within the source"),
        ([".", "--path", "/x"], "name a folder within the source"),
        ([".", "--interval", "soon"], "write it like 10s, 1m30s or 500ms"),
        ([".", "--interval", "0s"], "write it like 10s, 1m30s or 500ms"),
        ([".", "--fetch-timeout", "0"], "`--timeout` and `--fetch-timeout` need some seconds"),
        ([".", "--status-file", "no/such/file"], "`no/such/file` cannot be written"),
        (["--", "-x"], "`-x` is no folder and no repository"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_done(
    tmp_path: Path, at_server: Shell, arguments: list[str], message: str
) -> None:
    write(tmp_path, a__cedar=ALLOW)

    result = at_server("policy", "sync", *arguments)

    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["a.cedar"]


@pytest.mark.parametrize("how", ["--once", "--watch"])
def test_a_name_that_no_tenant_has_is_refused(
    repository: Repository, at_server: Shell, how: str
) -> None:
    repository.commit("all", a__cedar=ALLOW)

    result = at_server("policy", "sync", repository.url, "-t", "a b", how)

    assert result.code == 2
    assert "is `a b`; use 1 to 64 letters" in result.err


def test_without_a_server_it_says_so(repository: Repository, shell: Shell) -> None:
    repository.commit("all", a__cedar=ALLOW)

    result = shell("policy", "sync", repository.url, "-t", "x", "--address", "127.0.0.1:1")

    assert result.code == 5
    assert "no server answers at `127.0.0.1:1`" in result.err
