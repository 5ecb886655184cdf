"""Goes through decision logs with a bar on a terminal, and says what was passed over."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn

from placet.cli import terminal
from placet.cli.failures import ExitCode, Failure
from placet.cli.replay.recordings import PassedOver, Recordings, Wanted
from placet_server.telemetry.decision_log.records import DecisionRecord


def wanted_records(tenant: str, since: str | None, until: str | None, limit: int | None) -> Wanted:
    """Read the options that choose records.

    Raises:
        Failure: one of them says nothing that can be used.
    """
    if not tenant:
        raise Failure("whose decisions? name a tenant with --tenant", ExitCode.USAGE)
    now = datetime.now(UTC)
    return Wanted(
        tenant=tenant,
        since=_moment("--since", since, now),
        until=_moment("--until", until, now),
        limit=limit,
    )


def _moment(option: str, text: str | None, now: datetime) -> datetime | None:
    if text is None:
        return None
    ago = _AGO.fullmatch(text)
    try:
        if ago is not None:
            return now - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]])
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise Failure(
            f"`{option}` is `{text}`; write a time such as 2026-03-01 or 2026-03-01T12:00:00Z, or "
            "how long ago: 90m, 24h, 7d",
            ExitCode.USAGE,
        ) from error
    # Without a zone it is the clock on the wall here.
    return moment.astimezone(UTC)


_AGO = re.compile(r"(\d+)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def records_with_progress(recordings: Recordings) -> Iterator[DecisionRecord]:
    """Go through records; on a terminal, show how far."""
    with _bar(recordings.total_bytes) as on_progress:
        yield from recordings.read(on_progress)


@contextmanager
def _bar(total_bytes: int | None) -> Iterator[Callable[[int], None]]:
    console = terminal.err()
    if not console.is_terminal or total_bytes == 0:
        yield lambda bytes_: None
        return
    columns = (SpinnerColumn(), TextColumn("replaying"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=total_bytes)
        yield lambda bytes_: progress.advance(task, bytes_)


# --------------------------------------------------------------------- what was passed over


def print_passed_over(passed: PassedOver) -> None:
    """Say which lines were not used."""
    if passed.broken:
        lines = terminal.counted(passed.broken, "line is", "lines are")
        terminal.note(f"{lines} no decision record", style="yellow")
        for named in passed.broken_named:
            terminal.note(f"  {named}")
    for count, what in (
        (passed.other_tenants, "other tenants"),
        (passed.other_times, "other times"),
    ):
        if count:
            terminal.note(f"{terminal.counted(count, 'record is', 'records are')} of {what}")


def passed_over_to_json(passed: PassedOver) -> dict[str, Any]:
    """Return the same for programs."""
    return {
        "broken": {"lines": passed.broken, "first": list(passed.broken_named)},
        "other_tenants": passed.other_tenants,
        "other_times": passed.other_times,
    }


def request_document(record: DecisionRecord) -> dict[str, Any]:
    """Return a record's request in the form that `placet evaluate --file` reads."""
    document: dict[str, Any] = {}
    for part in ("subject", "action", "resource"):
        document[part] = {
            name: value for name, value in getattr(record, part).items() if value != {}
        }
    if record.context:
        document["context"] = record.context
    if record.entities:
        document["entities"] = record.entities
    return document


def request_words(record: DecisionRecord) -> Sequence[str]:
    """Return subject, action and resource as people write them."""
    subject, action, resource = record.subject, record.action, record.resource
    return (
        f"{subject.get('type')}::{subject.get('id')}",
        str(action.get("name")),
        f"{resource.get('type')}::{resource.get('id')}",
    )
