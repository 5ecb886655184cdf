"""Tells what happens while a source is followed: a line an event, and a file for probes."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.text import Text

from placet import Publication
from placet.cli import items, terminal
from placet.cli.contents import Documents
from placet.cli.durations import duration_text
from placet.cli.failures import ExitCode, Failure
from placet.cli.findings import FilesRefused, Finding
from placet.cli.folders import Folder
from placet.cli.publish_reports import change_to_json, finding_to_json, owner_name, summary
from placet.cli.publishing import Change
from placet.cli.sources import State

# What goes on being wrong is told again when it has lasted so many times as long.
_TOLD_AGAIN = 4.0
_FIRST_TOLD_AGAIN_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What bringing an owner to a state came to."""

    state: State
    publication: Publication
    changes: Sequence[Change]
    warnings: Sequence[Finding]
    folder: Folder


class Reporter:
    """Prints lines for people, or JSON, and keeps the status file.

    The file goes first: whoever has read a line finds in it what the line says, also when the
    command is ended right after.
    """

    def __init__(
        self, source: str, owner: str, *, as_json: bool, status_file: Path | None = None
    ) -> None:
        """Begin to report.

        Raises:
            Failure: the status file cannot be written.
        """
        self._source = source
        self._owner = owner
        self._as_json = as_json
        self._status_file = status_file
        self._standing = "starting"
        self._commit: str | None = None
        self._revision: int | None = None
        self._error: str | None = None
        self._synced_at: datetime | None = None
        self._behind_since = time.monotonic()
        self._away_since: float | None = None
        self._told: tuple[str, float] = ("", 0.0)
        try:
            self._write_status()
        except OSError as error:
            raise Failure(
                f"`{status_file}` cannot be written: {error.strerror}", ExitCode.USAGE
            ) from error

    # --------------------------------------------------------------------------- what goes on

    def watching(self, interval_s: float) -> None:
        """Tell that following begins."""
        text = f"following {self._source} with {owner_name(self._owner)}, every {interval_s:g} s"
        self._tell("watching", Text(terminal.safe(text), "bold"), interval_s=interval_s)

    def remarked(self, state: State) -> None:
        """Tell how a state came about."""
        line = Text(terminal.safe(state.remark), "yellow")
        self._tell("rewritten", line, commit=_hash(state), message=state.remark)

    def brought(self, brought: Brought) -> None:
        """Tell that the owner now has what the source has."""
        publication = brought.publication
        is_news = bool(publication.upserts or publication.deletes)
        findings = [finding_to_json(finding, brought.folder) for finding in brought.warnings]
        self._is_current(brought.state, publication.revision)
        if not self._as_json:
            terminal.print_findings(brought.warnings, brought.folder.texts)
            for change in brought.changes:
                terminal.line(items.change_line(*change))
        self._tell(
            "published" if is_news else "current",
            Text(terminal.safe(f"{brought.state.name}: {summary(publication, self._owner)}")),
            commit=_hash(brought.state),
            uncommitted_changes=brought.state.is_dirty,
            revision=publication.revision,
            upserts=publication.upserts,
            deletes=publication.deletes,
            changes=[change_to_json(change, key) for change, key, _ in brought.changes],
            warnings=findings,
        )

    def current(self, state: State, revision: int) -> None:
        """Note that the owner has what the source has, which is news after something else."""
        is_news = self._standing not in ("current", "away")
        self._is_current(state, revision)
        if is_news:
            line = f"{state.name}: {owner_name(self._owner)} has all of it, at revision {revision}"
            self._tell("current", Text(terminal.safe(line)), commit=_hash(state), revision=revision)

    def _is_current(self, state: State, revision: int) -> None:
        self._commit, self._revision = _hash(state), revision
        self._synced_at = datetime.now(UTC)
        self._stand("current")

    def refused(self, state: State, error: Exception) -> None:
        """Tell that a state cannot be published."""
        findings = error.findings if isinstance(error, FilesRefused) else ()
        texts = error.texts if isinstance(error, FilesRefused) else {}
        why = terminal.counted(len(findings), "problem", "problems") if findings else f"{error}"
        kept = f"stays at revision {self._revision}" if self._revision else "stays as it is"
        line = f"{state.name} was not published: {why}; {owner_name(self._owner)} {kept}"
        broken = Folder(documents=Documents(), cases=(), texts=texts)
        self._stand("refused", f"{state.name}: {error}")
        if not self._as_json:
            terminal.print_findings(findings, texts)
        self._tell(
            "refused",
            Text(terminal.safe(line), "red"),
            commit=_hash(state),
            revision=self._revision,
            message=f"{error}",
            problems=[finding_to_json(finding, broken) for finding in findings],
        )

    def still_refused(self) -> None:
        """Note that what was refused is still all the source has."""
        self._stand("refused", self._error)

    def drifted(self, state: State, revision: int, *, heals: bool) -> None:
        """Tell that somebody else published."""
        then = "it is undone at the next look" if heals else "--heal would undo that"
        line = (
            f"somebody else published: {owner_name(self._owner)} is at revision {revision}, not at "
            f"{self._revision} as {state.name} was; {then}"
        )
        self._stand("drifted", line)
        self._tell(
            "drifted",
            Text(terminal.safe(line), "yellow"),
            commit=_hash(state),
            revision=revision,
            synced_revision=self._revision,
        )

    def still_drifted(self) -> None:
        """Note that what somebody else published is still there."""
        self._stand("drifted", self._error)

    # ------------------------------------------------------------------------------- outages

    def away(self, why: str) -> None:
        """Tell that source or server cannot be reached: at first, and now and then later."""
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
            self._told = ("", 0.0)
        lasted_s = now - self._away_since
        told, again_s = self._told
        if why != told or lasted_s >= again_s:
            self._told = (why, max(lasted_s * _TOLD_AGAIN, _FIRST_TOLD_AGAIN_S))
            behind_s = self._behind_s()
            since = f" for {duration_text(lasted_s)}" if lasted_s >= 1.0 else ""
            line = Text.assemble(
                (f"away{since}", "yellow"), f": {terminal.safe(why)}; trying again"
            )
            self._tell("away", line, message=why, behind_s=round(behind_s, 3))
        self._stand("away", why)

    def reached(self) -> None:
        """Tell that an outage is over."""
        if self._away_since is None:
            return
        lasted_s = time.monotonic() - self._away_since
        self._away_since = None
        self._tell(
            "back", Text(f"back after {duration_text(lasted_s)}"), after_s=round(lasted_s, 3)
        )

    def stopped(self) -> None:
        """Tell that nobody follows any more."""
        at = f" at revision {self._revision}" if self._revision else " as it is"
        line = f"stopped; {owner_name(self._owner)} stays{at}"
        self._tell("stopped", Text(terminal.safe(line)), revision=self._revision)
        self._stand("stopped", self._error)

    def failed(self, why: str) -> None:
        """Note that a single run ended with an error, which others tell."""
        self._stand("failed", why)

    # ------------------------------------------------------------------------ lines and file

    def _tell(self, event: str, line: Text, **facts: Any) -> None:
        if self._as_json:
            when = datetime.now(UTC).isoformat(timespec="milliseconds")
            terminal.print_json({"event": event, "time": when, **facts})
        else:
            terminal.line(line)

    def _stand(self, standing: str, error: str | None = None) -> None:
        if standing == "current" or self._standing in ("current", "starting"):
            self._behind_since = time.monotonic()
        self._standing = standing
        self._error = error
        # A disk that is full is no reason to stop; that the file grows old says enough.
        with contextlib.suppress(OSError):
            self._write_status()

    def _behind_s(self) -> float:
        """Return for how long the owner may not have had what the source has."""
        return 0.0 if self._standing == "current" else time.monotonic() - self._behind_since

    def _write_status(self) -> None:
        if self._status_file is None:
            return
        document = {
            "state": self._standing,
            "source": self._source,
            "tenant": self._owner,
            "commit": self._commit,
            "revision": self._revision,
            "synced_at": self._synced_at.isoformat() if self._synced_at is not None else None,
            "checked_at": datetime.now(UTC).isoformat(),
            "behind_s": round(self._behind_s(), 3),
            "error": self._error,
            "pid": os.getpid(),
        }
        beside = self._status_file.with_name(f".{self._status_file.name}.{os.getpid()}")
        beside.write_text(json.dumps(document, ensure_ascii=False) + "\n", "utf-8")
        beside.replace(self._status_file)


def _hash(state: State) -> str | None:
    return state.commit.hash if state.commit is not None else None
