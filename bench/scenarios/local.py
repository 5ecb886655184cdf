"""Decisions in the asking process: Placet's local evaluation, and casbin beside it."""

from __future__ import annotations

import itertools
import logging
import statistics
import time
from collections.abc import Callable, Iterator

from bench.failures import WrongAnswer
from bench.histogram import Latencies
from bench.machine import pinned
from bench.measure import Context
from bench.peers.in_process import casbin_decider
from bench.records import Figure, Times
from bench.scenarios.running import with_policies
from bench.servers import Variant
from bench.workloads import TENANT, Ask, asks
from placet.local import LocalEvaluator

SIZES = (10, 1_000)
PLACET, CASBIN = "placet local", "casbin"
WARM, COLD = "a decision, warm", "a decision, cold"
_SECONDS, _QUICK_SECONDS = 2.0, 0.5
_CONTEXT = {"level": 5, "archived": False}

_Decide = Callable[[Ask, str], bool]


def name_of(size: int) -> str:
    """Return the scenario's name."""
    return f"local, {size:,} policies"


def run(context: Context, variant: Variant) -> None:
    """Decide by 10 and by 1,000 policies, the same things and new ones."""
    logging.getLogger("casbin").setLevel(logging.WARNING)
    for size in SIZES:
        with (
            with_policies(context, variant, {TENANT: size}) as server,
            pinned(context.cores.load),
            LocalEvaluator(server.address, tenant=TENANT) as evaluator,
        ):
            evaluator.wait_ready()

            def decide(ask: Ask, serial: str, evaluator: LocalEvaluator = evaluator) -> bool:
                return evaluator.evaluate(
                    ("User", ask.subject),
                    ask.action,
                    ("Document", ask.resource),
                    {**_CONTEXT, "serial": serial},
                ).allowed

            peer = casbin_decider(size)
            _agree(decide, peer, size)
            _measure(context, PLACET, decide, size, kinds=(WARM, COLD))
            _measure(context, CASBIN, peer, size, kinds=(COLD,))


def _agree(ours: _Decide, peer: _Decide, size: int) -> None:
    allowed = 0
    for ask in asks(size):
        answer = ours(ask, "1")
        allowed += answer
        if answer != peer(ask, "1"):
            raise WrongAnswer(f"placet answers {answer} to {ask}, and casbin does not")
    if not 0 < allowed < len(asks(size)):
        raise WrongAnswer("the requests do not tell policies apart")


def _measure(
    context: Context, system: str, decide: _Decide, size: int, *, kinds: tuple[str, ...]
) -> None:
    for kind in kinds:
        context.tell(f"{name_of(size)}: {system}, {kind}")
        serials = itertools.repeat("1") if kind == WARM else _new(context)
        times = _timed(decide, size, serials, _QUICK_SECONDS if context.quick else _SECONDS)
        latencies = Latencies(times)
        context.results.times.append(Times(name_of(size), system, kind, latencies))
        for what, value in (("median", statistics.median(times)), ("mean", statistics.mean(times))):
            context.results.figures.append(
                Figure(name_of(size), system, f"{kind}, {what}", value / 1e3, "µs")
            )


def _new(context: Context) -> Iterator[str]:
    while True:
        yield str(context.serials.next())


def _timed(decide: _Decide, size: int, serials: Iterator[str], seconds: float) -> list[int]:
    """Decide for a while, after a warm-up of a fifth of it; return how long each took."""
    clock = time.perf_counter_ns
    questions = itertools.cycle(asks(size))
    begin = clock() + int(seconds / 5 * 1e9)
    end = begin + int(seconds * 1e9)
    times = []
    for ask, serial in zip(questions, serials, strict=False):
        start = clock()
        decide(ask, serial)
        now = clock()
        if start >= begin:
            times.append(now - start)
        if now >= end:
            break
    return times
