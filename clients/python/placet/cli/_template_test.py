"""``placet template test``: the cases that ship with templates, in this process."""

from __future__ import annotations

from typing import Annotated

import typer

from placet import templates
from placet.cli import terminal
from placet.cli._policy_test import print_report, report_to_json
from placet.cli.applications import named, with_cases
from placet.cli.completing import template_names
from placet.cli.contents import Documents
from placet.cli.extras import needs_extra
from placet.cli.failures import ExitCode
from placet.cli.folders import Folder
from placet.cli.judges import LocalJudge
from placet.cli.options import Json
from placet.cli.suites import run_suites


def run_template_tests(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Which templates; all of them unless named.",
            metavar="NAME...",
            autocompletion=template_names,
            show_default=False,
        ),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Name every case.")] = False,
    as_json: Json = False,
) -> int:
    """Run the test cases that ship with templates, the parameters' examples filled in."""
    chosen = dict.fromkeys(names or templates.names())
    folders = [with_cases(named(name)) for name in chosen]
    case_files = [case_file for folder in folders for case_file in folder.cases]
    texts = {name: text for folder in folders for name, text in folder.texts.items()}
    folder = Folder(documents=Documents(), cases=tuple(case_files), texts=texts)
    with folder.quoting(), needs_extra("local", "testing templates"):
        report = run_suites(case_files, folder.documents, LocalJudge)
    if as_json:
        terminal.print_json(report_to_json(report, folder))
    else:
        print_report(report, folder, verbose=verbose)
    return ExitCode.FAILED if report.failures else ExitCode.OK
