"""Asks both revisions the same live requests, a sample of them, and counts what differs.

It happens behind the back of whoever asked: the hot path only drops a request into a queue, and
only while a rollout is under way. What the queue has no room for is not measured.
"""

from __future__ import annotations

import asyncio
import logging
import random
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import thread_time
from typing import Any, NamedTuple, TypeAlias

from placet_engine.model import (
    Outcome,
    PolicyError,
    Reason,
    Request,
    Undecidable,
    Verdict,
)
from placet_engine.program import Program
from placet_engine.rollouts.guards import LATENCY_BOUNDS_S, Samples
from placet_engine.rollouts.record import Rollout
from placet_server.policies.active import ActivePolicies

log = logging.getLogger(__name__)

Document: TypeAlias = dict[str, Any]
"""A JSON object."""

BEFORE_THE_FIRST = -1
"""The step of a rollout that has not begun."""

MAX_EXAMPLES = 20
_MAX_WAITING = 256
_AT_ONCE = 8
"""So many are judged in one go: others want the processor too."""


def step_of(rollout: Rollout) -> int:
    """Return the step that what is measured now belongs to."""
    return rollout.step if rollout.state.is_deciding else BEFORE_THE_FIRST


class StepKey(NamedTuple):
    """One step of one rollout."""

    rollout_id: str
    step: int


class _Asked(NamedTuple):
    tenant: str
    request: object


class _Task(NamedTuple):
    meter: StepMeter
    asked: _Asked
    stable: Program
    candidate: Program


@dataclass(slots=True)
class StepMeter:
    """What this node measured in one step."""

    decisions: int
    errors: int
    latencies: Counter[float]
    stable_denials: int
    candidate_denials: int
    changed_answers: int
    examples: deque[Document]

    @classmethod
    def new(cls) -> StepMeter:
        """Begin to count."""
        return cls(0, 0, Counter(), 0, 0, 0, deque(maxlen=MAX_EXAMPLES))

    def samples(self) -> Samples:
        """Return the counts."""
        return Samples(
            decisions=self.decisions,
            errors=self.errors,
            latencies=dict(self.latencies),
            shadowed=self.decisions,
            stable_denials=self.stable_denials,
            candidate_denials=self.candidate_denials,
            changed_answers=self.changed_answers,
        )


