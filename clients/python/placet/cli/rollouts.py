"""Draws rollouts: how one fares, in a view or a line, and why one was undone."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from placet import (
    Canary,
    ChangedAnswer,
    Decision,
    DecisionError,
    Entity,
    EntityRef,
    GuardKind,
    GuardReading,
    GuardStatus,
    RollbackCause,
    RollbackReport,
    Rollout,
    RolloutPlan,
    RolloutState,
)
from placet._values import Attributes
from placet.cli import terminal
from placet.cli.amounts import duration_text, moment_text, percent_text
from placet.cli.as_json import entity_to_json, to_json
from placet.cli.requests import parts
from placet.cli.rollout_plans import guard_word, plan_text
from placet.cli.terminal import counted, safe

_STATE_STYLES = {
    RolloutState.SCHEDULED: "bold yellow",
    RolloutState.AWAITING_APPROVAL: "bold yellow",
    RolloutState.RUNNING: "bold cyan",
    RolloutState.PAUSED: "bold yellow",
    RolloutState.COMPLETED: "bold green",
    RolloutState.ROLLED_BACK: "bold red",
    RolloutState.UNKNOWN: "bold",
}
_STATUS_STYLES = {
    GuardStatus.WAITING: "yellow",
    GuardStatus.HOLDS: "green",
    GuardStatus.BREACHED: "bold red",
    GuardStatus.UNKNOWN: "",
}
_BAR_CELLS = 24


def state_word(state: RolloutState) -> str:
    """Return a state in words."""
    return state.name.lower().replace("_", " ")


def state_text(state: RolloutState) -> Text:
    """Return a state in words and colour."""
    return Text(state_word(state), _STATE_STYLES[state])


def whose(tenant: str) -> str:
    """Name whose policies it is about."""
    return f"tenant `{tenant}`" if tenant else "the platform"


def tenant_option(tenant: str) -> str:
    """Return what says in a command whose policies it is about."""
    return f"-t {shlex.quote(tenant)}" if tenant else "--platform"


# ------------------------------------------------------------------------------- the view


def view(rollout: Rollout, now: datetime | None = None) -> RenderableType:
    """Draw all there is to know of a rollout.

    Args:
        rollout: as it was read.
        now: the server's time, where it is known.
    """
    drawn: list[RenderableType] = [terminal.pairs(_rows(rollout, now or datetime.now(UTC)))]
    if rollout.readings:
        drawn += [Text(), _guards(rollout)]
    if rollout.rollback is not None:
        drawn += [Text(), report(rollout, rollout.rollback)]
    return Group(*drawn)


def _rows(rollout: Rollout, now: datetime) -> Iterator[tuple[str, Text | str]]:
    named = Text.assemble((rollout.id, "bold"), f" of {whose(rollout.tenant)}: ")
    yield "rollout", named.append_text(state_text(rollout.state))
    by = f" by {rollout.author}" if rollout.author else ""
    yield "started", f"{moment_text(rollout.create_time)}{by}"
    if rollout.message:
        yield "why", rollout.message
    yield "plan", plan_text(rollout.plan)
    if rollout.approver:
        yield "approved by", rollout.approver
    yield "revisions", f"stable {rollout.stable_revision}, candidate {rollout.candidate_revision}"
    yield "share", _bar(rollout.share_percent)
    if not rollout.state.is_final:
        yield "step", f"{_step_text(rollout.step, rollout.plan)}, {_next_text(rollout, now)}"
        yield "nodes", nodes_text(rollout)


def _bar(share_percent: int) -> Text:
    filled = round(share_percent / 100 * _BAR_CELLS)
    return Text.assemble(
        ("━" * filled, "green"),
        ("━" * (_BAR_CELLS - filled), "dim"),
        f" {percent_text(share_percent)}",
    )


def _step_text(step: int, plan: RolloutPlan) -> str:
    return f"{step + 1} of {plan.step_count}"


def nodes_text(rollout: Rollout) -> str:
    """Say how many nodes made what of the candidate."""
    nodes = rollout.nodes
    return f"{nodes.acknowledged} acknowledged, {nodes.pending} pending, {nodes.rejected} rejected"


def _next_text(rollout: Rollout, now: datetime) -> str:
    """Say what a rollout waits for."""
    match rollout.state:
        case RolloutState.AWAITING_APPROVAL:
            return "waits for an approval"
        case RolloutState.PAUSED:
            return "held until somebody resumes it"
    if rollout.next_step_time is None:
        return "nothing is due"
    left = rollout.next_step_time - now
    if left.total_seconds() > 0:
        what = "begins" if rollout.state is RolloutState.SCHEDULED else "next"
        return f"{what} in {duration_text(left)}"
    waiting = [
        f"samples for {guard_word(reading.guard.kind)}"
        for reading in rollout.readings
        if reading.status is GuardStatus.WAITING and not reading.guard.disabled
    ]
    if rollout.nodes.pending:
        waiting.append(counted(rollout.nodes.pending, "node", "nodes"))
    return f"waits for {', '.join(waiting)}" if waiting else "next is due"


def _guards(rollout: Rollout) -> Table:
    table = terminal.table("guard", "measured", "bound", "samples", "status")
    for column in table.columns[1:4]:
        column.justify = "right"
    for reading in rollout.readings:
        guard = reading.guard
        bound = _amount(guard.kind, guard.threshold) if guard.threshold is not None else "-"
        status = _status_text(reading)
        if guard.kind is GuardKind.DENY_RATE_CHANGE and reading.samples:
            rates = f"  {_rate(reading.stable_rate)} -> {_rate(reading.candidate_rate)}"
            status.append(rates, "not bold dim")
        table.add_row(
            guard_word(guard.kind),
            _amount(guard.kind, reading.measured),
            bound,
            _samples_text(reading),
            status,
        )
    return table


def _status_text(reading: GuardReading) -> Text:
    text = Text(reading.status.name.lower(), _STATUS_STYLES[reading.status])
    return text.append(", not enforced", "not bold dim") if reading.guard.disabled else text


def _samples_text(reading: GuardReading) -> str:
    if reading.guard.kind is GuardKind.REJECTIONS:
        return "-"
    if reading.status is GuardStatus.WAITING:
        return f"{reading.samples:,} of {reading.guard.min_samples:,}"
    return f"{reading.samples:,}"


def _amount(kind: GuardKind, amount: float) -> str:
    """Write a measurement, or its bound, in the unit people think in."""
    match kind:
        case GuardKind.ERROR_RATE:
            return f"{_rate(amount)}"
        case GuardKind.DENY_RATE_CHANGE:
            return f"{_rate(amount).removesuffix(' %')} points"
        case GuardKind.LATENCY:
            return f"{amount * 1000:.3g} ms"
        case _:
            return f"{amount:g}"


def _rate(rate: float) -> str:
    """Write a ratio in percent, to a tenth."""
    return f"{rate * 100:.1f} %"


# -------------------------------------------------------------------------------- a line


def line(rollout: Rollout) -> str:
    """Say in a line how a rollout stands, for where nothing can be drawn over."""
    time = rollout.server_time or rollout.update_time
    told = [time.astimezone().strftime("%H:%M:%S"), state_word(rollout.state)]
    if rollout.state.is_final:
        return " ".join(told)
    told.append(f"at {percent_text(rollout.share_percent)},")
    told.append(f"step {_step_text(rollout.step, rollout.plan)}, {_next_text(rollout, time)};")
    told += [f"{_reading_text(reading)};" for reading in rollout.readings]
    told.append(f"nodes {nodes_text(rollout)}")
    return " ".join(told)


def _reading_text(reading: GuardReading) -> str:
    kind = reading.guard.kind
    name = f"{guard_word(kind)} {_amount(kind, reading.measured)}"
    status = _status_text(reading).plain
    waits = reading.status is GuardStatus.WAITING
    return f"{name} {status}" + (f" ({_samples_text(reading)})" if waits else "")


def milestone(rollout: Rollout) -> tuple[object, ...]:
    """Return what a watcher wants to hear of at once when it changes."""
    statuses = tuple((reading.guard.kind, reading.status) for reading in rollout.readings)
    return rollout.state, rollout.step, statuses, rollout.nodes


def summary(rollout: Rollout) -> str:
    """Say in a sentence where a rollout stands."""
    text = f"rollout {rollout.id} of {whose(rollout.tenant)} is {state_word(rollout.state)}"
    if rollout.state in (RolloutState.RUNNING, RolloutState.PAUSED):
        step = _step_text(rollout.step, rollout.plan)
        return f"{text} at {percent_text(rollout.share_percent)}, step {step}"
    if rollout.state is RolloutState.COMPLETED:
        return f"{text}: what was revision {rollout.candidate_revision} decides everything"
    if rollout.state is RolloutState.ROLLED_BACK:
        return f"{text}: revision {rollout.stable_revision} decides everything"
    return text


def advice(rollout: Rollout) -> str:
    """Name the command to try next."""
    option = tenant_option(rollout.tenant)
    match rollout.state:
        case RolloutState.AWAITING_APPROVAL:
            return f"somebody else approves it: `placet rollout approve {rollout.id} {option}`"
        case RolloutState.PAUSED:
            return f"let it go on: `placet rollout resume {rollout.id} {option}`"
        case RolloutState.COMPLETED:
            restore = f"placet rollout start --restore {rollout.stable_revision} {option}"
            return f"to undo it: `{restore}`"
        case RolloutState.ROLLED_BACK:
            return _advice_after(rollout, option)
        case _:
            return f"follow it: `placet rollout watch {rollout.id} {option}`"


def _advice_after(rollout: Rollout, option: str) -> str:
    breach = rollout.rollback.breach if rollout.rollback else None
    again = f"placet rollout start PATH... {option}"
    if breach is None:
        return f"to try again: `{again}`"
    kind = breach.guard.kind
    if kind is GuardKind.REJECTIONS:
        return f"see which nodes are behind: `placet rollout nodes {option}`"
    bounds = {
        GuardKind.LATENCY: f"{math.ceil(breach.measured * 1000)}ms",
        GuardKind.ERROR_RATE: f"{math.ceil(round(breach.measured * 100, 6))}%",
        GuardKind.DENY_RATE_CHANGE: f"{math.ceil(round(breach.measured * 100, 6))}%",
    }
    if kind not in bounds:
        return f"to try again: `{again}`"
    return f"if that is meant: `{again} --guard {guard_word(kind)}={bounds[kind]}`"


# -------------------------------------------------------------------------------- reports


def report(rollout: Rollout, rollback: RollbackReport) -> RenderableType:
    """Draw why a rollout was undone."""
    step = _step_text(rollback.step, rollout.plan)
    where = f"at {percent_text(rollback.share_percent)}, step {step}"
    drawn: list[RenderableType] = [
        Text.assemble(
            ("rolled back", _STATE_STYLES[RolloutState.ROLLED_BACK]),
            f" {where}, {moment_text(rollback.time)}: {safe(cause_in_words(rollback))}",
        )
    ]
    if rollback.examples:
        drawn += [Text(), _examples(rollback)]
    if rollback.rejections:
        drawn += [Text(), _rejections(rollback)]
    return Group(*drawn)


def cause_in_words(rollback: RollbackReport) -> str:
    """Say what undid a rollout, with the numbers."""
    match rollback.cause:
        case RollbackCause.GUARD if rollback.breach is not None:
            kind = guard_word(rollback.breach.guard.kind)
            return f"the guard on {kind} was breached: {_breach_in_words(rollback.breach)}"
        case RollbackCause.PERSON:
            who = rollback.actor or "somebody who did not say who they are"
            return f"by {who}" + (f", who says: {rollback.message}" if rollback.message else "")
        case RollbackCause.NOT_APPROVED:
            return "nobody approved it in time"
        case _:
            return "for a reason this version does not know"


def _breach_in_words(breach: GuardReading) -> str:
    guard = breach.guard
    bound = f"the bound is {_bound(guard.kind, guard.threshold or 0.0)}"
    samples = f"{breach.samples:,}"
    match guard.kind:
        case GuardKind.DENY_RATE_CHANGE:
            return (
                f"the candidate denied {_rate(breach.candidate_rate)} of {samples} requests, the "
                f"stable revision {_rate(breach.stable_rate)}; {bound}"
            )
        case GuardKind.ERROR_RATE:
            return (
                f"the candidate failed on {_rate(breach.measured)} of {samples} requests with "
                f"which the stable revision did not; {bound}"
            )
        case GuardKind.LATENCY:
            return (
                f"99 % of {samples} requests took the candidate up to "
                f"{_amount(guard.kind, breach.measured)} each to decide; {bound}"
            )
        case GuardKind.REJECTIONS:
            return f"{counted(round(breach.measured), 'node', 'nodes')} rejected it; {bound}"
        case _:
            return f"it measured {breach.measured:g}; {bound}"


def _bound(kind: GuardKind, threshold: float) -> str:
    """Write a bound as exactly as it was given."""
    share = f"{round(threshold * 100, 4):g}"
    match kind:
        case GuardKind.ERROR_RATE:
            return f"{share} %"
        case GuardKind.DENY_RATE_CHANGE:
            return f"{share} points"
        case _:
            return _amount(kind, threshold)


def _examples(rollback: RollbackReport) -> RenderableType:
    table = terminal.table("subject", "action", "resource", "before", "", "after", "because of")
    for example in rollback.examples:
        subject, action, resource = parts(example.request)
        table.add_row(
            safe(str(EntityRef(subject.type, subject.id))),
            safe(action.name),
            safe(str(EntityRef(resource.type, resource.id))),
            _answer(example.stable),
            "->",
            _answer(example.candidate),
            safe(_responsible(example)),
        )
    shown, all_ = len(rollback.examples), rollback.changed_answers
    answers = counted(all_, "answer changed", "answers changed")
    newest = f"; the newest {shown}" if shown < all_ else ""
    return Group(Text(f"{answers}{newest}:"), table)


def _answer(result: Decision | DecisionError) -> Text:
    if isinstance(result, DecisionError):
        return Text(f"NOT DECIDED {safe(result.reason)}".rstrip(), "bold magenta")
    return terminal.outcome_text(result.outcome)


def _responsible(example: ChangedAnswer) -> str:
    """Name the policies that make the candidate's answer what it is."""
    candidate, stable = example.candidate, example.stable
    if isinstance(candidate, DecisionError):
        return candidate.message
    failed = [f"{error.policy_id} (fails)" for error in candidate.errors]
    named = [reason.policy_id for reason in candidate.reasons] + failed
    if named:
        return ", ".join(named)
    before = [] if isinstance(stable, DecisionError) else stable.reasons
    lost = ", ".join(reason.policy_id for reason in before)
    return f"no policy; it was {lost}" if lost else "no policy"


