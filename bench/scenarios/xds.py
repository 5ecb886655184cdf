"""What xDS clients of four languages see of a node that dies, hangs or is drained.

Each is measured by itself: the generated stub on the library's own channel, and the small client
where the language has one. The control plane is the two nodes that stay.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import placet
from bench.drivers import Load, Tick, last_sent_ns, loading
from bench.failures import CannotStart
from bench.histogram import Latencies
from bench.machine import pinned
from bench.measure import Context
from bench.records import Figure, Skipped, Times
from bench.scenarios.failover import HUNG, KILLED, Fleet, fleet
from bench.servers import Variant
from bench.workloads import TENANT
from placet.cli.xds_bootstrap import Who, for_grpc
from tests.polyglot.languages import LANGUAGES, Broken, Built

NAME = "xds, one of three nodes"
DRAINED = "drained"
FAULTS = (KILLED, HUNG, DRAINED)
STOCK, SMALL = "stock", "small client"
CLIENTS: tuple[tuple[str, str], ...] = (
    ("python", STOCK),
    *((language, kind) for language in ("go", "node", "java") for kind in (STOCK, SMALL)),
)
"""Languages, and what calls. Python's SDK balances by itself: `failover` measures it."""
DEADLINE_S = 1.0
_NODES = frozenset(f"node-{number}" for number in range(3))
_BEFORE_S, _AFTER_S, _LONGEST_S = 1.0, 2.5, 60
_READY_TIMEOUT_S = 30.0
_ROUNDS, _QUICK_ROUNDS = 8, 2
_SETTLED = 3
_REQUEST = json.dumps(
    {
        "tenant": TENANT,
        "subject": {"type": "User", "id": "alice"},
        "action": {"name": "view"},
        "resource": {"type": "Document", "id": "one"},
    }
)


def gap_name(language: str, kind: str, fault: str, *, before: bool = False) -> str:
    """Return what the longest waits around a fault are called."""
    return f"longest wait, {'before ' if before else ''}{fault}, {language}, {kind}"


def failed_name(language: str, kind: str, fault: str) -> str:
    """Return what the calls that failed are called."""
    return f"failed calls, {fault}, {language}, {kind}"


def sent_name(language: str) -> str:
    """Return what the time is called for which new calls went to a node that hung."""
    return f"new calls go to the hung node for, {language}, {STOCK}"


def run(context: Context, variant: Variant) -> None:
    """Kill, stop and drain one of three nodes under xDS clients of each language."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=context.folder)))
        drivers = _drivers(context, variant, folder)
        if not drivers:
            raise CannotStart("no driver can be built")
        nodes = stack.enter_context(fleet(context, variant, folder))
        for language, kind in CLIENTS:
            if language in drivers:
                for fault in FAULTS:
                    context.tell(f"{NAME}: {fault}, {language}, {kind}")
                    _measure(context, variant, nodes, folder, drivers[language], kind, fault)


def _drivers(context: Context, variant: Variant, folder: Path) -> dict[str, Built]:
    """Build what can be built here; the report says what cannot."""
    built = {}
    for language in LANGUAGES:
        reason = language.missing()
        if reason is None:
            context.tell(f"{NAME}: building the driver in {language.name}")
            try:
                built[language.name] = language.built(folder / f"driver-{language.name}")
                continue
            except Broken as broken:
                reason = str(broken)
        name = f"{NAME}, {language.name}"
        context.results.skipped.append(Skipped(name, f"placet {variant.name}", reason))
    return built


@dataclass(frozen=True, slots=True)
class _Pace:
    """How a driver's workers call."""

    workers: int
    pause_ms: int


# Who is stuck on a hung node calls nobody else. Of many workers that seldom call, some are left to
# show for how long the node still gets calls; a few that call all the time show how long they wait.
_FEW, _MANY = _Pace(8, 2), _Pace(64, 200)


def _measure(
    context: Context,
    variant: Variant,
    nodes: Fleet,
    folder: Path,
    built: Built,
    kind: str,
    fault: str,
) -> None:
    quiet: list[int] = []
    longest: list[int] = []
    sent: list[int] = []
    calls = failed = 0
    is_stuck = fault == HUNG and kind == STOCK
    for _ in range(_QUICK_ROUNDS if context.quick else _ROUNDS):
        load, broken_ns = _round(context, nodes, folder, built, kind, fault, _FEW)
        quiet.append(max(tick.gap_ns for tick in load.before(broken_ns)))
        longest.append(max(tick.gap_ns for tick in load.since(broken_ns)))
        assert load.done is not None
        calls, failed = calls + load.done["calls"], failed + load.done["failed"]
        if is_stuck:
            load, broken_ns = _round(context, nodes, folder, built, kind, fault, _MANY)
            sent.append(last_sent_ns(load.since(broken_ns), broken_ns, DEADLINE_S))
    system = f"placet {variant.name}"
    times = [
        (gap_name(built.name, kind, fault, before=True), quiet),
        (gap_name(built.name, kind, fault), longest),
        *([(sent_name(built.name), sent)] if is_stuck else []),
    ]
    results = context.results
    for what, found in times:
        results.times.append(Times(NAME, system, what, Latencies(found)))
    name = failed_name(built.name, kind, fault)
    results.figures.append(Figure(NAME, system, name, failed, "calls"))
    results.figures.append(Figure(NAME, system, name.replace("failed ", "", 1), calls, "calls"))


def _round(
    context: Context,
    nodes: Fleet,
    folder: Path,
    built: Built,
    kind: str,
    fault: str,
    pace: _Pace,
) -> tuple[Load, int]:
    """Break the first node once; return what a driver saw, and when that was."""
    path = folder / "bootstrap.json"
    path.write_text(json.dumps(for_grpc(nodes.addresses[1:], Who(id="bench"))))
    arguments = (
        *("--target", "xds:///placet", "--request", _REQUEST),
        *("--concurrency", str(pace.workers), "--pause-ms", str(pace.pause_ms)),
        *("--deadline-ms", str(round(DEADLINE_S * 1000)), "--duration-s", str(_LONGEST_S)),
        *(("--stock",) if kind == STOCK else ()),
    )
    environment = {"GRPC_XDS_BOOTSTRAP": str(path)}
    with ExitStack() as stack:
        with pinned(context.cores.load):
            name = f"{built.name}, {kind}"
            load = stack.enter_context(
                loading(name, built.command, *arguments, environment=environment)
            )
        load.wait_for(_all_answer, _READY_TIMEOUT_S)
        time.sleep(_BEFORE_S)
        with _broken(nodes, fault) as break_it:
            broken_ns = time.perf_counter_ns()
            break_it()
            time.sleep(_AFTER_S)
            # Ended while the node is still broken: what follows is no part of it.
            stack.close()
    return load, broken_ns


def _all_answer(ticks: Sequence[Tick]) -> bool:
    return len(ticks) >= _SETTLED and all(tick.nodes == _NODES for tick in ticks[-_SETTLED:])


@contextmanager
def _broken(nodes: Fleet, fault: str) -> Iterator[Callable[[], object]]:
    """Yield what breaks the first node, and mend it at the end."""
    victim = nodes.servers[0].pid
    if fault == KILLED:
        yield lambda: os.kill(victim, signal.SIGKILL)
        nodes.restart()
    elif fault == HUNG:
        try:
            yield lambda: os.kill(victim, signal.SIGSTOP)
        finally:
            os.kill(victim, signal.SIGCONT)
    else:
        with placet.Client(nodes.addresses[1]) as operator:
            yield lambda: operator.update_node("node-0", draining=True)
            operator.update_node("node-0", draining=False)
