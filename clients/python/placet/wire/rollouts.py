"""Rollouts and their plans, both ways."""

from __future__ import annotations

import math
from itertools import pairwise

from placet.v1 import rollout_pb2
from placet.wire.durations import duration, seconds
from placet.wire.limits import LIMITS
from placet.wire.reader import Reader
from placet.wire.times import time_from_wire, timestamp
from placet_engine.rollouts.plan import (
    CanaryUnit,
    Guard,
    GuardKind,
    Plan,
    PlanDefaults,
    Step,
    Strategy,
)
from placet_engine.rollouts.record import (
    GuardStatus,
    Reading,
    Rollback,
    RollbackCause,
    Rollout,
    RolloutState,
)

_STRATEGIES = {
    None: Strategy.IMMEDIATE,
    "immediate": Strategy.IMMEDIATE,
    "canary": Strategy.CANARY,
    "scheduled": Strategy.SCHEDULED,
    "manual": Strategy.MANUAL,
}
_WHOLE = 100

# ------------------------------------------------------------------------------- to the wire


def rollout_to_wire(rollout: Rollout, *, etag: str = "") -> rollout_pb2.Rollout:
    """Return a rollout as it is kept: without readings, tallies and examples.

    The tenant is left out as well: it is said by what holds the rollout.
    """
    next_time = rollout.next_step_time
    return rollout_pb2.Rollout(
        id=rollout.id,
        plan=plan_to_wire(rollout.plan),
        state=rollout.state.value,  # type: ignore[arg-type]  # the numbers are the wire's
        stable_revision=rollout.stable_revision,
        candidate_revision=rollout.candidate_revision,
        step=rollout.step,
        share_percent=rollout.share_percent,
        seed=rollout.seed,
        step_time=timestamp(rollout.step_time) if rollout.step_time else None,
        next_step_time=timestamp(next_time) if next_time else None,
        author=rollout.author,
        message=rollout.message,
        approver=rollout.approver,
        create_time=timestamp(rollout.create_time),
        update_time=timestamp(rollout.update_time),
        rollback=_rollback_to_wire(rollout.rollback) if rollout.rollback else None,
        etag=etag,
    )


def plan_to_wire(plan: Plan) -> rollout_pb2.RolloutPlan:
    """Return a plan as a message in which nothing is left to defaults."""
    message = rollout_pb2.RolloutPlan(
        guards=rollout_pb2.RolloutGuards(
            guards=map(guard_to_wire, plan.guards), shadow_percent=plan.shadow_percent
        )
    )
    match plan.strategy:
        case Strategy.IMMEDIATE:
            message.immediate.SetInParent()
        case Strategy.CANARY:
            message.canary.unit = plan.unit.value  # type: ignore[assignment]
            message.canary.steps.extend(
                rollout_pb2.CanaryStep(
                    share_percent=step.share_percent, bake_time=duration(step.bake_s)
                )
                for step in plan.steps
            )
        case Strategy.SCHEDULED:
            message.scheduled.SetInParent()
            if plan.start_time is not None:
                message.scheduled.start_time.FromDatetime(plan.start_time)
        case Strategy.MANUAL:
            message.manual.SetInParent()
            message.manual.approver_groups.extend(plan.approver_groups)
            if plan.deadline is not None:
                message.manual.deadline.FromDatetime(plan.deadline)
    return message


def guard_to_wire(guard: Guard) -> rollout_pb2.Guard:
    """Return a guard as a message."""
    return rollout_pb2.Guard(
        kind=guard.kind.value,  # type: ignore[arg-type]
        threshold=guard.threshold,
        min_samples=guard.min_samples,
        disabled=guard.disabled,
    )


def reading_to_wire(reading: Reading, guard: Guard | None = None) -> rollout_pb2.GuardReading:
    """Return what a guard measured, with the guard where it is known."""
    return rollout_pb2.GuardReading(
        guard=guard_to_wire(guard)
        if guard is not None
        else rollout_pb2.Guard(kind=reading.kind.value),  # type: ignore[arg-type]
        measured=reading.measured,
        samples=reading.samples,
        status=reading.status.value,  # type: ignore[arg-type]
        stable_rate=reading.stable_rate,
        candidate_rate=reading.candidate_rate,
    )


def _rollback_to_wire(rollback: Rollback) -> rollout_pb2.RollbackReport:
    return rollout_pb2.RollbackReport(
        cause=rollback.cause.value,  # type: ignore[arg-type]
        time=timestamp(rollback.time),
        step=rollback.step,
        share_percent=rollback.share_percent,
        breach=reading_to_wire(rollback.breach) if rollback.breach else None,
        actor=rollback.actor,
        message=rollback.message,
    )


# ----------------------------------------------------------------------------- from the wire


def read_rollout(message: rollout_pb2.Rollout, reader: Reader, field: str) -> Rollout:
    """Read a rollout as it is kept."""
    return Rollout(
        id=message.id,
        plan=read_plan(message.plan, reader, f"{field}.plan"),
        state=reader.choice(RolloutState, message.state, f"{field}.state", RolloutState.RUNNING),
        stable_revision=message.stable_revision,
        candidate_revision=message.candidate_revision,
        step=message.step,
        seed=message.seed,
        author=message.author,
        message=message.message,
        approver=message.approver,
        create_time=time_from_wire(message.create_time),
        update_time=time_from_wire(message.update_time),
        step_time=time_from_wire(message.step_time) if message.HasField("step_time") else None,
        rollback=_read_rollback(message.rollback, reader, f"{field}.rollback")
        if message.HasField("rollback")
        else None,
    )


