"""Shows what log-only policies would have done: tables for people, a document for programs.

The document of `placet policy log-only --json`, fields of version 1:

=================  ===============================================================================
``version``        1
``decisions``      how many recorded decisions there are
``not_replayed``   of these, those that today's policies could not be asked about: what they read
                   is masked, or the request is refused
``policies``       for each: ``policy``; ``decisions`` it would have changed by what was recorded;
                   ``changes``: ``{"from", "to", "decisions"}``; ``first`` and ``last`` time;
                   ``subjects``, ``actions``, ``resources``: the most frequent, ``{"name",
                   "decisions"}``; ``examples``: ``{"time", "decision_id", "request", "outcome",
                   "would_be"}``; ``today``
``today``          null unless the policies were given: ``{"is_log_only", "in_scope", "matched",
                   "would_change"}``, in decisions, by the policies as they are today
``skipped``        ``unreadable``, ``broken`` lines, ``other_tenants``, ``other_times``
=================  ===============================================================================
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rich.text import Text

from placet.cli import terminal
from placet.cli.replay.log_only import Leading, Shadow, Shadows
from placet.cli.replay.outcomes import decisions, way_text
from placet.cli.replay.reading import (
    passed_over_to_json,
    print_passed_over,
    request_document,
    request_words,
)
from placet.cli.replay.recordings import PassedOver
from placet.cli.terminal import safe

VERSION = 1

# ---------------------------------------------------------------------------- for programs


def to_document(shadows: Shadows, passed: PassedOver, *, top: int) -> dict[str, Any]:
    """Return the report as the module describes it."""
    return {
        "version": VERSION,
        "decisions": shadows.decisions,
        "not_replayed": shadows.not_replayed,
        "policies": [_shadow(shadow, top) for shadow in shadows.all],
        "skipped": {"unreadable": shadows.unreadable, **passed_over_to_json(passed)},
    }


def _shadow(shadow: Shadow, top: int) -> dict[str, Any]:
    return {
        "policy": shadow.name._asdict(),
        "decisions": shadow.decisions,
        "changes": [
            {"from": before, "to": after, "decisions": count}
            for (before, after), count in sorted(shadow.ways.items())
        ],
        "first": shadow.first and shadow.first.isoformat(),
        "last": shadow.last and shadow.last.isoformat(),
        "subjects": _leading(shadow.subjects, top),
        "actions": _leading(shadow.actions, top),
        "resources": _leading(shadow.resources, top),
        "examples": [
            {
                "time": example.record.time.isoformat(),
                "decision_id": example.record.decision_id,
                "request": request_document(example.record),
                "outcome": example.outcome,
                "would_be": example.would_be,
            }
            for example in shadow.examples
        ],
        "today": None
        if shadow.is_there is None
        else {
            "is_log_only": shadow.is_there,
            "in_scope": shadow.in_scope,
            "matched": shadow.matched,
            "would_change": shadow.would_change,
        },
    }


def _leading(leading: Leading, top: int) -> list[dict[str, Any]]:
    return [{"name": name, "decisions": count} for name, count in leading.top(top)]


# ------------------------------------------------------------------------------ for people


def print_shadows(shadows: Shadows, passed: PassedOver, *, top: int) -> None:
    """Show the report."""
    print_passed_over(passed)
    if shadows.unreadable:
        records = terminal.counted(shadows.unreadable, "record says", "records say")
        terminal.note(f"{records} something this release does not know", style="yellow")
    if shadows.not_replayed:
        terminal.note(
            f"{decisions(shadows.not_replayed)} could not be put to the policies of today: what "
            "they read is masked, or the request is refused",
            style="yellow",
        )
    terminal.line(f"{decisions(shadows.decisions)} recorded")
    if not shadows.all:
        terminal.line("no log-only policy would have changed any of them")
    for shadow in shadows.all:
        terminal.line("")
        _print_shadow(shadow, top)


def _print_shadow(shadow: Shadow, top: int) -> None:
    layer = "" if shadow.name.layer == "TENANT" else f" ({shadow.name.layer.lower()})"
    head = Text.assemble((safe(shadow.name.policy_id), "bold"), (layer, "dim"), "  ")
    terminal.line(head.append_text(_verdict(shadow)))
    rows: list[tuple[str, Text | str]] = []
    if shadow.decisions:
        for way, count in sorted(shadow.ways.items(), key=lambda entry: -entry[1]):
            rows.append(("", way_text(*way, other="obligations").append(f"  {count:,}")))
        rows.append(("seen", f"{_time(shadow.first)} to {_time(shadow.last)}"))
        for what, leading in (
            ("subjects", shadow.subjects),
            ("actions", shadow.actions),
            ("resources", shadow.resources),
        ):
            if top:
                rows.append((what, _top(leading, top)))
        rows.extend(_examples(shadow))
    if shadow.is_there:
        rows.append(
            (
                "today",
                f"in scope of {decisions(shadow.in_scope)}, matches {shadow.matched:,}, would "
                f"change {shadow.would_change:,}",
            )
        )
    terminal.out().print(terminal.pairs(rows))


def _verdict(shadow: Shadow) -> Text:
    """Say in a few words whether enforcing it would be felt."""
    if shadow.is_there is False:
        return Text(f"would have changed {decisions(shadow.decisions)}; it is log-only no more")
    if shadow.decisions:
        return Text(f"would have changed {decisions(shadow.decisions)}", "yellow")
    if not shadow.in_scope:
        return Text("saw no traffic: these records say nothing about it", "magenta")
    if not shadow.matched:
        return Text("matched nothing", "magenta")
    if shadow.would_change:
        return Text("changed nothing so far, but would as it is today", "yellow")
    return Text("matched, and would have changed nothing", "green")


def _top(leading: Leading, top: int) -> str:
    about = "" if leading.is_exact else "about "
    return ", ".join(f"{name} ({about}{count:,})" for name, count in leading.top(top))


def _examples(shadow: Shadow) -> Iterable[tuple[str, Text | str]]:
    for number, example in enumerate(shadow.examples):
        subject, action, resource = map(safe, request_words(example.record))
        yield (
            "" if number else "examples",
            Text.assemble(
                (f"{_time(example.record.time)}  ", "dim"),
                f"{subject} ",
                (action, "bold"),
                f" {resource}  ",
                way_text(example.outcome, example.would_be, other="obligations"),
            ),
        )


def _time(moment: datetime | None) -> str:
    return moment.astimezone().isoformat(sep=" ", timespec="seconds") if moment else "never"
