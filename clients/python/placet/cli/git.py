"""Runs git: with deadlines, without questions, and without telling anybody its credentials.

Whatever git needs to reach a remote (helpers, keys, proxies) is in its own configuration, which
is the caller's. Nothing here writes to a repository that was there before.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from types import MappingProxyType

from placet.cli.failures import Failure
from placet.cli.stopping import LONGEST_WAIT_S, undisturbed


class GitFailed(Exception):
    """Git did not do what it was asked to; the message says why, without credentials."""


class GitMissing(Failure):
    """There is no git here."""

    def __init__(self) -> None:
        super().__init__("git is not installed; install it, or sync a folder that is not in git")


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One commit, as people know it."""

    hash: str
    author: str
    """``Name <address>``."""
    subject: str

    @property
    def short(self) -> str:
        """The first letters of the hash."""
        return self.hash[:10]


def git(
    *arguments: str,
    timeout_s: float,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Run a git command and return its standard output.

    Raises:
        GitFailed: it failed, or took longer than ``timeout_s``.
        GitMissing: there is no git.
    """
    process: subprocess.Popen[bytes] | None = None
    try:
        with undisturbed():
            # In a session of its own it finds no terminal to ask on, and ends with its children.
            process = subprocess.Popen(  # noqa: S603  # options end before users' words
                ["git", *_SETTINGS, *arguments],  # noqa: S607  # whichever is on the path
                env={**_environment(), **variables},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        out, err = _output(process, timeout_s)
    except FileNotFoundError as error:
        raise GitMissing from error
    finally:
        if process is not None and process.returncode is None:
            _end(process)
    if process.returncode:
        raise GitFailed(_reason(err.decode("utf-8", "replace"), process.returncode))
    return out.decode("utf-8", "replace")


def _output(process: subprocess.Popen[bytes], timeout_s: float) -> tuple[bytes, bytes]:
    """Wait for the end of a command."""
    until = time.monotonic() + timeout_s
    while (left := until - time.monotonic()) > 0:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=min(left, LONGEST_WAIT_S))
    raise GitFailed(f"git did not answer within {timeout_s:g} s")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command with all it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


# What a repository or a helper could make git do beyond what it is asked for.
_SETTINGS = (
    *("-c", "core.hooksPath=/dev/null"),
    # In the background it would outlive us.
    *("-c", "gc.autoDetach=false"),
    *("-c", "maintenance.autoDetach=false"),
    *("-c", "i18n.logOutputEncoding=UTF-8"),
    # Colours and advice are for people at a terminal.
    *("-c", "color.ui=false"),
)

# Set by git for its hooks, about a repository that is not the one meant here.
_OF_ANOTHER_REPOSITORY = frozenset(
    f"GIT_{name}"
    for name in (
        "ALTERNATE_OBJECT_DIRECTORIES",
        "COMMON_DIR",
        "DIR",
        "GRAFT_FILE",
        "INDEX_FILE",
        "NAMESPACE",
        "OBJECT_DIRECTORY",
        "PREFIX",
        "QUARANTINE_PATH",
        "REPLACE_REF_BASE",
        "SHALLOW_FILE",
        "WORK_TREE",
    )
)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER_REPOSITORY}
    # A window that asks would wait for somebody. `GIT_ASKPASS` stays: scripts answer by it.
    kept.pop("SSH_ASKPASS", None)
    return {
        **kept,
        "GIT_TERMINAL_PROMPT": "0",
        # No `ext::`, by which an address could run commands.
        "GIT_ALLOW_PROTOCOL": kept.get("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh"),
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GCM_INTERACTIVE": "never",
        "LC_ALL": "C",
        "SSH_ASKPASS_REQUIRE": "never",
    }


def without_questions(*, timeout_s: float) -> dict[str, str]:
    """Return variables under which ssh, however it is configured, asks nothing."""
    command = os.environ.get("GIT_SSH_COMMAND", "")
    if not command:
        try:
            command = git("config", "--get", "core.sshCommand", timeout_s=timeout_s).strip()
        except GitFailed:
            command = "ssh"
    words = shlex.split(command)
    if not words or PurePath(words[0]).name != "ssh" or "GIT_SSH" in os.environ:
        # Another program, with options of its own.
        return {}
    return {"GIT_SSH_COMMAND": f"{command} -o BatchMode=yes"}


# ----------------------------------------------------------------------------- what it says

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


def without_credentials(text: str) -> str:
    """Take users and passwords out of the addresses in a text."""
    return _CREDENTIALS.sub("", text)


_EMPTY_PHRASES = re.compile(
    r"|please make sure you have the correct access rights.*|and the repository exists\.|"
    r"fatal: could not read from remote repository\.|hint: .*|warning: .*",
    re.IGNORECASE,
)


def _reason(err: str, code: int) -> str:
    """Return what git's complaint comes to."""
    lines = [line.strip() for line in err.splitlines()]
    told = [line for line in lines if not _EMPTY_PHRASES.fullmatch(line)] or [
        line for line in lines if line
    ]
    if not told:
        return f"git ended with code {code}"
    words = (line.removeprefix("fatal: ").removeprefix("error: ").rstrip(".") for line in told[:3])
    return without_credentials("; ".join(words))[:500]


# -------------------------------------------------------------------------------- commits


def read_commit(repository: Sequence[str], name: str, *, timeout_s: float) -> Commit:
    """Return a commit of a repository.

    Args:
        repository: options that say which one, such as ``("-C", "folder")``.
        name: what git can resolve to the commit.
        timeout_s: deadline.

    Raises:
        GitFailed: it is not there.
    """
    shown = "--format=%H%x00%an <%ae>%x00%s"
    command = ("log", "-1", "--no-show-signature", shown, "--end-of-options", name, "--")
    fields = git(*repository, *command, timeout_s=timeout_s).rstrip("\n").split("\0")
    return Commit(hash=fields[0], author=_plain(fields[1]), subject=_plain(fields[2]))


def _plain(text: str) -> str:
    """Leave out what is not for showing."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