def _read_rollback(message: rollout_pb2.RollbackReport, reader: Reader, field: str) -> Rollback:
    breach = message.breach
    return Rollback(
        cause=reader.choice(RollbackCause, message.cause, f"{field}.cause", RollbackCause.PERSON),
        time=time_from_wire(message.time),
        step=message.step,
        share_percent=message.share_percent,
        breach=Reading(
            kind=reader.choice(
                GuardKind, breach.guard.kind, f"{field}.breach.guard.kind", GuardKind.REJECTIONS
            ),
            measured=breach.measured,
            samples=breach.samples,
            status=reader.choice(
                GuardStatus, breach.status, f"{field}.breach.status", GuardStatus.BREACHED
            ),
            stable_rate=breach.stable_rate,
            candidate_rate=breach.candidate_rate,
        )
        if message.HasField("breach")
        else None,
        actor=message.actor,
        message=message.message,
    )


def read_plan(
    message: rollout_pb2.RolloutPlan,
    reader: Reader,
    field: str,
    defaults: PlanDefaults | None = None,
) -> Plan:
    """Read a plan, and fill in what it leaves open."""
    defaults = defaults or PlanDefaults()
    strategy = _STRATEGIES[message.WhichOneof("strategy")]
    guards = message.guards
    shadow_percent = defaults.shadow_percent
    if guards.HasField("shadow_percent"):
        shadow_percent = guards.shadow_percent
        if not 0 < shadow_percent <= _WHOLE:
            reader.refuse(f"{field}.guards.shadow_percent", "is not above 0 and up to 100")
    steps: tuple[Step, ...] = (Step(_WHOLE),)
    unit = CanaryUnit.SUBJECT
    if strategy is Strategy.CANARY:
        steps = _read_steps(message.canary, reader, f"{field}.canary.steps", defaults)
        if message.canary.unit:
            unit = reader.choice(CanaryUnit, message.canary.unit, f"{field}.canary.unit", unit)
    start_time = deadline = None
    if strategy is Strategy.SCHEDULED:
        if message.scheduled.HasField("start_time"):
            start_time = time_from_wire(message.scheduled.start_time)
        else:
            reader.refuse(f"{field}.scheduled.start_time", "is missing; say when it begins")
    if message.manual.HasField("deadline"):
        deadline = time_from_wire(message.manual.deadline)
    return Plan(
        strategy=strategy,
        steps=steps,
        unit=unit,
        start_time=start_time,
        approver_groups=tuple(message.manual.approver_groups),
        deadline=deadline,
        guards=_read_guards(guards, reader, f"{field}.guards.guards", defaults),
        shadow_percent=shadow_percent,
    )


def _read_steps(
    message: rollout_pb2.CanaryStrategy, reader: Reader, field: str, defaults: PlanDefaults
) -> tuple[Step, ...]:
    if not message.steps:
        return tuple(Step(share, defaults.bake_s) for share in defaults.shares_percent)
    if len(message.steps) > LIMITS.max_canary_steps:
        reader.refuse(field, f"has {len(message.steps)} entries; use 1 to 20 steps")
        return (Step(_WHOLE),)
    steps = tuple(
        Step(step.share_percent, seconds(step.bake_time))
        if step.HasField("bake_time")
        else Step(step.share_percent, defaults.bake_s)
        for step in message.steps
    )
    for index, step in enumerate(steps):
        if not 1 <= step.share_percent <= _WHOLE:
            what = f"is {step.share_percent}; use 1 to 100"
            reader.refuse(f"{field}[{index}].share_percent", what)
        if not 0 <= step.bake_s <= LIMITS.max_bake_s:
            reader.refuse(f"{field}[{index}].bake_time", "is negative, or longer than 30 days")
    if any(one.share_percent >= other.share_percent for one, other in pairwise(steps)):
        reader.refuse(field, "do not rise; give each step a larger share than the one before")
    elif steps[-1].share_percent != _WHOLE:
        reader.refuse(field, "do not end with 100 percent; add a last step that does")
    return steps


def _read_guards(
    message: rollout_pb2.RolloutGuards, reader: Reader, field: str, defaults: PlanDefaults
) -> tuple[Guard, ...]:
    usual = {guard.kind: guard for guard in defaults.guards}
    guards: dict[GuardKind, Guard] = {}
    for index, given in enumerate(message.guards):
        place = f"{field}[{index}]"
        kind = reader.choice(GuardKind, given.kind, f"{place}.kind", GuardKind.ERROR_RATE)
        if kind in guards:
            reader.refuse(f"{place}.kind", f"is {kind.name} once more; give each kind once")
        default = usual[kind]
        threshold = given.threshold if given.HasField("threshold") else default.threshold
        if not (math.isfinite(threshold) and threshold >= 0):
            reader.refuse(f"{place}.threshold", "is negative, or no number")
        if given.min_samples < 0:
            reader.refuse(f"{place}.min_samples", "is negative; 0 means the server's default")
        guards[kind] = Guard(
            kind=kind,
            threshold=threshold,
            min_samples=given.min_samples or default.min_samples,
            disabled=given.disabled,
        )
    return tuple((usual | guards)[kind] for kind in sorted(usual))
