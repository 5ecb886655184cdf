"""How a candidate is to reach nodes and subjects, and within which bounds."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class Strategy(IntEnum):
    """The way a candidate takes. Numbers are those of the fields of ``placet.v1.RolloutPlan``."""

    IMMEDIATE = 1
    CANARY = 2
    SCHEDULED = 3
    MANUAL = 4


class CanaryUnit(IntEnum):
    """What a share is a share of. Numbers as on the wire."""

    SUBJECT = 1
    NODE = 2


class GuardKind(IntEnum):
    """What a guard measures. Numbers as on the wire."""

    ERROR_RATE = 1
    DENY_RATE_CHANGE = 2
    LATENCY = 3
    REJECTIONS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """One bound that a candidate must keep."""

    kind: GuardKind
    threshold: float
    """Above it is a breach: a ratio from 0 to 1, seconds, or a number of nodes."""
    min_samples: int = 0
    """Below so many samples the guard says nothing yet. Without meaning for ``REJECTIONS``."""
    disabled: bool = False
    """Measured, but not enforced."""


@dataclass(frozen=True, slots=True)
class Step:
    """A share of the decisions, and how long it is held."""

    share_percent: int
    bake_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole plan, defaults filled in."""

    strategy: Strategy = Strategy.IMMEDIATE
    steps: tuple[Step, ...] = (Step(100),)
    """Shares rise, and the last is 100."""
    unit: CanaryUnit = CanaryUnit.SUBJECT
    start_time: datetime.datetime | None = None
    """When it begins, for ``SCHEDULED``."""
    approver_groups: tuple[str, ...] = ()
    """Who may approve, for ``MANUAL``. Empty: anybody but the author."""
    deadline: datetime.datetime | None = None
    """Until when somebody has to have approved, for ``MANUAL``."""
    guards: tuple[Guard, ...] = ()
    """One of each kind."""
    shadow_percent: float = 0.0
    """How many of the live requests are decided by both revisions."""

    def to_json(self) -> dict[str, object]:
        """Return the plan as a JSON document."""
        document: dict[str, object] = {
            "strategy": int(self.strategy),
            "steps": [[step.share_percent, float(step.bake_s)] for step in self.steps],
            "unit": int(self.unit),
            "start_time": time_to_json(self.start_time),
            "approver_groups": list(self.approver_groups) or None,
            "deadline": time_to_json(self.deadline),
            "guards": [
                [int(guard.kind), float(guard.threshold), guard.min_samples, guard.disabled]
                for guard in self.guards
            ],
            "shadow_percent": float(self.shadow_percent),
        }
        return {name: value for name, value in document.items() if value is not None}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Plan:
        """Read what :meth:`to_json` wrote."""
        return cls(
            strategy=Strategy(document["strategy"]),
            steps=tuple(Step(share, bake_s) for share, bake_s in document["steps"]),
            unit=CanaryUnit(document["unit"]),
            start_time=time_from_json(document.get("start_time")),
            approver_groups=tuple(document.get("approver_groups", ())),
            deadline=time_from_json(document.get("deadline")),
            guards=tuple(
                Guard(
                    kind=GuardKind(kind),
                    threshold=threshold,
                    min_samples=min_samples,
                    disabled=disabled,
                )
                for kind, threshold, min_samples, disabled in document["guards"]
            ),
            shadow_percent=document["shadow_percent"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDefaults:
    """What holds where a plan says nothing."""

    shares_percent: tuple[int, ...] = (10, 50, 100)
    """Of a canary's steps."""
    bake_s: float = 300.0
    """How long a canary's step is held."""
    guards: tuple[Guard, ...] = (
        Guard(kind=GuardKind.ERROR_RATE, threshold=0.01, min_samples=100),
        Guard(kind=GuardKind.DENY_RATE_CHANGE, threshold=0.05, min_samples=100),
        Guard(kind=GuardKind.LATENCY, threshold=0.01, min_samples=100),
        Guard(kind=GuardKind.REJECTIONS, threshold=0),
    )
    """One of each kind."""
    shadow_percent: float = 10.0


def time_to_json(time: datetime.datetime | None) -> str | None:
    """Write a point in time, exact to the microsecond, always in UTC."""
    return None if time is None else time.astimezone(datetime.UTC).isoformat()


def time_from_json(text: str | None) -> datetime.datetime | None:
    """Read what :func:`time_to_json` wrote."""
    return None if text is None else datetime.datetime.fromisoformat(text)
