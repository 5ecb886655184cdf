"""What callers see of a node that dies, hangs or is cut off: the longest that one of them waits."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.histogram import Latencies
from bench.machine import pinned
from bench.measure import Context
from bench.records import Figure, Times
from bench.scenarios.callers import KINDS, Kind, calling, publish_permission
from bench.servers import Server, Variant, running_placet
from bench.wires import wire_in_background
from bench.workloads import TENANT, wait_everywhere

NAME = "failover, one of three nodes"
KILLED, HUNG, CUT = "killed", "hung", "cut off"
_CALLERS = 4
_BEFORE_S, _AFTER_S = 1.0, 2.0
_ROUNDS, _QUICK_ROUNDS = 20, 4


def gap_name(kind: Kind, fault: str, *, before: bool = False) -> str:
    """Return what the longest waits around a fault are called."""
    return f"longest wait, {'before ' if before else ''}{fault}, {kind}"


def failed_name(kind: Kind, fault: str) -> str:
    """Return what the calls that failed are called."""
    return f"failed calls, {fault}, {kind}"


def run(context: Context, variant: Variant) -> None:
    """Kill, stop and cut off one of three nodes, over and over: how long callers wait."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=context.folder)))
        nodes = stack.enter_context(fleet(context, variant, folder))
        for kind in KINDS:
            for fault, prepare in ((KILLED, _kill), (HUNG, _hang), (CUT, _cut)):
                context.tell(f"{NAME}: {fault}, {kind}")
                _measure(context, variant, nodes, kind, fault, prepare)


@dataclass(slots=True)
class Fleet:
    """Three servers on one store, one of which can be started anew."""

    servers: list[Server]
    restart: Callable[[], Server]
    """Ends the first and starts another in its place."""

    @property
    def addresses(self) -> list[str]:
        return [server.address for server in self.servers]


@contextmanager
def fleet(context: Context, variant: Variant, folder: Path) -> Iterator[Fleet]:
    """Run nodes `node-0` and so on, for the length of the block, with policies that allow."""

    def start(stack: ExitStack, number: int) -> Server:
        name = ("--node", f"node-{number}")
        named = replace(
            variant, name=f"{variant.name}.{number}", arguments=(*variant.arguments, *name)
        )
        return stack.enter_context(running_placet(named, context.cores, folder))

    with ExitStack() as others, ExitStack() as first:

        def restart() -> Server:
            first.close()
            nodes.servers[0] = start(first, 0)
            return nodes.servers[0]

        nodes = Fleet([start(first, 0), *(start(others, number) for number in (1, 2))], restart)
        revision = publish_permission(nodes.addresses[0])
        for address in nodes.addresses:
            wait_everywhere(address, TENANT, revision)
        yield nodes


@dataclass(frozen=True, slots=True)
class _Round:
    """One time that the first of the nodes breaks."""

    addresses: list[str]
    """To be called."""
    break_it: Callable[[], object]
    mend_it: Callable[[], object]


def _kill(fleet: Fleet, stack: ExitStack) -> _Round:
    victim = fleet.servers[0].pid
    return _Round(fleet.addresses, lambda: os.kill(victim, signal.SIGKILL), fleet.restart)


def _hang(fleet: Fleet, stack: ExitStack) -> _Round:
    victim = fleet.servers[0].pid
    return _Round(
        fleet.addresses,
        lambda: os.kill(victim, signal.SIGSTOP),
        lambda: os.kill(victim, signal.SIGCONT),
    )


def _cut(fleet: Fleet, stack: ExitStack) -> _Round:
    wire = stack.enter_context(wire_in_background(fleet.addresses[0]))
    return _Round([wire.address, *fleet.addresses[1:]], wire.cut, lambda: None)


def _measure(
    context: Context,
    variant: Variant,
    fleet: Fleet,
    kind: Kind,
    fault: str,
    prepare: Callable[[Fleet, ExitStack], _Round],
) -> None:
    quiet: list[int] = []
    longest: list[int] = []
    calls = failed = 0
    for _ in range(_QUICK_ROUNDS if context.quick else _ROUNDS):
        with ExitStack() as stack:
            round_ = prepare(fleet, stack)
            stack.callback(round_.mend_it)
            stack.enter_context(pinned(context.cores.load))
            tally = stack.enter_context(calling(kind, round_.addresses, count=_CALLERS))
            time.sleep(_BEFORE_S)
            broken = time.perf_counter_ns()
            round_.break_it()
            time.sleep(_AFTER_S)
        quiet.append(max(tally.between(0, broken)))
        longest.append(max(tally.between(broken, time.perf_counter_ns())))
        calls += len(tally.waits)
        failed += len(tally.errors)
    system = f"placet {variant.name}"
    results = context.results
    for waits, is_before in ((quiet, True), (longest, False)):
        what = gap_name(kind, fault, before=is_before)
        results.times.append(Times(NAME, system, what, Latencies(waits)))
    results.figures.append(Figure(NAME, system, failed_name(kind, fault), failed, "calls"))
    results.figures.append(Figure(NAME, system, f"calls, {fault}, {kind}", calls, "calls"))
