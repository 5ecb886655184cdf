"""The measuring of one scenario: find the ceiling, then look at latency below and above it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.failures import WrongAnswer
from bench.links import Connection, Links
from bench.load import Bodies, Lane, Tally, drive, saturate, send_at_rate
from bench.machine import Cores, cpu_seconds, pinned
from bench.records import Level, Results, Row
from bench.schedule import ClosedLoop
from bench.workloads import Serials

_NS = 1_000_000_000
SAMPLE_EVERY = 97
"""Of so many answers one is decoded and looked at."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things are measured, in seconds."""

    warm_up_s: float = 1.0
    ceiling_s: float = 2.5
    level_s: float = 3.0


_ENOUGH = 20
"""Calls that a ceiling needs to be one."""
_LONGEST_CEILING_S = 20.0
_DRAIN_S = 30.0

QUICK = Pace(warm_up_s=0.4, ceiling_s=1.0, level_s=1.0)

USUAL = (0.2, 0.7)


@dataclass(slots=True)
class Context:
    """What scenarios share."""

    cores: Cores
    folder: Path
    """For servers' files."""
    pace: Pace
    quick: bool
    results: Results
    tell: Callable[[str], None]
    """Says what is being done."""
    serials: Serials = field(default_factory=Serials)


@dataclass(frozen=True, slots=True)
class Probe:
    """One system in one scenario."""

    scenario: str
    system: str
    address: str
    connect: Callable[[], Connection]
    bodies: Bodies
    check: Callable[[Sequence[bytes]], str]
    """Looks at some answers; returns a note, or raises WrongAnswer."""
    decisions: int = 1
    connections: int = 4
    concurrency: int = 64
    levels: tuple[float, ...] = USUAL
    pid: int = 0
    """Of the server, to see what processor time it needs; 0 when it is not known."""


@dataclass(frozen=True, slots=True)
class Top:
    """A ceiling once found."""

    tally: Tally
    server_cpu_us: float
    """Processor time of the server a call, in microseconds."""
    server_share: float
    """Of a core, how much the server had."""


def measure(context: Context, probe: Probe) -> Row:
    """Measure and keep one row.

    Raises:
        WrongAnswer: calls failed, or answers were not what they have to be.
    """
    (row,) = measure_together(context, [probe], rounds=1)
    return row


def measure_together(context: Context, probes: Sequence[Probe], *, rounds: int) -> list[Row]:
    """Measure and keep a row for each of several systems that all run.

    Their ceilings are found in turn, several times over, so that what slows the machine down for
    a while does not fall on one of them; the median counts.

    Raises:
        WrongAnswer: calls failed, or answers were not what they have to be.
    """
    with ExitStack() as stack:
        stack.enter_context(pinned(context.cores.load))
        links = []
        for probe in probes:
            links.append(Links(probe.address, probe.connect, count=probe.connections))
            stack.callback(links[-1].close)
        tops: list[list[Top]] = [[] for _ in probes]
        for _ in range(rounds):
            for index, probe in enumerate(probes):
                context.tell(f"{probe.scenario}: {probe.system}, ceiling")
                tops[index].append(_ceiling(context, probe, links[index]))
        rows = [_row(context, *parts) for parts in zip(probes, links, tops, strict=True)]
    context.results.rows += rows
    return rows


def _row(context: Context, probe: Probe, links: Links, tops: Sequence[Top]) -> Row:
    """Check answers, look at latencies, and put a row together."""
    speeds = tuple(top.tally.per_second for top in tops)
    ceiling = statistics.median(speeds)
    note = probe.check([sample for top in tops for sample in top.tally.samples])
    return Row(
        scenario=probe.scenario,
        system=probe.system,
        ceiling=ceiling,
        rounds=speeds,
        decisions=probe.decisions,
        generator_busy=max(top.tally.busy for top in tops),
        server_cpu_us=statistics.median(top.server_cpu_us for top in tops),
        server_share=statistics.median(top.server_share for top in tops),
        levels=tuple(_level(context, probe, links, ceiling, part) for part in probe.levels),
        note=note,
    )


def _ceiling(context: Context, probe: Probe, links: Links) -> Top:
    """Find how many calls a second are answered; look longer where it is few."""
    concurrency, seconds = probe.concurrency, context.pace.ceiling_s
    while True:
        start, used = time.perf_counter(), cpu_seconds(probe.pid)
        tally = saturate(
            links,
            probe.bodies,
            concurrency=concurrency,
            seconds=seconds,
            warm_up_s=context.pace.warm_up_s,
            drain_s=_DRAIN_S,
        )
        used, took = cpu_seconds(probe.pid) - used, time.perf_counter() - start
        _refuse_failures(probe, tally)
        longest = seconds > _LONGEST_CEILING_S
        if tally.completed >= _ENOUGH or (tally.completed and longest):
            return Top(tally, used / tally.answered * 1e6, used / took)
        if longest:
            raise WrongAnswer(
                f"{probe.system} answered nothing in {seconds:.0f} s in `{probe.scenario}`"
            )
        concurrency, seconds = max(concurrency // 8, 1), 4 * seconds


def _level(context: Context, probe: Probe, links: Links, ceiling: float, part: float) -> Level:
    name = f"{part * 100:.0f} %"
    context.tell(f"{probe.scenario}: {probe.system}, latency at {name}")
    tally = send_at_rate(
        links,
        probe.bodies,
        rate=ceiling * part,
        seconds=context.pace.level_s,
        warm_up_s=context.pace.warm_up_s / 2,
        spin=context.cores.apart,
        seed=round(part * 100),
    )
    if part < 1:
        _refuse_failures(probe, tally)
    return Level.of(name, ceiling * part, tally)


def _refuse_failures(probe: Probe, tally: Tally) -> None:
    if tally.failures:
        raise WrongAnswer(
            f"{probe.system} failed calls in `{probe.scenario}`, by gRPC status: "
            f"{dict(tally.failures)}"
        )


def ask_all(links: Links, bodies: Sequence[bytes], *, timeout_s: float = 30.0) -> list[bytes]:
    """Send requests one after the other; return the answers in their order.

    The links have to keep every answer.

    Raises:
        WrongAnswer: one failed, or they took too long.
    """
    answers: list[bytes] = []
    for body in bodies:
        start = time.perf_counter_ns()
        lane = Lane(links, lambda body=body: body, _Once(), start, start)  # type: ignore[misc]
        drive([lane], deadline=start + int(timeout_s * _NS), spin=False)
        if lane.tally.failures or len(lane.tally.samples) != 1:
            raise WrongAnswer(
                f"request {len(answers)} was not answered: {dict(lane.tally.failures)}"
            )
        answers += lane.tally.samples
    return answers


class _Once(ClosedLoop):
    """Sends one request."""

    def __init__(self) -> None:
        super().__init__(1, end=2**62)
        self._sent = False

    def take(self, now: int, in_flight: int) -> int:
        if self._sent:
            return 0
        self._sent = True
        return now

    def over(self, now: int) -> bool:
        return self._sent
