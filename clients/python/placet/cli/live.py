"""Views that go on: drawn over on a terminal, one below the other elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypeAlias, TypeVar

import typer
from rich.console import RenderableType
from rich.live import Live

from placet.cli import terminal

T = TypeVar("T")

Watch: TypeAlias = Annotated[
    bool, typer.Option("--watch", "-w", help="Go on showing it, until Ctrl-C.")
]
Interval: TypeAlias = Annotated[
    float,
    typer.Option("--interval", min=0.1, help="With --watch: how often, in seconds.", metavar="S"),
]


def asked_again(ask: Callable[[], T], interval_s: float) -> Iterator[T]:
    """Yield what is answered, again and again."""
    while True:
        yield ask()
        time.sleep(interval_s)


def show(
    report: T,
    *,
    view: Callable[[T], RenderableType],
    document: Callable[[T], Any],
    as_json: bool,
) -> None:
    """Print a report once, for people or for programs."""
    if as_json:
        terminal.print_json(document(report))
    else:
        terminal.out().print(view(report))


def show_on(
    reports: Iterator[T],
    *,
    view: Callable[[T], RenderableType],
    document: Callable[[T], Any],
    as_json: bool,
) -> None:
    """Print each report as it comes; for programs, one document a line."""
    console = terminal.out()
    if as_json or not console.is_terminal:
        for report in reports:
            show(report, view=view, document=document, as_json=as_json)
        return
    with Live(console=console, auto_refresh=False) as live:
        for report in reports:
            live.update(view(report), refresh=True)
