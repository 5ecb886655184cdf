"""``placet policy test``: run test cases, in this process or against a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from placet import Decision
from placet.cli import terminal
from placet.cli.as_json import to_json
from placet.cli.cases import CaseFile
from placet.cli.decisions import cause_in_words, reason_text
from placet.cli.extras import needs_extra
from placet.cli.failures import ExitCode, Failure
from placet.cli.findings import place
from placet.cli.folders import Folder, read_folder
from placet.cli.judges import LocalJudge, ServerJudge
from placet.cli.junit import to_junit
from placet.cli.options import (
    DEFAULT_ADDRESS,
    MANAGING_TIMEOUT_S,
    Address,
    Json,
    Paths,
    Tenant,
    Timeout,
    connected,
)
from placet.cli.suites import CaseResult, Report, run_suites
from placet.cli.terminal import safe


def run_tests(
    paths: Paths,
    server: Annotated[
        bool,
        typer.Option(
            "--server",
            help="Let a server decide, as if the policies were published for --tenant. Without "
            "any policies: what the tenant has now.",
        ),
    ] = False,
    only: Annotated[
        str, typer.Option("--only", help="Only cases whose name has this in it.", metavar="TEXT")
    ] = "",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Name every case.")] = False,
    junit: Annotated[
        Path | None, typer.Option(help="Write a JUnit report as well.", metavar="FILE")
    ] = None,
    fail_on_uncovered: Annotated[
        bool,
        typer.Option(
            "--fail-on-uncovered", help="Fail when a policy matches in none of the cases."
        ),
    ] = False,
    tenant: Tenant = "",
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> int:
    """Run test cases: requests, and what they must come to.

    They are in folders `tests`, and in files such as orders_test.yaml, beside the policies they
    are about. Nothing is published.
    """
    if server and not tenant:
        raise Failure("`--server` needs `--tenant`: as whose policies?", ExitCode.USAGE)
    folder = read_folder(paths, with_cases=True)
    case_files = _chosen(folder, only, paths, server=server)
    total = sum(len(case_file.cases) for case_file in case_files)
    with folder.quoting(), _progress(total) as on_decided:
        if server:
            with connected(address, tenant=tenant, timeout_s=timeout_s) as client:
                report = run_suites(
                    case_files,
                    folder.documents,
                    lambda documents: ServerJudge(client, documents),
                    on_decided=on_decided,
                )
        else:
            with needs_extra("local", "testing without --server"):
                report = run_suites(case_files, folder.documents, LocalJudge, on_decided=on_decided)
    if only:
        # Who runs a few cases does not want to hear what they leave out.
        report = replace(report, uncovered=())
    if junit is not None:
        _write(junit, to_junit(report, fail_on_uncovered=fail_on_uncovered))
    if as_json:
        terminal.print_json(report_to_json(report, folder))
    else:
        print_report(report, folder, verbose=verbose)
    uncovered = fail_on_uncovered and report.uncovered
    return ExitCode.FAILED if report.failures or uncovered else ExitCode.OK


def _chosen(folder: Folder, only: str, paths: Sequence[Path], *, server: bool) -> list[CaseFile]:
    """Return the cases to run; say what is missing when there are none."""
    chosen = [
        replace(
            case_file,
            cases=tuple(case for case in case_file.cases if only.lower() in case.name.lower()),
        )
        for case_file in folder.cases
    ]
    chosen = [case_file for case_file in chosen if case_file.cases]
    named = ", ".join(f"`{path}`" for path in paths)
    if not chosen:
        what = (
            f"no case has `{only}` in its name" if only else f"there are no test cases in {named}"
        )
        where = "they are in folders `tests` and in files like orders_test.yaml"
        raise Failure(f"{what}; {where}", ExitCode.USAGE)
    lacking = [case_file.file for case_file in chosen if not case_file.stands_alone]
    has_policies = folder.documents.policies or folder.documents.links
    if lacking and not has_policies and not server:
        raise Failure(
            f"there are no policies in {named} for `{lacking[0]}` to be about; name their folder "
            "as well, or ask for the published ones with --server",
            ExitCode.USAGE,
        )
    return chosen


_WORTH_A_BAR = 50


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    console = terminal.err()
    if not console.is_terminal or total < _WORTH_A_BAR:
        yield lambda count: None
        return
    columns = (TextColumn("deciding"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda count: progress.advance(task, count)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise Failure(f"`{path}` cannot be written: {error.strerror}", ExitCode.USAGE) from error


# ------------------------------------------------------------------------------ for people


def print_report(report: Report, folder: Folder, *, verbose: bool) -> None:
    """Print what cases came to, failures with their differences."""
    summary = terminal.table("file", "passed", "failed")
    for suite in report.suites:
        failed = len(suite.failures)
        summary.add_row(
            safe(folder.shown(suite.file)),
            str(len(suite.results) - failed),
            Text(str(failed), "bold red" if failed else "dim"),
        )
    terminal.out().print(summary)
    if verbose:
        for result in (result for suite in report.suites for result in suite.results):
            mark = Text("pass", "green") if result.passed else Text("FAIL", "bold red")
            terminal.line(Text.assemble(mark, f"  {safe(result.case.name)}"))
    for failure in report.failures:
        terminal.line("")
        for line in failure_lines(failure, folder):
            terminal.line(line)
    if report.uncovered:
        terminal.line("")
        terminal.line(Text("no case is about", "yellow"))
        for policy in report.uncovered:
            where = place(replace(policy.position, file=folder.shown(policy.position.file)))
            terminal.line(f"  {policy.policy_id}  {where}".rstrip())
    terminal.line("")
    terminal.line(_verdict(report))


def failure_lines(failure: CaseResult, folder: Folder) -> Iterator[Text]:
    """Draw a case that came out otherwise than it must."""
    at = replace(failure.case.position, file=folder.shown(failure.case.position.file))
    yield Text.assemble(("FAIL ", "bold red"), (safe(failure.case.name), "bold"))
    yield Text(f"  {safe(place(at))}", "cyan")
    for difference in failure.differences:
        yield Text(f"  {difference.field}")
        yield Text(f"    - {safe(difference.expected)}", "green")
        yield Text(f"    + {safe(difference.actual)}", "red")
    if isinstance(failure.actual, Decision):
        yield Text(f"  because {cause_in_words(failure.actual)}", "dim")
        for reason in failure.actual.reasons:
            yield Text("    ").append_text(reason_text(reason))
        for error in failure.actual.errors:
            yield Text(safe(f"    {error.policy_id}: {error.message}"), "red")


def _verdict(report: Report) -> Text:
    failed = len(report.failures)
    text = Text(f"{report.passed} passed", "bold green" if not failed else "bold")
    if failed:
        text.append(f", {failed} failed", "bold red")
    if report.uncovered:
        count = terminal.counted(len(report.uncovered), "policy", "policies")
        text.append(f", {count} not covered", "yellow")
    return text.append(f" in {report.duration_s:.2f} s", "not bold dim")


# ---------------------------------------------------------------------------- for programs


def report_to_json(report: Report, folder: Folder) -> dict[str, Any]:
    """Return what cases came to as a document."""
    return {
        "passed": report.passed,
        "failed": len(report.failures),
        "suites": [
            {
                "file": folder.shown(suite.file),
                "cases": [_result_to_json(result) for result in suite.results],
            }
            for suite in report.suites
        ],
        "uncovered": [
            {
                "policy_id": policy.policy_id,
                "file": folder.shown(policy.position.file),
                "line": policy.position.line,
            }
            for policy in report.uncovered
        ],
    }


def _result_to_json(result: CaseResult) -> dict[str, Any]:
    return {
        "name": result.case.name,
        "line": result.case.position.line,
        "passed": result.passed,
        "differences": [to_json(difference) for difference in result.differences],
        "actual": to_json(result.actual),
    }
