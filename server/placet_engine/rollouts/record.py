"""One candidate on its way: what is kept of it, from the first step to the last."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from placet_engine.rollouts.plan import (
    GuardKind,
    Plan,
    Step,
    Strategy,
    time_from_json,
    time_to_json,
)


class RolloutState(IntEnum):
    """Where a rollout stands. Numbers as on the wire."""

    SCHEDULED = 1
    AWAITING_APPROVAL = 2
    RUNNING = 3
    PAUSED = 4
    COMPLETED = 5
    ROLLED_BACK = 6

    @property
    def is_final(self) -> bool:
        """Whether nothing comes after it."""
        return self in (RolloutState.COMPLETED, RolloutState.ROLLED_BACK)

    @property
    def is_deciding(self) -> bool:
        """Whether some requests are decided by the candidate."""
        return self in (RolloutState.RUNNING, RolloutState.PAUSED)


class GuardStatus(IntEnum):
    """What a guard says about a step. Numbers as on the wire."""

    WAITING = 1
    HOLDS = 2
    BREACHED = 3


class RollbackCause(IntEnum):
    """What undid a rollout. Numbers as on the wire."""

    GUARD = 1
    PERSON = 2
    NOT_APPROVED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a guard measured."""

    kind: GuardKind
    measured: float
    samples: int
    status: GuardStatus
    stable_rate: float = 0.0
    """For ``DENY_RATE_CHANGE``, one of the two rates behind ``measured``."""
    candidate_rate: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """Why a rollout was undone."""

    cause: RollbackCause
    time: datetime.datetime
    step: int
    """The step that was in force."""
    share_percent: int
    breach: Reading | None = None
    """The guard, for ``GUARD``."""
    actor: str = ""
    """Who, for ``PERSON``."""
    message: str = ""

    def to_json(self) -> dict[str, object]:
        """Return it as a JSON document."""
        breach = self.breach
        document: dict[str, object] = {
            "cause": int(self.cause),
            "time": time_to_json(self.time),
            "step": self.step,
            "share_percent": self.share_percent,
            "breach": breach
            and [
                int(breach.kind),
                float(breach.measured),
                breach.samples,
                int(breach.status),
                float(breach.stable_rate),
                float(breach.candidate_rate),
            ],
            "actor": self.actor or None,
            "message": self.message or None,
        }
        return {name: value for name, value in document.items() if value is not None}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Rollback:
        """Read what :meth:`to_json` wrote."""
        breach = document.get("breach")
        return cls(
            cause=RollbackCause(document["cause"]),
            time=_time(document["time"]),
            step=document["step"],
            share_percent=document["share_percent"],
            breach=breach
            and Reading(
                kind=GuardKind(breach[0]),
                measured=breach[1],
                samples=breach[2],
                status=GuardStatus(breach[3]),
                stable_rate=breach[4],
                candidate_rate=breach[5],
            ),
            actor=document.get("actor", ""),
            message=document.get("message", ""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A candidate of one owner on its way. An item of the owner's: one at a time, and last."""

    id: str
    plan: Plan
    state: RolloutState
    stable_revision: int
    """Decides for those whom the candidate does not reach."""
    candidate_revision: int = 0
    """0 in the revision that brings the candidate: then it is that revision."""
    step: int = 0
    """Place of the step in force among the plan's."""
    seed: int = 0
    """Of the hash that chooses who gets the candidate: 32 bits."""
    author: str = ""
    message: str = ""
    approver: str = ""
    create_time: datetime.datetime
    update_time: datetime.datetime
    step_time: datetime.datetime | None = None
    """When the step in force began to be baked. None before the first."""
    rollback: Rollback | None = None

    @property
    def current_step(self) -> Step:
        """The step in force."""
        return self.plan.steps[self.step]

    @property
    def share_percent(self) -> int:
        """How much is decided by the candidate, from 0 to 100."""
        if self.state is RolloutState.COMPLETED:
            return 100
        return self.current_step.share_percent if self.state.is_deciding else 0

    @property
    def next_step_time(self) -> datetime.datetime | None:
        """When the next step is due at the earliest; None when it waits for a person."""
        if self.state is RolloutState.SCHEDULED:
            return self.plan.start_time
        if self.state is RolloutState.RUNNING and self.step_time is not None:
            return self.step_time + datetime.timedelta(seconds=self.current_step.bake_s)
        return None

    @property
    def is_canary(self) -> bool:
        """Whether it goes in steps, each of which is watched."""
        return self.plan.strategy is Strategy.CANARY

    def to_json(self) -> dict[str, object]:
        """Return it as a JSON document."""
        document: dict[str, object] = {
            "id": self.id,
            "plan": self.plan.to_json(),
            "state": int(self.state),
            "stable_revision": self.stable_revision,
            "candidate_revision": self.candidate_revision or None,
            "step": self.step,
            "seed": self.seed,
            "author": self.author or None,
            "message": self.message or None,
            "approver": self.approver or None,
            "create_time": time_to_json(self.create_time),
            "update_time": time_to_json(self.update_time),
            "step_time": time_to_json(self.step_time),
            "rollback": self.rollback and self.rollback.to_json(),
        }
        return {name: value for name, value in document.items() if value is not None}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Rollout:
        """Read what :meth:`to_json` wrote."""
        rollback = document.get("rollback")
        return cls(
            id=document["id"],
            plan=Plan.from_json(document["plan"]),
            state=RolloutState(document["state"]),
            stable_revision=document["stable_revision"],
            candidate_revision=document.get("candidate_revision", 0),
            step=document["step"],
            seed=document["seed"],
            author=document.get("author", ""),
            message=document.get("message", ""),
            approver=document.get("approver", ""),
            create_time=_time(document["create_time"]),
            update_time=_time(document["update_time"]),
            step_time=time_from_json(document.get("step_time")),
            rollback=rollback and Rollback.from_json(rollback),
        )


def _time(text: str) -> datetime.datetime:
    time = time_from_json(text)
    assert time is not None
    return time
