"""Watching one rollout to its end: a view on a terminal, lines elsewhere, JSON for programs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Annotated, TypeAlias

import typer
from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from placet import Client, Rollout, RolloutState
from placet.cli import rollouts, terminal
from placet.cli.failures import ExitCode

Plain: TypeAlias = Annotated[
    bool, typer.Option("--plain", help="Lines, as without a terminal, rather than a live view.")
]

# A line as often as this tells that all goes on as it was; what is news comes at once.
_LINE_EVERY_S = 30.0


def follow(client: Client, rollout: Rollout, *, plain: bool, as_json: bool) -> ExitCode:
    """Show a rollout until it has ended, or until Ctrl-C; return what became of it."""
    last = rollout
    try:
        with closing(client.watch_rollout(rollout.id, tenant=rollout.tenant)) as seen:
            for seen_last in _shown(seen, plain=plain, as_json=as_json):
                last = seen_last
    except KeyboardInterrupt:
        if not as_json:
            _tell_interrupted(last)
        return ExitCode.UNDECIDED
    if not as_json:
        terminal.note(rollouts.advice(last))
    return ExitCode.OK if last.state is RolloutState.COMPLETED else ExitCode.ROLLED_BACK


def _tell_interrupted(rollout: Rollout) -> None:
    again = f"placet rollout watch {rollout.id} {rollouts.tenant_option(rollout.tenant)}"
    terminal.note(f"the rollout goes on without being watched; `{again}` watches it again")


def _shown(seen: Iterator[Rollout], *, plain: bool, as_json: bool) -> Iterator[Rollout]:
    if as_json:
        return _as_documents(seen)
    if plain or not terminal.out().is_terminal:
        return _as_lines(seen)
    return _as_view(seen)


def _as_documents(seen: Iterator[Rollout]) -> Iterator[Rollout]:
    for rollout in seen:
        terminal.print_json(rollouts.rollout_to_json(rollout))
        yield rollout


def _as_lines(seen: Iterator[Rollout]) -> Iterator[Rollout]:
    told: tuple[object, ...] = ()
    told_at_s = 0.0
    for rollout in seen:
        now_s = time.monotonic()
        if rollouts.milestone(rollout) != told or now_s - told_at_s >= _LINE_EVERY_S:
            told, told_at_s = rollouts.milestone(rollout), now_s
            terminal.line(rollouts.line(rollout))
        if rollout.rollback is not None:
            terminal.out().print(rollouts.report(rollout, rollout.rollback))
        yield rollout


def _as_view(seen: Iterator[Rollout]) -> Iterator[Rollout]:
    """Draw it over and over: what came last, with the time that has passed since."""
    last: tuple[Rollout, float] | None = None

    def drawn() -> RenderableType:
        if last is None:
            return Text("waiting for the server", "dim")
        rollout, at_s = last
        since = timedelta(seconds=time.monotonic() - at_s)
        # By the server's clock, since it is the server that keeps the time.
        now = rollout.server_time + since if rollout.server_time is not None else None
        return rollouts.view(rollout, now)

    with Live(get_renderable=drawn, console=terminal.out(), refresh_per_second=2) as live:
        for rollout in seen:
            last = rollout, time.monotonic()
            live.refresh()
            yield rollout
