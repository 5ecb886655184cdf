"""Where policies come from: a folder, or a branch of a git repository.

A source is looked at, which is cheap and says whether it is another state than before, and read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from placet.cli.failures import Failure
from placet.cli.folders import Folder, read_folder
from placet.cli.git import Commit


class SourceAway(Exception):
    """The source cannot be seen now; it may be later. The message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One state of a source."""

    mark: str
    """Tells this state from all others."""
    commit: Commit | None = None
    is_dirty: bool = False
    """Whether there is something that the commit does not have."""
    remark: str = ""
    """What is worth knowing about how it came about."""

    @property
    def name(self) -> str:
        """What to call the state: by its commit, if there is one."""
        if self.commit is None:
            return "the folder"
        return f"{self.commit.short}{' with uncommitted changes' if self.is_dirty else ''}"

    @property
    def origin(self) -> str:
        """What publishing the state has in its request id."""
        return self.commit.hash if self.commit is not None else "folder"

    def message(self, source: str, why: str) -> str:
        """Return what history says of the publish. A server takes 1,024 characters."""
        prefix = f"{why[:300]}; " if why else ""
        if self.commit is None:
            return f"{prefix}sync of {source[:200]}"
        commit = self.commit
        return (
            f"{prefix}sync {self.name}: {commit.subject[:200]} "
            f"(commit {commit.hash} by {commit.author[:100]}, {source[:200]})"
        )


class Source(Protocol):
    """Something that policies are read from again and again."""

    @property
    def shown(self) -> str:
        """What to call it, without credentials."""
        ...

    @property
    def interval_s(self) -> float:
        """How long to wait between two looks when nobody says."""
        ...

    @property
    def state(self) -> State:
        """The state it was in when somebody looked, or read it."""
        ...

    def look(self) -> State:
        """Return the state it is in.

        Raises:
            SourceAway: nobody knows.
        """
        ...

    def read(self) -> Folder:
        """Read what is in ``state``.

        Raises:
            FilesRefused: something is wrong with the files.
            Failure: there is nothing to publish.
            SourceAway: it cannot be read now.
        """
        ...


def read_whole(folder: Path, *, shown: str, base: Path | None) -> Folder:
    """Read a folder that is the whole content of a tenant; an empty one is taken for a mistake.

    Args:
        folder: where it is.
        shown: what to call it.
        base: what files are named from.

    Raises:
        PathRefused: it is not there.
        FilesRefused: something is wrong with its files.
        Failure: there is nothing to publish in it.
    """
    read = read_folder([folder], base=base)
    if read.documents.is_empty:
        raise Failure(
            f"there are no policies in {shown}, and no tenant is emptied for that; name the folder "
            "that has them with --path"
        )
    return read
