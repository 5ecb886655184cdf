"""Shows what a candidate changes: tables for people, a document for programs.

The document of `placet policy impact --json`, fields of version 1:

====================  ============================================================================
``version``           1
``revision``          of the server's policies that the candidate was tried on; null for a folder
``differing``         ``{"policies": [{"layer", "policy_id", "state"}], "other_items": bool}``:
                      each policy is ``added``, ``removed`` or ``changed``; ``other_items`` says
                      whether entities, schema or settings differ
``asked``             what was asked again: ``{"requests", "decisions"}``, the different requests
                      and the recorded decisions they stand for
``requests_exact``    false: some requests were counted more than once; decisions are right
``changed``           of these, those whose answer changes; likewise ``allows_more``,
                      ``denies_more`` and ``fails_more``
``changes``           the same by what changes: ``{"from", "to", "what", "requests",
                      "decisions"}``; outcomes, or ``NO_ANSWER``; ``what`` is ``outcome``, or lists
                      the parts of the answer that differ: ``obligations``, ``approval_groups``,
                      ``errors``, ``reasons``, ``messages``
``policies``          by the policy behind it: ``{"policy", "state", "requests", "decisions",
                      "changes"}``, each of the changes with ``examples``: ``{"decisions",
                      "request", "before", "after"}``. A change with several policies behind it
                      is with each of them. ``policy`` is null where no policy is: the schema or
                      the settings refuse a request, or do no longer
``log_only``          what the candidate's log-only policies would change: ``{"policy", "from",
                      "to", "requests", "decisions"}``
``drift``             decisions to which the stable answer is not the recorded one: ``{"from",
                      "to", "decisions"}``; the same outcome twice: something else differs
``skipped``           ``masked`` with its ``rules``, ``unreadable``, ``broken`` lines,
                      ``other_tenants``, ``other_times``
``cases``             ``held``, ``broken``, ``mended``, ``failing``, ``about_others``
``confirmed``         requests, all examples and some others, that the server answers the same way
``failed_on``         what of --fail-on holds
====================  ============================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.table import Table
from rich.text import Text

from placet.cli import terminal
from placet.cli._policy_test import failure_lines
from placet.cli.as_json import to_json
from placet.cli.folders import Folder
from placet.cli.replay.answers import Answer
from placet.cli.replay.case_impact import CaseImpact, CasesImpact
from placet.cli.replay.impact import Count, Example, Group, Impact, Way, by_weight
from placet.cli.replay.names import PolicyName
from placet.cli.replay.outcomes import decisions, requests, way_text
from placet.cli.replay.reading import (
    passed_over_to_json,
    print_passed_over,
    request_document,
    request_words,
)
from placet.cli.replay.trying import Tried
from placet.cli.suites import CaseResult
from placet.cli.terminal import safe

VERSION = 1

# ---------------------------------------------------------------------------- for programs


def to_document(found: Tried, cases: Folder | None, failed_on: Sequence[str]) -> dict[str, Any]:
    """Return what was found as the module describes it."""
    impact, states = found.impact, found.versions.states
    return {
        "version": VERSION,
        "revision": found.revision,
        "differing": {
            "policies": [
                {**name._asdict(), "state": state} for name, state in sorted(states.items())
            ],
            "other_items": not found.versions.only_policies_differ,
        },
        "asked": to_json(impact.count),
        "requests_exact": impact.requests_are_exact,
        "changed": to_json(impact.changed),
        "allows_more": to_json(impact.allows_more),
        "denies_more": to_json(impact.denies_more),
        "fails_more": to_json(impact.fails_more),
        "changes": [_way(way, count) for way, count in _ordered(impact.ways)],
        "policies": [_group(group, states) for group in by_weight(impact.groups)],
        "log_only": [
            {"policy": name._asdict(), "from": before, "to": after, **to_json(count)}
            for (name, before, after), count in sorted(impact.log_only.items())
        ],
        "drift": [
            {"from": before, "to": after, "decisions": decisions}
            for (before, after), decisions in sorted(impact.drift.items())
        ],
        "skipped": {
            "masked": {
                **to_json(impact.masked_count),
                "rules": [
                    {"rule": rule, "decisions": decisions}
                    for rule, decisions in sorted(impact.masked.items())
                ],
            },
            "unreadable": impact.unreadable,
            **passed_over_to_json(found.passed_over),
        },
        "cases": _cases(found.cases, cases),
        "confirmed": found.confirmed,
        "failed_on": list(failed_on),
    }


def _way(way: Way, count: Count) -> dict[str, Any]:
    before, after, what = way
    return {"from": before, "to": after, "what": list(what), **to_json(count)}


def _ordered(ways: Mapping[Way, Count]) -> list[tuple[Way, Count]]:
    return sorted(ways.items(), key=lambda entry: (-entry[1].decisions, entry[0]))


def _group(group: Group, states: Mapping[PolicyName, str]) -> dict[str, Any]:
    return {
        "policy": group.policy._asdict() if group.policy is not None else None,
        "state": _state(group, states),
        **to_json(group.count),
        "changes": [
            {
                **_way(way, count),
                "examples": [_example(example) for example in group.rows[way].heaviest()],
            }
            for way, count in _ordered({way: row.count for way, row in group.rows.items()})
        ],
    }


def _state(group: Group, states: Mapping[PolicyName, str]) -> str:
    return states.get(group.policy, "unchanged") if group.policy is not None else ""


def _example(example: Example) -> dict[str, Any]:
    return {
        "decisions": example.decisions,
        "request": request_document(example.record),
        "before": example.before.to_json(),
        "after": example.after.to_json(),
    }


def _cases(cases: CasesImpact, folder: Folder | None) -> dict[str, Any]:
    def listed(found: Iterable[CaseImpact]) -> list[dict[str, Any]]:
        return [
            {
                "name": one.case.name,
                "file": folder.shown(one.case.position.file) if folder else "",
                "line": one.case.position.line,
                "differences": [to_json(difference) for difference in one.fails],
                "actual": to_json(one.after),
            }
            for one in found
        ]

    return {
        "held": cases.held,
        "broken": listed(cases.broken),
        "mended": listed(cases.mended),
        "failing": listed(cases.failing),
        "about_others": cases.about_others,
    }


# ------------------------------------------------------------------------------ for people


def print_tried(found: Tried, cases: Folder | None) -> None:
    """Show what was found."""
    impact = found.impact
    print_passed_over(found.passed_over)
    _print_skipped(impact)
    _print_differing(found)
    if impact.count.decisions:
        _print_summary(impact)
    for group in by_weight(impact.groups):
        _print_group(group, found.versions.states)
    if sum(group.count.decisions for group in impact.groups.values()) > impact.changed.decisions:
        terminal.note("a change with several policies behind it is listed with each of them")
    _print_log_only(impact)
    _print_drift(impact)
    if cases is not None:
        _print_cases(found.cases, cases)
    if found.confirmed:
        terminal.note(f"the server was asked {requests(found.confirmed)} too, and says the same")


def _print_skipped(impact: Impact) -> None:
    if impact.unreadable:
        records = terminal.counted(impact.unreadable, "record has", "records have")
        terminal.note(f"{records} no request that a server would take", style="yellow")
    if not impact.masked_count.decisions:
        return
    terminal.note(
        f"{decisions(impact.masked_count.decisions)} cannot be replayed: policies read what is "
        "masked, or the request is refused with it",
        style="yellow",
    )
    for rule, count in sorted(impact.masked.items(), key=lambda entry: -entry[1]):
        terminal.note(f"  {rule}: {decisions(count)}", style="yellow")


def _print_differing(found: Tried) -> None:
    states = list(found.versions.states.values())
    parts = [
        f"{terminal.counted(states.count(state), 'policy', 'policies')} {state}"
        for state in ("added", "changed", "removed")
        if state in states
    ]
    if not found.versions.only_policies_differ:
        parts.append("entities, schema or settings differ")
    on = f" on top of revision {found.revision}" if found.revision is not None else ""
    terminal.line(f"the candidate{on}: {', '.join(parts) or 'nothing differs'}")


def _print_summary(impact: Impact) -> None:
    if not impact.requests_are_exact:
        terminal.note("so many different requests that some are counted more than once")
    terminal.line("")
    table = _counts("", [])
    _add(table, "asked again", impact.count, impact)
    _add(table, "answers that change", impact.changed, impact, style="bold")
    for way, count in _ordered(impact.ways):
        _add(table, Text("  ").append_text(_way_text(way)), count, impact)
    for what, count in (
        ("allow more than today", impact.allows_more),
        ("deny more than today", impact.denies_more),
        ("new errors", impact.fails_more),
    ):
        if count.decisions:
            _add(table, what, count, impact)
    terminal.out().print(table)


def _counts(title: str, more: Sequence[str]) -> Table:
    table = terminal.table(title, "requests", "decisions", "share", *more)
    for column in table.columns[1:4]:
        column.justify = "right"
    return table


def _add(table: Table, what: Text | str, count: Count, impact: Impact, *, style: str = "") -> None:
    share = count.decisions / impact.count.decisions
    table.add_row(what, f"{count.requests:,}", f"{count.decisions:,}", f"{share:.2%}", style=style)


def _way_text(way: Way) -> Text:
    before, after, what = way
    return way_text(before, after, other=", ".join(what).replace("_", " "))


def _print_group(group: Group, states: Mapping[PolicyName, str]) -> None:
    terminal.line("")
    if group.policy is None:
        head = Text("no policy: the schema or the settings", "bold")
    else:
        head = Text(safe(group.policy.policy_id), "bold")
        layer = "" if group.policy.layer == "TENANT" else f"{group.policy.layer.lower()}, "
        head.append(f" ({layer}{_state(group, states)})", "not bold dim")
    counts = f"{requests(group.count.requests)}, {decisions(group.count.decisions)}"
    terminal.line(head.append(f"  {counts}", "not bold"))
    table = terminal.table("change", "decisions", "for example", "today", "candidate")
    table.columns[1].justify = "right"
    for way, count in _ordered({way: row.count for way, row in group.rows.items()}):
        table.add_row(_way_text(way), f"{count.decisions:,}")
        for example in group.rows[way].heaviest():
            subject, action, resource = map(safe, request_words(example.record))
            table.add_row(
                "",
                Text(f"{example.decisions:,}", "dim"),
                Text.assemble(subject, (f" {action} ", "bold"), resource),
                _why(example.before, way),
                _why(example.after, way),
            )
    terminal.out().print(table)


def _why(answer: Answer, way: Way) -> Text:
    names = [safe(name.policy_id) for name in answer.reasons]
    text = Text(", ".join(names) or answer.cause.replace("_", " ").lower())
    if "messages" in way[2]:
        text.append(f" {safe('; '.join(filter(None, answer.messages)))}", "dim")
    if answer.obligations:
        text.append(f" obliges to {safe(', '.join(answer.obligations))}", "cyan")
    if answer.approval_groups:
        text.append(f" needs a yes of {safe(', '.join(answer.approval_groups))}", "yellow")
    if answer.errors:
        failed = ", ".join(safe(name.policy_id) for name in answer.errors)
        text.append(f" {failed} fails", "red")
    return text


def _print_log_only(impact: Impact) -> None:
    if not impact.log_only:
        return
    terminal.line("")
    table = terminal.table("log-only: would change, but does not count", "change", "decisions")
    table.columns[2].justify = "right"
    for (name, before, after), count in sorted(impact.log_only.items()):
        way = way_text(before, after, other="obligations")
        table.add_row(safe(name.policy_id), way, f"{count.decisions:,}")
    terminal.out().print(table)


def _print_drift(impact: Impact) -> None:
    if not impact.drift:
        return
    total = sum(impact.drift.values())
    terminal.line("")
    terminal.line(
        Text(
            f"today's policies or entities are not those of then: {decisions(total)} would come "
            "out otherwise already without the candidate",
            "yellow",
        )
    )
    for way, count in sorted(impact.drift.items(), key=lambda entry: -entry[1]):
        text = way_text(*way, other="reasons, obligations or errors")
        terminal.line(Text("  ").append_text(text).append(f"  {count:,}", "not bold"))


def _print_cases(cases: CasesImpact, folder: Folder) -> None:
    terminal.line("")
    for one in cases.broken:
        result = CaseResult(case=one.case, actual=one.after, differences=one.fails)
        for line in failure_lines(result, folder):
            terminal.line(line)
    for one in cases.mended:
        at = replace(one.case.position, file=folder.shown(one.case.position.file))
        terminal.line(Text.assemble(("pass ", "bold green"), safe(one.case.name), f"  {at.file}"))
    terminal.line(Text(", ").join(_case_counts(cases)))


def _case_counts(cases: CasesImpact) -> Iterator[Text]:
    total = terminal.counted(len(cases.tried), "case", "cases")
    yield Text(f"{total}: {cases.held} hold")
    for found, what, style in (
        (cases.broken, "hold today and would fail", "bold red"),
        (cases.mended, "fail today and would hold", "green"),
        (cases.failing, "fail either way", "yellow"),
    ):
        if found:
            yield Text(f"{len(found)} {what}", style)
    if cases.about_others:
        yield Text(f"{cases.about_others} bring their own policies and were left out", "dim")
