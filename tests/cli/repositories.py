"""Real git repositories for tests, with a configuration of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.test_documents import write

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

SETTINGS = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
"""Variables under which git reads no configuration of whoever runs the tests."""


class Repository:
    """A repository that tests commit to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch", "main")

    @property
    def url(self) -> str:
        """Its address, by which it is a remote like any other."""
        return self.folder.as_uri()

    @property
    def head(self) -> str:
        """Hash of the newest commit."""
        return self.git("rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        """Run a git command; return what it printed."""
        who = {f"GIT_{role}_NAME": "Ann" for role in ("AUTHOR", "COMMITTER")}
        mail = {f"GIT_{role}_EMAIL": "ann@example.com" for role in ("AUTHOR", "COMMITTER")}
        done = subprocess.run(
            ["git", "-C", str(self.folder), *arguments],
            env={**os.environ, **SETTINGS, **who, **mail},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, subject: str, *options: str, **files: str) -> str:
        """Write files as `write` does, commit everything, and return the hash."""
        write(self.folder, **files)
        self.git("add", "--all")
        self.git(*options, "commit", "--quiet", "--allow-empty", "--message", subject)
        return self.head
