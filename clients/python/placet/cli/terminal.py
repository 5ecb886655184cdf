"""What the commands print on: consoles, colours, errors with the line they are about.

Answers go to standard output, everything else to standard error. Texts that come from files or
from a server are shown, never interpreted: no markup, no control characters.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from placet import Outcome
from placet.cli.findings import Finding, place

_PIPED_WIDTH = 120


def out() -> Console:
    """Return a console for answers."""
    return _console(stderr=False)


def err() -> Console:
    """Return a console for all that is not the answer."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        # Nobody has a window there that would be too narrow.
        console.width = _PIPED_WIDTH
    return console


def line(text: str | Text, *, style: str = "", to: Console | None = None) -> None:
    """Print a line that is not broken, so that it can be copied."""
    (to or out()).print(safe(text) if isinstance(text, str) else text, style=style, soft_wrap=True)


def note(text: str, *, style: str = "dim") -> None:
    """Print a line that is not the answer."""
    line(text, style=style, to=err())


def error(message: str) -> None:
    """Print what went wrong."""
    console = err()
    for part in message.split("\n"):
        line(Text.assemble(("error", "bold red"), ": ", safe(part)), to=console)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show on a terminal that something is being done; elsewhere, show nothing."""
    console = err()
    if not console.is_terminal:
        yield
        return
    with console.status(safe(what)):
        yield


def print_json(document: object) -> None:
    """Print a document for programs, on one line."""
    print(json.dumps(document, ensure_ascii=False), flush=True)


_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def safe(text: str) -> str:
    """Make control characters visible, so that a text cannot take over the terminal."""
    return _CONTROL.sub(lambda found: f"\\u{{{ord(found.group()):x}}}", text)


def counted(number: int, one: str, many: str) -> str:
    """Write a number of things."""
    return f"{number} {one if number == 1 else many}"


OUTCOME_STYLES: Mapping[Outcome, str] = {
    Outcome.ALLOW: "bold green",
    Outcome.DENY: "bold red",
    Outcome.REQUIRES_APPROVAL: "bold yellow",
}


def outcome_text(outcome: Outcome) -> Text:
    """Return an outcome in words and colour."""
    return Text(outcome.name.replace("_", " "), OUTCOME_STYLES[outcome])


def table(*columns: str) -> Table:
    """Return an empty table. What does not fit is folded, never cut."""
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        grid.add_column(column, overflow="fold")
    return grid


def pairs(rows: Iterable[tuple[str, Text | str]]) -> Table:
    """Return names and what belongs to them, one below the other."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(name, safe(value) if isinstance(value, str) else value)
    return grid


# ------------------------------------------------------------------------------- findings


def print_findings(findings: Sequence[Finding], texts: Mapping[str, tuple[str, str]]) -> None:
    """Print findings, each with the line it is about.

    Args:
        findings: what to print.
        texts: for each file as a finding names it, its path as people open it and its text.
    """
    console = err()
    for finding in findings:
        at = finding.position
        shown, text = texts.get(at.file, (at.file, ""))
        where = place(type(at)(file=shown, line=at.line, column=at.column))
        kind = ("warning", "bold yellow") if finding.is_warning else ("error", "bold red")
        head = [Text(f"{safe(where)}: ", "bold")] if where else []
        line(Text.assemble(*head, kind, f": {safe(finding.message)}"), to=console)
        for part in _excerpt(text, at.line, at.column):
            line(part, to=console)


def _excerpt(text: str, number: int, column: int) -> list[Text]:
    """Return the line a finding is about, and a caret below the place."""
    lines = text.split("\n")
    if not 1 <= number <= len(lines):
        return []
    source = safe(lines[number - 1].replace("\t", " ").rstrip())
    margin = f"{number:>5} | "
    shown = [Text(f"{margin}{source}", "dim")]
    if column:
        indent = cell_len(source[: column - 1])
        shown.append(Text(" " * 5 + " | " + " " * indent + "^", "bold red"))
    return shown
