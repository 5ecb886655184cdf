"""A node with one line, in simulated time: calls come, wait, and are answered or refused."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from placet_server.admission.control import AdmissionControl, Arrival, Limits, Refusal
from placet_server.testing import ManualClock

DECIDING_S = 0.0002
REFUSING_S = 0.0001
TARGET_S = Limits().target_wait_s


@dataclass(slots=True)
class Outcome:
    """What became of calls, by tenant."""

    admitted: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    waits_s: list[float] = field(default_factory=list)
    """Of those that were admitted, from arrival to answer."""
    first_refusal_s: float | None = None
    """Seconds from the beginning of the run."""


def _times(rate: float, seconds: float, seed: int | None) -> Iterator[float]:
    if seed is None:
        yield from ((number + 0.5) / rate for number in range(int(rate * seconds)))
        return
    rng = random.Random(seed)
    at = rng.expovariate(rate)
    while at < seconds:
        yield at
        at += rng.expovariate(rate)


class Node:
    """Takes calls in the order they come; a probe stands in line as a call does."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.clock = ManualClock()
        self.control = AdmissionControl(
            limits or Limits(target_wait_s=TARGET_S), self.clock.monotonic
        )
        self._free_at = self.clock.monotonic()
        self._probe_at: float | None = None

    def run(
        self,
        seconds: float,
        rates: Sequence[tuple[str, float]],
        *,
        named: bool = False,
        seed: int | None = None,
    ) -> Outcome:
        """Let tenants call at rates per second; return what became of the calls.

        They come evenly spaced, or with a seed as independent callers do.
        """
        outcome = Outcome()
        start = self.clock.monotonic()
        calls = sorted(
            (start + at, tenant) for tenant, rate in rates for at in _times(rate, seconds, seed)
        )
        for arrived, tenant in calls:
            if self._probe_at is not None and self._probe_at <= arrived:
                self._deliver(self._probe_at)
            begun = self._work_until(arrived)
            answer = self._ask(tenant, tenant if named else None)
            if self.control.backlog.probe_is_due:
                self.control.probe_sent()
                self._probe_at = self.clock.monotonic()
            took = REFUSING_S if isinstance(answer, Refusal) else DECIDING_S
            self._free_at = begun + took
            self._count(outcome, tenant, answer, self._free_at - arrived, begun - start)
        if self._probe_at is not None:
            self._deliver(self._probe_at)
        return outcome

    def stall(self, seconds: float) -> None:
        """Let the node do nothing for a while from now on."""
        self._free_at = self.clock.monotonic() + seconds

    def _deliver(self, probe_at: float) -> None:
        self._work_until(probe_at)
        self.control.probe_arrived()
        self._probe_at = None

    def _work_until(self, arrived: float) -> float:
        begun = max(arrived, self._free_at)
        if begun > self.clock.monotonic():
            self.clock.advance(begun - self.clock.monotonic())
        return begun

    def _ask(self, tenant: str, named: str | None) -> Arrival | Refusal | None:
        arrival = self.control.try_arrive(named)
        if isinstance(arrival, Refusal):
            return arrival
        refusal = self.control.try_admit(tenant)
        if refusal is None:
            self.control.release()
        return refusal

    def _count(
        self, outcome: Outcome, tenant: str, answer: object, wait_s: float, at_s: float
    ) -> None:
        if isinstance(answer, Refusal):
            outcome.refused[tenant] += 1
            if outcome.first_refusal_s is None:
                outcome.first_refusal_s = at_s
        else:
            outcome.admitted[tenant] += 1
            outcome.waits_s.append(wait_s)
