"""The newest commits, kept in memory so that subscribers can resume."""

from __future__ import annotations

from collections import deque
from itertools import takewhile

from placet_engine.changes import Commit
from placet_engine.items import Revision
from placet_server.policies.residency import without_content


class CommitWindow:
    """A run of commits, bounded by commits and by changes in them.

    Revisions may be left out that there is nothing to tell of; none is missing otherwise.
    """

    def __init__(self, start: Revision, *, max_commits: int, max_changes: int) -> None:
        self._commits: deque[Commit] = deque()
        self._earliest = start
        self._changes = 0
        self._max_commits = max_commits
        self._max_changes = max_changes

    @property
    def earliest(self) -> Revision:
        """The oldest revision one can resume from: all commits after it are here."""
        return self._earliest

    def add(self, commit: Commit) -> None:
        """Append the next commit and let go of what is over the bounds."""
        self._commits.append(commit)
        self._changes += len(commit.changes)
        while len(self._commits) > self._max_commits or self._changes > self._max_changes:
            oldest = self._commits.popleft()
            self._changes -= len(oldest.changes)
            self._earliest = oldest.revision

    def forget(self, owner: str) -> None:
        """Let go of what an owner's commits changed; they stay in their places, empty."""
        self._commits = deque(
            without_content(commit) if commit.owner == owner else commit for commit in self._commits
        )
        self._changes = sum(len(commit.changes) for commit in self._commits)

    def after(self, revision: Revision) -> list[Commit] | None:
        """Return the commits that follow a revision, or nothing if they are not all here."""
        if revision < self._earliest:
            return None
        newer = takewhile(lambda commit: commit.revision > revision, reversed(self._commits))
        return list(newer)[::-1]