class ShadowMeter:
    """Measures the candidates of rollouts that are under way, on this node.

    Args:
        active: what decides.
        read: turns what :meth:`offer` is given into a request.
        describe: returns it as a JSON object that may be shown: masked.
        per_second: how many requests are measured at most.
        monotonic: the time, in seconds.
    """

    def __init__(
        self,
        *,
        active: ActivePolicies,
        read: Callable[[object], Request],
        describe: Callable[[object], Document],
        per_second: int,
        monotonic: Callable[[], float],
    ) -> None:
        self._active = active
        self._read = read
        self._describe = describe
        self._per_second = per_second
        self._monotonic = monotonic
        self._waiting: deque[_Asked] = deque()
        self._wake = asyncio.Event()
        self._second, self._left = 0.0, 0
        self._meters: dict[StepKey, StepMeter] = {}
        self.shadowed = self.changed_answers = self.skipped = 0
        """What was measured since the start, and what there was no time for."""
        self.watched: dict[str, float] = {}
        """Tenants with a rollout under way, and the part of their requests that is measured."""

    def watch(self) -> None:
        """Look anew which tenants have a rollout under way, and forget rollouts that ended."""
        watched, going_on = {}, set()
        for tenant, state in self._active.tenants.items():
            edition = state.edition
            if edition is not None and edition.candidate is not None and edition.rollout:
                watched[tenant] = edition.rollout.plan.shadow_percent / 100
                going_on.add(edition.rollout.id)
        self.watched = watched
        for key in [key for key in self._meters if key.rollout_id not in going_on]:
            del self._meters[key]

    def forget(self, tenant: str) -> None:
        """Let go of a tenant's requests: those that wait, and those that are examples."""
        self.watched.pop(tenant, None)
        self._waiting = deque(asked for asked in self._waiting if asked.tenant != tenant)
        for meter in self._meters.values():
            kept = [example for example in meter.examples if example["tenant"] != tenant]
            meter.examples = deque(kept, maxlen=MAX_EXAMPLES)

    def offer(self, tenant: str, requests: Iterable[object]) -> None:
        """Have some of the requests measured that a watched tenant made. Never waits."""
        part = self.watched.get(tenant, 0.0)
        for request in requests:
            if random.random() >= part:  # noqa: S311
                continue
            now_s = self._monotonic()
            if now_s - self._second >= 1:
                self._second, self._left = now_s, self._per_second
            if not self._left or len(self._waiting) >= _MAX_WAITING:
                self.skipped += 1
                continue
            self._left -= 1
            self._waiting.append(_Asked(tenant, request))
            self._wake.set()

    async def run(self) -> None:
        """Measure what was offered until cancelled."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="shadow") as executor:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while some := list(self._next()):
                    await loop.run_in_executor(executor, self._measure, some)

    def _next(self) -> Iterator[_Task]:
        """Take what is measured next, each with the meter of the step it belongs to."""
        for _ in range(min(_AT_ONCE, len(self._waiting))):
            asked = self._waiting.popleft()
            state = self._active.tenants.get(asked.tenant)
            edition = state.edition if state is not None else None
            if edition is None or edition.candidate is None or edition.rollout is None:
                continue
            key = StepKey(edition.rollout.id, step_of(edition.rollout))
            meter = self._meters.get(key)
            if meter is None:
                meter = self._meters[key] = StepMeter.new()
            yield _Task(meter, asked, edition.stable.program, edition.candidate.program)

    def steps(self) -> dict[StepKey, StepMeter]:
        """Return what was measured of each step. To be looked at, not changed."""
        return dict(self._meters)

    def _measure(self, some: Sequence[_Task]) -> None:
        for task in some:
            try:
                self._measure_one(*task)
            except Exception:  # what drives rollouts must not end with one request
                log.exception("a request could not be measured; it is left out")

    def _measure_one(
        self, meter: StepMeter, asked: _Asked, stable_program: Program, candidate_program: Program
    ) -> None:
        request = self._read(asked.request)
        started_s = thread_time()
        candidate = candidate_program.judge(request)
        took_s = thread_time() - started_s
        stable = stable_program.judge(request)
        meter.decisions += 1
        self.shadowed += 1
        meter.errors += _failed(candidate) and not _failed(stable)
        place = min(bisect_left(LATENCY_BOUNDS_S, took_s), len(LATENCY_BOUNDS_S) - 1)
        meter.latencies[LATENCY_BOUNDS_S[place]] += 1
        meter.stable_denials += _denied(stable)
        meter.candidate_denials += _denied(candidate)
        if _said(stable) != _said(candidate):
            meter.changed_answers += 1
            self.changed_answers += 1
            example = {
                "tenant": asked.tenant,
                "request": self._describe(asked.request),
                "stable": _answer(stable),
                "candidate": _answer(candidate),
            }
            # Twenty callers who ask the same are one example.
            if example not in meter.examples:
                meter.examples.appendleft(example)


def _failed(verdict: Verdict | Undecidable) -> bool:
    return isinstance(verdict, Undecidable) or bool(verdict.errors)


def _denied(verdict: Verdict | Undecidable) -> bool:
    return isinstance(verdict, Verdict) and verdict.outcome is Outcome.DENY


def _said(verdict: Verdict | Undecidable) -> object:
    """Return what a caller acts on."""
    if isinstance(verdict, Undecidable):
        return None
    return verdict.outcome, frozenset(verdict.obligations), frozenset(verdict.approval_groups)


def _policy(named: Reason | PolicyError) -> Document:
    return {"policy_id": named.policy_id, "layer": named.layer.name}


def _answer(verdict: Verdict | Undecidable) -> Document:
    if isinstance(verdict, Undecidable):
        return {"reason": verdict.reason, "message": verdict.message}
    return {
        "outcome": verdict.outcome.name,
        "cause": verdict.cause.name,
        "reasons": [_policy(reason) for reason in verdict.reasons],
        "errors": [_policy(error) for error in verdict.errors],
        "obligations": list(verdict.obligations),
    }
