"""``placet policy impact``: what would change if a candidate were published."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from placet.cli import terminal
from placet.cli.extras import needs_extra
from placet.cli.failures import ExitCode, Failure
from placet.cli.folders import Folder, read_folder, read_policies
from placet.cli.options import (
    DEFAULT_ADDRESS,
    MANAGING_TIMEOUT_S,
    Address,
    Json,
    Logs,
    Paths,
    Replace,
    Since,
    Tenant,
    Timeout,
    Until,
)

if TYPE_CHECKING:
    from placet.cli.replay.trying import Stable, Tried


class FailOn(StrEnum):
    """What a pipeline is to stop for."""

    ANY = "any"
    MORE_ALLOWS = "more-allows"
    MORE_DENIES = "more-denies"
    ERRORS = "errors"
    SKIPPED = "skipped"
    NONE = "none"


def impact(
    paths: Paths,
    logs: Logs = None,
    cases: Annotated[
        list[Path] | None,
        typer.Option("--cases", help="Test cases, a folder or file. Repeatable.", metavar="PATH"),
    ] = None,
    base: Annotated[
        list[Path] | None,
        typer.Option(
            "--base",
            help="The policies as they are, a folder or file: no server is asked. Repeatable.",
            metavar="PATH",
        ),
    ] = None,
    server: Annotated[
        bool, typer.Option("--server", help="Try it on what --tenant has on a server.")
    ] = False,
    tenant: Tenant = "",
    platform: Annotated[
        bool,
        typer.Option(
            "--platform",
            help="With --server: the candidate is the platform's; see what it does to --tenant.",
        ),
    ] = False,
    replace: Replace = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help="Replay so many records at most.", metavar="N", show_default=False
        ),
    ] = None,
    examples: Annotated[
        int,
        typer.Option(min=0, max=100, help="Requests to show of each change.", metavar="N"),
    ] = 3,
    fail_on: Annotated[
        list[FailOn] | None,
        typer.Option(
            "--fail-on",
            help="What ends with exit code 6; any change unless given. more-allows: something is "
            "allowed sooner, or with fewer obligations. more-denies: the opposite. errors: a "
            "policy fails that did not, or there is no answer where there was one. none: nothing. "
            "skipped: what cannot be replayed ends with exit code 1. Repeatable.",
            metavar="WHAT",
            show_default=False,
        ),
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> int:
    """Show which answers would change if policies were published. Nothing is published.

    Recorded decisions are asked again, by the policies as they are and by those with the
    candidate; test cases of --cases likewise. What changes is grouped by the policy behind it and
    weighted by how many decisions were recorded. What cannot be asked again is counted, and never
    taken for unchanged.
    """
    stops = _stops(fail_on)
    if not (logs or cases):
        raise Failure("what to try it on? name a decision log with --log, or --cases", USAGE)
    with needs_extra("local", "impact"):
        from placet.cli.replay.impact_report import print_tried, to_document
        from placet.cli.replay.reading import wanted_records
        from placet.cli.replay.recordings import Recordings
        from placet.cli.replay.trying import Trial, try_candidate
    stable = _stable(base, tenant, address, timeout_s, server=server, platform=platform)
    recordings = Recordings(logs, wanted_records(tenant, since, until, limit)) if logs else None
    with terminal.working("reading"):
        candidate = read_policies(paths)
        case_folder = _read_cases(cases) if cases else None
    found = try_candidate(
        Trial(
            candidate=candidate,
            replaces_all=replace if replace is not None else all(path.is_dir() for path in paths),
            stable=stable,
            recordings=recordings,
            cases=case_folder,
            examples=examples,
        )
    )
    failed_on = [stop.value for stop in stops if _holds(stop, found)]
    if as_json:
        terminal.print_json(to_document(found, case_folder, failed_on))
    else:
        terminal.print_findings(found.warnings, candidate.texts)
        print_tried(found, case_folder)
    return _end(found, failed_on, as_json=as_json)


USAGE = ExitCode.USAGE


def _stops(fail_on: list[FailOn] | None) -> list[FailOn]:
    stops = fail_on or [FailOn.ANY]
    if FailOn.NONE in stops and len(set(stops)) > 1:
        raise Failure("`--fail-on none` goes with no other; leave one of them out", USAGE)
    return list(dict.fromkeys(stops))


def _stable(
    base: list[Path] | None,
    tenant: str,
    address: str,
    timeout_s: float,
    *,
    server: bool,
    platform: bool,
) -> Stable:
    from placet.cli.replay.trying import OnFolder, OnServer

    if bool(base) is server:
        raise Failure(
            "what is it to be compared with? name the policies as they are with --base, or say "
            "--server for what --tenant has there; one of the two",
            USAGE,
        )
    if not server:
        if platform:
            raise Failure(
                "`--platform` goes with --server; in folders, the layers of policies say it", USAGE
            )
        with terminal.working("reading"):
            return OnFolder(read_policies(base or []))
    if not tenant:
        raise Failure("`--server` needs `--tenant`: whose policies?", USAGE)
    return OnServer(address=address, tenant=tenant, is_platform=platform, timeout_s=timeout_s)


def _read_cases(paths: list[Path]) -> Folder:
    folder = read_folder(paths, with_cases=True)
    if not any(case_file.cases for case_file in folder.cases):
        named = ", ".join(f"`{path}`" for path in paths)
        raise Failure(
            f"there are no test cases in {named}; they are in folders `tests` and in files like "
            "orders_test.yaml",
            USAGE,
        )
    return folder


def _holds(stop: FailOn, found: Tried) -> bool:
    """Whether there is something of what a pipeline is to stop for."""
    impact, broken = found.impact, found.cases.broken
    changes = [case.change for case in broken if case.change is not None]
    match stop:
        case FailOn.ANY:
            return bool(impact.changed.decisions or broken)
        case FailOn.MORE_ALLOWS:
            return bool(impact.allows_more.decisions) or any(c.allows_more for c in changes)
        case FailOn.MORE_DENIES:
            return bool(impact.denies_more.decisions) or any(c.denies_more for c in changes)
        case FailOn.ERRORS:
            return bool(impact.fails_more.decisions) or any(c.fails_more for c in changes)
        case FailOn.SKIPPED:
            skipped = impact.masked_count.decisions + impact.unreadable + found.passed_over.broken
            return bool(skipped)
        case FailOn.NONE:
            return False


def _end(found: Tried, failed_on: list[str], *, as_json: bool) -> ExitCode:
    """Say what comes of it, and return how the command ends."""
    if not (found.impact.count.decisions or found.cases.tried):
        # A pipeline must not take that for "nothing changes".
        raise Failure(
            "nothing could be tried: no decision that can be replayed, and no case; "
            "--log, --tenant, --since and --until choose the records"
        )
    if not as_json:
        terminal.line("")
        terminal.line(_verdict(found, failed_on))
    if set(failed_on) - {FailOn.SKIPPED.value}:
        return ExitCode.CHANGED
    return ExitCode.FAILED if failed_on else ExitCode.OK


def _verdict(found: Tried, failed_on: list[str]) -> Text:
    if failed_on:
        return Text(f"fails on {', '.join(failed_on)}", "bold red")
    if found.impact.changed.decisions or found.cases.broken:
        return Text("answers change, but in no way that --fail-on names", "yellow")
    return Text("no answer changes", "green")
