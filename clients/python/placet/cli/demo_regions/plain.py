"""The demo as lines: what happens, how calls fare every few seconds, and a summary at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from placet.cli import terminal
from placet.cli.demo_regions.demo import Demo
from placet.cli.demo_regions.news import Line
from placet.cli.demo_regions.script import Done
from placet.cli.demo_regions.traffic import Totals

_EVERY_S = 5.0


def tell(line: Line) -> None:
    """Print what happened."""
    terminal.line(f"{line.at_s:7.2f}  {line.text}")


async def run(demo: Demo) -> None:
    """Tell how calls fare, again and again, until cancelled."""
    while True:
        await asyncio.sleep(_EVERY_S)
        total = demo.traffic.total
        if not total.calls + total.failed + total.nowhere:
            continue
        pace = demo.traffic.pace(time.monotonic())
        took = f"p50 {pace.p50_ms:.0f} ms, p99 {pace.p99_ms:.0f} ms" if pace.p99_ms else "no answer"
        demo.news.add(
            f"{pace.per_second:.0f} calls/s, {took}; {total.calls:,} answered, "
            f"{total.failed} failed, {total.misplaced} misplaced"
        )


def words(total: Totals) -> str:
    """Return what all calls came to, in words."""
    nowhere = f", {total.nowhere} had no node they may go to" if total.nowhere else ""
    placed = (
        f"{total.misplaced} answered where their tenant may not be"
        if total.misplaced
        else "none answered where its tenant may not be"
    )
    return f"{total.calls:,} answered, {total.failed} failed{nowhere}, {placed}"


def summary(total: Totals, done: Sequence[Done]) -> RenderableType:
    """Return what came of everything."""
    table = terminal.table("after", "calls", "failed", "slowest")
    for column in table.columns[1:]:
        column.justify = "right"
    for each in done:
        table.add_row(
            each.what + ("" if each.went_well else " (not everywhere)"),
            f"{each.calls:,}",
            str(each.failed),
            f"{each.longest_ms:.0f} ms",
        )
    errors = [
        Text(f"  {count} x {terminal.safe(error)}", "red")
        for error, count in total.errors.most_common(5)
    ]
    return Group(*((table, "") if done else ()), words(total), *errors)
