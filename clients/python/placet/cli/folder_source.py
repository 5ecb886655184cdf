"""A folder as a source: read as it is, and said which commit it is of if it is in git.

Changes are found by asking for sizes and times of the files. That costs some 2 ms a hundred
files, and works where notices of the kernel do not come: network file systems, volumes of
containers, folders that are swapped by renaming.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import TypeAlias

from placet.cli.failures import Failure
from placet.cli.files import PathRefused, list_files
from placet.cli.findings import FilesRefused
from placet.cli.folders import Folder
from placet.cli.git import Commit, GitFailed, GitMissing, git, read_commit
from placet.cli.sources import SourceAway, State, read_whole

_Fingerprint: TypeAlias = "tuple[tuple[str, int, int, int, int], ...]"

# Files that are being saved are waited for until nothing has changed for so long, but not for
# longer than so much.
_QUIET_S = 0.25
_MAX_UNREST_S = 10.0


class FolderSource:
    """A folder that people or programs write to while it is followed."""

    interval_s = 1.0

    def __init__(self, folder: Path, *, git_timeout_s: float) -> None:
        self._folder = folder
        self._git_timeout_s = git_timeout_s
        self._fingerprint: _Fingerprint | None = None
        self.state = State(mark="")

    @property
    def shown(self) -> str:
        """The folder, as it was named."""
        return f"folder `{self._folder}`"

    def look(self) -> State:
        """Return the state it is in, as soon as nobody writes to it."""
        fingerprint = self._seen()
        if fingerprint != self._fingerprint:
            if self._fingerprint is not None:
                fingerprint = self._settled(fingerprint)
            commit, is_dirty = self._commit()
            self._fingerprint = fingerprint
            mark = hashlib.sha256(repr(fingerprint).encode()).hexdigest()
            self.state = State(mark=mark, commit=commit, is_dirty=is_dirty)
        return self.state

    def read(self) -> Folder:
        """Read it, again if it changes meanwhile: what was read half of is nobody's policy."""
        deadline = time.monotonic() + _MAX_UNREST_S
        while True:
            self.look()
            try:
                folder = self._read()
            except (FilesRefused, Failure):
                if self._is_unchanged() or time.monotonic() > deadline:
                    raise
            else:
                if self._is_unchanged() or time.monotonic() > deadline:
                    return folder

    def _read(self) -> Folder:
        try:
            return read_whole(self._folder, shown=self.shown, base=self._top())
        except PathRefused as error:
            raise SourceAway(str(error)) from error

    def _is_unchanged(self) -> bool:
        return self._seen() == self._fingerprint

    def _seen(self) -> _Fingerprint:
        try:
            found = [(path, path.stat()) for path in list_files(self._folder)]
        except (OSError, PathRefused) as error:
            raise SourceAway(str(error)) from error
        return tuple(
            (str(path), at.st_size, at.st_mtime_ns, at.st_ctime_ns, at.st_ino) for path, at in found
        )

    def _settled(self, fingerprint: _Fingerprint) -> _Fingerprint:
        """Wait until two looks in a row see the same."""
        deadline = time.monotonic() + _MAX_UNREST_S
        while time.monotonic() < deadline:
            time.sleep(_QUIET_S)
            before, fingerprint = fingerprint, self._seen()
            if before == fingerprint:
                break
        return fingerprint

    # ---------------------------------------------------------------------------------- git

    def _commit(self) -> tuple[Commit | None, bool]:
        """Return the commit that is checked out, and whether the folder differs from it."""
        top = self._top()
        if top is None:
            return None, False
        try:
            tracked = self._tracked(top)
            files = {path.resolve() for path in list_files(self._folder)}
            if not files & tracked:
                # Something else is in git here.
                return None, False
            commit = read_commit(self._where, "HEAD", timeout_s=self._git_timeout_s)
            changed = self._git("status", "--porcelain", "--untracked-files=no", "--", ".")
        except (GitFailed, OSError, PathRefused):
            # Before the first commit, or while it is being changed.
            return None, False
        return commit, bool(changed) or not files <= tracked

    def _tracked(self, top: Path) -> set[Path]:
        listed = self._git("ls-files", "-z", "--full-name", "--", ".")
        return {top / name for name in listed.split("\0") if name}

    def _top(self) -> Path | None:
        """Return the folder that its repository is checked out to; None if it is in none.

        Also None where git is missing, or does not trust the repository: the files are there all
        the same.
        """
        try:
            return Path(self._git("rev-parse", "--show-toplevel").removesuffix("\n")).resolve()
        except (GitFailed, GitMissing):
            return None

    @property
    def _where(self) -> tuple[str, str]:
        return "-C", str(self._folder)

    def _git(self, *arguments: str) -> str:
        return git(*self._where, *arguments, timeout_s=self._git_timeout_s)
