"""What can happen to a rollout, and what it comes to. One function for each thing.

Each returns the rollout as it is afterwards; what cannot happen to it in its state raises.
Storing it is the caller's, on condition that nobody else has meanwhile: then every step is taken
once.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace

from placet_engine.rollouts.plan import GuardKind, Plan, Strategy
from placet_engine.rollouts.record import (
    GuardStatus,
    Reading,
    Rollback,
    RollbackCause,
    Rollout,
    RolloutState,
)

_State = RolloutState


class MoveRefused(Exception):
    """A rollout's state does not let it happen."""


def begin(
    *,
    id_: str,
    plan: Plan,
    stable_revision: int,
    seed: int,
    author: str,
    message: str,
    now: datetime.datetime,
) -> Rollout:
    """Make a rollout, and take its first step if that waits for nothing."""
    rollout = Rollout(
        id=id_,
        plan=plan,
        state=_State.RUNNING,
        stable_revision=stable_revision,
        seed=seed,
        author=author,
        message=message,
        create_time=now,
        update_time=now,
    )
    match plan.strategy:
        case Strategy.SCHEDULED:
            return replace(rollout, state=_State.SCHEDULED)
        case Strategy.MANUAL:
            return replace(rollout, state=_State.AWAITING_APPROVAL)
        case _:
            return _enter(rollout, 0, now)


def approve(rollout: Rollout, approver: str, now: datetime.datetime) -> Rollout:
    """Let a rollout go ahead that waits for a person's yes.

    Raises:
        MoveRefused: it waits for none.
    """
    _require(rollout, "approved", _State.AWAITING_APPROVAL)
    return _enter(replace(rollout, approver=approver), 0, now)


def pause(rollout: Rollout, now: datetime.datetime) -> Rollout:
    """Hold a rollout at its step.

    Raises:
        MoveRefused: it is not running.
    """
    _require(rollout, "paused", _State.RUNNING)
    return replace(rollout, state=_State.PAUSED, update_time=now)


def resume(rollout: Rollout, now: datetime.datetime) -> Rollout:
    """Let a rollout go on, and bake its step anew.

    Raises:
        MoveRefused: it is not paused.
    """
    _require(rollout, "resumed", _State.PAUSED)
    return replace(rollout, state=_State.RUNNING, step_time=now, update_time=now)


def promote(
    rollout: Rollout, readings: Sequence[Reading], now: datetime.datetime, *, all_steps: bool
) -> Rollout:
    """Take the next step without waiting, or all that are left.

    Raises:
        MoveRefused: it is neither on its way nor waiting for its time, or a guard is breached.
    """
    _require(rollout, "promoted", _State.RUNNING, _State.PAUSED, _State.SCHEDULED)
    breach = breached(rollout, readings)
    if breach is not None:
        raise MoveRefused(
            f"rollout `{rollout.id}` cannot be promoted: the guard on "
            f"{guard_title(breach.kind)} is breached; it is about to be rolled back"
        )
    if all_steps:
        return _complete(rollout, now)
    following = 0 if rollout.state is _State.SCHEDULED else rollout.step + 1
    return _enter(replace(rollout, state=_State.RUNNING), following, now)


def roll_back(rollout: Rollout, actor: str, message: str, now: datetime.datetime) -> Rollout:
    """Give everything back to the stable revision, because a person says so.

    Raises:
        MoveRefused: it has ended.
    """
    if rollout.state.is_final:
        raise MoveRefused(
            f"rollout `{rollout.id}` has ended, it is {_title(rollout.state)}; to undo it, start "
            f"a rollout that restores revision {rollout.stable_revision}"
        )
    return _undo(rollout, RollbackCause.PERSON, now, actor=actor, message=message)