def _rejections(rollback: RollbackReport) -> RenderableType:
    table = terminal.table("node", "region", "revision", "reason", "what is wrong")
    for rejection in rollback.rejections:
        table.add_row(
            safe(rejection.node),
            safe(rejection.region),
            str(rejection.revision),
            safe(rejection.reason),
            safe(rejection.message),
        )
    return Group(Text("nodes that rejected it:"), table)


# --------------------------------------------------------------------------- for programs


def rollout_to_json(rollout: Rollout) -> dict[str, Any]:
    """Return a rollout as a document."""
    document: dict[str, Any] = to_json(rollout)
    document["plan"] = _plan_to_json(rollout.plan)
    if rollout.rollback is not None:
        document["rollback"]["examples"] = [
            {
                "tenant": example.tenant,
                "request": _request_to_json(example),
                "stable": to_json(example.stable),
                "candidate": to_json(example.candidate),
            }
            for example in rollout.rollback.examples
        ]
    return document


def _plan_to_json(plan: RolloutPlan) -> dict[str, Any]:
    document: dict[str, Any] = {"strategy": type(plan).__name__.upper(), **to_json(plan)}
    if isinstance(plan, Canary):
        document["steps"] = [
            {"share_percent": share, "bake_time_s": bake.total_seconds() if bake else 0.0}
            for share, bake in plan.steps
        ]
    return document


def _request_to_json(example: ChangedAnswer) -> dict[str, Any]:
    subject, action, resource = parts(example.request)
    return {
        "subject": {
            "type": subject.type,
            "id": subject.id,
            "properties": _attributes_to_json(subject.properties),
        },
        "action": {"name": action.name, "properties": _attributes_to_json(action.properties)},
        "resource": {
            "type": resource.type,
            "id": resource.id,
            "properties": _attributes_to_json(resource.properties),
        },
        "context": _attributes_to_json(example.request.context),
    }


def _attributes_to_json(attributes: Attributes) -> Any:
    return entity_to_json(Entity(EntityRef("Any", "any"), attributes))["attrs"]
