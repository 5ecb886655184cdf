"""Writes outcomes, how they change, and numbers of decisions."""

from __future__ import annotations

from rich.text import Text

from placet import Outcome
from placet.cli import terminal


def outcome_text(outcome: str) -> Text:
    """Return an outcome by its name, in words and colour."""
    known = Outcome.__members__.get(outcome)
    if known is None:
        return Text("NO ANSWER", "bold magenta")
    return terminal.outcome_text(known)


def way_text(before: str, after: str, *, other: str) -> Text:
    """Return from which outcome to which; ``other`` says what changes when it stays."""
    if before != after:
        return Text.assemble(outcome_text(before), " -> ", outcome_text(after))
    return Text.assemble(outcome_text(before), f", other {other}")


def decisions(count: int) -> str:
    """Write a number of decisions."""
    return f"{count:,} decision{'' if count == 1 else 's'}"


def requests(count: int) -> str:
    """Write a number of requests."""
    return f"{count:,} request{'' if count == 1 else 's'}"