def due(
    rollout: Rollout, readings: Sequence[Reading], now: datetime.datetime, *, pending_nodes: int = 0
) -> Rollout | None:
    """Return the rollout after what is due now, or None when nothing is.

    Args:
        rollout: as it is.
        readings: what its guards measured in the step in force.
        now: the time.
        pending_nodes: nodes that have not said yet what they make of the candidate.
    """
    match rollout.state:
        case _State.SCHEDULED:
            assert rollout.plan.start_time is not None
            return _begun(rollout, readings, now) if now >= rollout.plan.start_time else None
        case _State.AWAITING_APPROVAL:
            deadline = rollout.plan.deadline
            if deadline is None or now < deadline:
                return None
            return _undo(rollout, RollbackCause.NOT_APPROVED, now)
        case _State.RUNNING | _State.PAUSED:
            breach = breached(rollout, readings)
            if breach is not None:
                return _undo(rollout, RollbackCause.GUARD, now, breach=breach)
            next_time = rollout.next_step_time
            if next_time is None or now < next_time or pending_nodes:
                return None
            if any(
                reading.status is GuardStatus.WAITING for reading in _enforced(rollout, readings)
            ):
                return None
            return _enter(rollout, rollout.step + 1, now)
        case _:
            return None


def breached(rollout: Rollout, readings: Sequence[Reading]) -> Reading | None:
    """Return the first enforced guard that is breached."""
    return next(
        (
            reading
            for reading in _enforced(rollout, readings)
            if reading.status is GuardStatus.BREACHED
        ),
        None,
    )


def _begun(rollout: Rollout, readings: Sequence[Reading], now: datetime.datetime) -> Rollout:
    """Begin what waited for its time, unless nodes have rejected the candidate meanwhile."""
    breach = breached(rollout, readings)
    if breach is not None:
        return _undo(rollout, RollbackCause.GUARD, now, breach=breach)
    return _enter(rollout, 0, now)


def _enforced(rollout: Rollout, readings: Sequence[Reading]) -> list[Reading]:
    disabled = {guard.kind for guard in rollout.plan.guards if guard.disabled}
    return [reading for reading in readings if reading.kind not in disabled]


def _enter(rollout: Rollout, step: int, now: datetime.datetime) -> Rollout:
    """Take a step. Where there is nothing to watch, or no step is left, it is done with that."""
    if step == len(rollout.plan.steps) or not rollout.is_canary:
        return _complete(rollout, now)
    return replace(rollout, state=_State.RUNNING, step=step, step_time=now, update_time=now)


def _complete(rollout: Rollout, now: datetime.datetime) -> Rollout:
    return replace(
        rollout,
        state=_State.COMPLETED,
        step=len(rollout.plan.steps) - 1,
        step_time=now,
        update_time=now,
    )


def _undo(
    rollout: Rollout,
    cause: RollbackCause,
    now: datetime.datetime,
    *,
    breach: Reading | None = None,
    actor: str = "",
    message: str = "",
) -> Rollout:
    return replace(
        rollout,
        state=_State.ROLLED_BACK,
        update_time=now,
        rollback=Rollback(
            cause=cause,
            time=now,
            step=rollout.step,
            share_percent=rollout.share_percent,
            breach=breach,
            actor=actor,
            message=message,
        ),
    )


def _require(rollout: Rollout, what: str, *states: RolloutState) -> None:
    if rollout.state not in states:
        raise MoveRefused(
            f"rollout `{rollout.id}` is {_title(rollout.state)} and cannot be {what}; that takes "
            f"one that is {' or '.join(map(_title, states))}"
        )


def _title(state: RolloutState) -> str:
    return state.name.lower().replace("_", " ")


def guard_title(kind: GuardKind) -> str:
    """Return what a guard watches, for people."""
    return _GUARD_TITLES[kind]


_GUARD_TITLES = {
    GuardKind.ERROR_RATE: "errors",
    GuardKind.DENY_RATE_CHANGE: "the change of the deny rate",
    GuardKind.LATENCY: "the time to decide",
    GuardKind.REJECTIONS: "nodes that reject the candidate",
}
