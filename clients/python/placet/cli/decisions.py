"""Draws decisions for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from placet import (
    Cause,
    Decision,
    DecisionError,
    EntityRef,
    Layer,
    Reason,
    Request,
)
from placet.cli import terminal
from placet.cli.requests import parts
from placet.cli.terminal import OUTCOME_STYLES, outcome_text, safe

_CAUSES = {
    Cause.PERMITTED: "a permit matched and nothing forbade",
    Cause.NO_PERMIT: "no permit matched",
    Cause.FORBIDDEN: "a policy forbids it",
    Cause.FORBID_ERROR: "a forbid could not be evaluated, and doubt denies",
    Cause.APPROVAL_NEEDED: "every permit that matched asks for an approval",
    Cause.APPROVED: "the approval it asks for was given",
    Cause.UNKNOWN: "for a reason this version does not know",
}


def cause_in_words(decision: Decision) -> str:
    """Say which rule led to the outcome."""
    return _CAUSES[decision.cause]


def request_text(request: Request) -> Text:
    """Write who wants which action on what."""
    subject, action, resource = parts(request)
    who, to = EntityRef(subject.type, subject.id), EntityRef(resource.type, resource.id)
    return Text.assemble(safe(str(who)), (f" {safe(action.name)} ", "bold"), safe(str(to)))


def panel(request: Request, decision: Decision) -> Panel:
    """Draw one decision."""
    return Panel.fit(
        terminal.pairs(_rows(request, decision)),
        title=outcome_text(decision.outcome),
        title_align="left",
        border_style=OUTCOME_STYLES[decision.outcome].removeprefix("bold "),
    )


def _rows(request: Request, decision: Decision) -> Iterator[tuple[str, Text | str]]:
    yield "request", request_text(request)
    yield "cause", cause_in_words(decision)
    if decision.reasons:
        yield "reasons", Text("\n").join(reason_text(reason) for reason in decision.reasons)
    if decision.approval_groups:
        yield "needs a yes of", ", ".join(decision.approval_groups)
    if decision.obligations:
        yield "obligations", "\n".join(decision.obligations)
    for failed in decision.errors:
        yield "error", Text(safe(f"{failed.policy_id}: {failed.message}"), "red")
    if decision.log_only is not None:
        ids = ", ".join(reason.policy_id for reason in decision.log_only.reasons)
        would = decision.log_only.outcome.name.replace("_", " ")
        yield "log-only", f"{ids} would have made it {would}"
    yield "revision", f"{decision.revision}, known current {_ago(decision.staleness)}"
    by = f"{decision.decision_id} by {decision.node} in {decision.region}"
    yield "decision", f"{by}, from the cache" if decision.cached else by


def reason_text(reason: Reason) -> Text:
    """Write one policy that determined an outcome, and what it says."""
    text = Text(safe(reason.policy_id), "bold")
    if reason.layer not in (Layer.TENANT, Layer.UNSPECIFIED):
        text.append(f" ({reason.layer.name.lower()})", "not bold dim")
    if reason.message:
        text.append(f"  {safe(reason.message)}", "not bold")
    return text


def _ago(staleness: timedelta) -> str:
    seconds = staleness.total_seconds()
    return f"{seconds * 1000:.0f} ms ago" if seconds < 1 else f"{seconds:.1f} s ago"


def overview(requests: Sequence[Request], results: Sequence[Decision | DecisionError]) -> Table:
    """Draw many decisions, one a line."""
    table = terminal.table("outcome", "request", "why")
    for request, result in zip(requests, results, strict=True):
        if isinstance(result, DecisionError):
            why = Text(safe(f"{result.reason}: {result.message}"))
            table.add_row(Text("NOT DECIDED", "bold magenta"), request_text(request), why)
        else:
            table.add_row(outcome_text(result.outcome), request_text(request), why_text(result))
    return table


def why_text(decision: Decision) -> Text:
    """Say on one line how a decision came about."""
    if not decision.reasons:
        return Text(cause_in_words(decision))
    text = Text("; ").join(reason_text(reason) for reason in decision.reasons)
    if decision.approval_groups:
        text.append(f"  needs a yes of {safe(', '.join(decision.approval_groups))}", "yellow")
    if decision.obligations:
        text.append(f"  obliges to {safe(', '.join(decision.obligations))}", "cyan")
    return text
