"""``python -m bench.gate``: ratios that must not be lost, whatever the machine; exit 1 on a loss.

Both sides of a ratio are measured in turn, several times, by the processor time they take, and the
median of the ratios counts: other programs on the machine change little.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.failures import CannotStart, WrongAnswer
from bench.http2 import UnaryConnection
from bench.links import Links
from bench.load import Bodies, saturate
from bench.machine import choose_cores, pinned
from bench.servers import IN_PYTHON, Server, running_placet
from bench.workloads import (
    EVALUATE,
    EVALUATE_BATCH,
    TENANT,
    Serials,
    asks,
    batch_warm,
    cold,
    hot,
    policies,
    publish,
)
from placet.local import LocalEvaluator
from placet_engine import native

ROUNDS = 5
_SECONDS = 0.5
_BATCH = 100
_SMALL, _LARGE = 10, 10_000
_LARGE_TENANT = "bench-large"
_READY_TIMEOUT_S = 30.0

Speed = Callable[[], float]
"""Measures once; decisions for each second of processor time."""


@dataclass(frozen=True, slots=True)
class Floor:
    """A ratio of two speeds, and how low it may be."""

    what: str
    fast: str
    slow: str
    floor: float
    """What the median should reach."""
    margin: float
    """The part of the floor that noise may take away."""

    @property
    def limit(self) -> float:
        """Below this it is a loss."""
        return self.floor * (1 - self.margin)


LOCAL_WARM, LOCAL_COLD = "local, remembered", "local, new"
LOCAL_NATIVE = "local, new, natively"
LOCAL_LARGE = "local, new, 10,000 policies"
WIRE_HOT, WIRE_COLD, WIRE_BATCH = "unary, remembered", "unary, new", "batch of 100, remembered"

# The one place to raise a floor. `what` stands in the table that a loss prints. All is measured of
# the Python path, and what the native one gains over it where that is installed.
FLOORS: tuple[Floor, ...] = (
    Floor("in process: the cache over judging", LOCAL_WARM, LOCAL_COLD, 8.0, 0.25),
    Floor("over the wire: the cache over judging", WIRE_HOT, WIRE_COLD, 1.3, 0.1),
    # 0.5 is what is promised: by 10,000 policies within twice the time it takes by 10.
    Floor("10,000 policies over 10", LOCAL_LARGE, LOCAL_COLD, 0.75, 0.25),
    Floor("decisions in a batch over unary ones", WIRE_BATCH, WIRE_HOT, 20.0, 0.25),
)
NATIVE_FLOOR = Floor("in process: the native path over Python", LOCAL_NATIVE, LOCAL_COLD, 1.5, 0.1)


@dataclass(frozen=True, slots=True)
class Finding:
    """A floor beside what was measured."""

    floor: Floor
    ratios: tuple[float, ...]

    @property
    def median(self) -> float:
        """The ratio that counts."""
        return statistics.median(self.ratios)

    @property
    def held(self) -> bool:
        """Whether it is no loss."""
        return self.median >= self.floor.limit


def look(
    floors: Sequence[Floor], speeds: Mapping[str, Speed], *, rounds: int = ROUNDS
) -> list[Finding]:
    """Measure both sides of each ratio in turn, and say which floors hold."""
    findings = []
    for floor in floors:
        ratios = []
        for number in range(rounds):
            # Each side goes first in half of the rounds.
            names = (floor.fast, floor.slow) if number % 2 == 0 else (floor.slow, floor.fast)
            measured = {name: speeds[name]() for name in names}
            ratios.append(measured[floor.fast] / measured[floor.slow])
        findings.append(Finding(floor, tuple(ratios)))
    return findings


def table(findings: Sequence[Finding]) -> str:
    """Return what was found, for people."""
    lines = [f"{'ratio':40} {'median':>8} {'floor':>7} {'margin':>7} {'limit':>8}  rounds"]
    for found in findings:
        floor = found.floor
        rounds = " ".join(f"{ratio:.3g}" for ratio in found.ratios)
        lines.append(
            f"{floor.what:40} {found.median:8.3g} {floor.floor:7.3g} {floor.margin:7.0%} "
            f"{floor.limit:8.3g}  {rounds}  {'ok' if found.held else 'LOST'}"
        )
    return "\n".join(lines)


def main(measure: Callable[[], Sequence[Finding]] | None = None) -> int:
    """Measure, print, and return 1 on a loss, 2 when nothing could be measured."""
    try:
        findings = (measure or _measure)()
    except (CannotStart, WrongAnswer) as error:
        print(f"the gate could not measure: {error}", file=sys.stderr)
        return 2
    print(table(findings))
    lost = [found.floor.what for found in findings if not found.held]
    if lost:
        print(
            f"lost: {', '.join(lost)}; see what made it slower, or lower the floor in "
            "bench/gate.py with the reason",
            file=sys.stderr,
        )
        return 1
    return 0


def _measure() -> list[Finding]:
    with _speeds() as speeds:
        for speed in speeds.values():
            speed()  # once without counting: what is made on first use is made now
        return look([*FLOORS, NATIVE_FLOOR] if LOCAL_NATIVE in speeds else FLOORS, speeds)


@contextmanager
def _speeds() -> Iterator[dict[str, Speed]]:
    """Run a server with a small and a large set, and say how each speed is measured."""
    cores = choose_cores()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="placet-gate-"))
        stack.enter_context(native.switched(on=False))
        server = stack.enter_context(running_placet(IN_PYTHON, cores, Path(folder)))
        address = server.address
        publish(address, TENANT, list(policies(_SMALL)))
        publish(address, _LARGE_TENANT, list(policies(_LARGE)))
        stack.enter_context(pinned(cores.load))
        serials = Serials()
        small = stack.enter_context(LocalEvaluator(address, tenant=TENANT))
        large = stack.enter_context(LocalEvaluator(address, tenant=_LARGE_TENANT))
        for evaluator in (small, large):
            evaluator.wait_ready(timeout_s=_READY_TIMEOUT_S)
        unary = Links(address, lambda: UnaryConnection(EVALUATE, address), count=4)
        stack.callback(unary.close)
        batches = Links(address, lambda: UnaryConnection(EVALUATE_BATCH, address), count=4)
        stack.callback(batches.close)
        batch = batch_warm(_BATCH, _SMALL)
        once, new = itertools.repeat(0), iter(serials.next, None)
        speeds = {
            LOCAL_WARM: lambda: _local(small, _SMALL, once),
            LOCAL_COLD: lambda: _local(small, _SMALL, new),
            LOCAL_LARGE: lambda: _local(large, _LARGE, new),
            WIRE_HOT: lambda: _wire(server, unary, hot(_SMALL)),
            WIRE_COLD: lambda: _wire(server, unary, cold(_SMALL, serials)),
            WIRE_BATCH: lambda: _BATCH * _wire(server, batches, batch, concurrency=8),
        }
        if native.INSTALLED is not None:
            speeds[LOCAL_NATIVE] = native.switched(on=True)(lambda: _local(small, _SMALL, new))
        yield speeds


def _wire(server: Server, links: Links, bodies: Bodies, *, concurrency: int = 64) -> float:
    """Return answers for each second of the server's processor time."""
    before = server.cpu_seconds()
    tally = saturate(links, bodies, concurrency=concurrency, seconds=_SECONDS, warm_up_s=0.0)
    used = server.cpu_seconds() - before
    if tally.failures or tally.unanswered or not tally.answered:
        raise WrongAnswer(f"calls failed: {dict(tally.failures)}, {tally.unanswered} unanswered")
    return tally.answered / (used or _SECONDS)


def _local(evaluator: LocalEvaluator, size: int, serials: Iterator[int]) -> float:
    """Decide for a while in this process; return decisions for each second of its time."""
    clock, worked = time.perf_counter, time.thread_time()
    end = clock() + _SECONDS
    count = 0
    for ask, serial in zip(itertools.cycle(asks(size)), serials, strict=False):
        evaluator.evaluate(
            ("User", ask.subject),
            ask.action,
            ("Document", ask.resource),
            {"level": 5, "archived": False, "serial": str(serial)},
        )
        count += 1
        if clock() >= end:
            break
    return count / (time.thread_time() - worked)


if __name__ == "__main__":
    sys.exit(main())
