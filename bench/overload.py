"""Latency under overload: a node on core 0, callers on core 1, with and without admission control.

``python -m bench.overload`` finds what the node can do (the best of a few closed loops), offers a
part or a multiple of it in an open loop, and prints what became of the calls. Latency counts from
when a call was meant to be sent, so that a caller who is held up does not hide the wait. The
callers are grpcio's, which cost about what the node does: where ``sent_late_p99_ms`` is not far
below ``p99_ms``, the callers were measured and not the node.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import uvloop

from placet.v1 import evaluate_service_pb2 as evaluate_pb2
from placet_engine.changes import ChangeSet
from placet_engine.items import Policy
from placet_server.config import LimitsConfig
from placet_server.testing import running_server

_TENANT = "bench"
_METHOD = "/placet.v1.EvaluateService/Evaluate"
_SERVER_CORE, _CALLER_CORE = 0, 1
_CHANNELS = 4
_CONCURRENCY = 32
_TRIES = 3
_TIMEOUT_S = 10.0
_START_TIMEOUT_S = 30.0
_MOST_UNDER_WAY = 20_000


@dataclass(slots=True)
class Tally:
    """What became of calls that were meant to be sent after the warm-up. Times in seconds."""

    admitted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    failed: int = 0
    late: list[float] = field(default_factory=list)
    """How late calls were sent."""


class Callers:
    """Channels to call one node through."""

    def __init__(self, address: str) -> None:
        # Options that differ keep the channels from sharing a connection.
        self._channels = [
            grpc.aio.insecure_channel(address, (("placet.bench", number),))
            for number in range(_CHANNELS)
        ]
        self._calls: list[Any] = [channel.unary_unary(_METHOD) for channel in self._channels]
        self._request = evaluate_pb2.EvaluateRequest(
            tenant=_TENANT,
            subject=evaluate_pb2.Subject(type="User", id="u1"),
            action=evaluate_pb2.Action(name="view"),
            resource=evaluate_pb2.Resource(type="Document", id="one"),
        ).SerializeToString()

    async def aclose(self) -> None:
        for channel in self._channels:
            await channel.close()

    async def ask(self, number: int) -> grpc.StatusCode:
        try:
            await self._calls[number % _CHANNELS](self._request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    async def saturate(self, seconds: float) -> float:
        """Return answers per second with a number of calls always under way."""
        answered = 0
        until = time.perf_counter() + seconds

        async def caller(number: int) -> None:
            nonlocal answered
            while time.perf_counter() < until:
                code = await self.ask(number)
                answered += code is grpc.StatusCode.OK

        await asyncio.gather(*(caller(number) for number in range(_CONCURRENCY)))
        return answered / seconds

    async def offer(self, rate: float, *, seconds: float, warm_up_s: float) -> Tally:
        """Call at a rate, as independent callers do, whether or not answers come."""
        tally = Tally()
        under_way: set[asyncio.Task[None]] = set()
        rng = random.Random(1)
        due = start = time.perf_counter()
        while due < start + warm_up_s + seconds:
            now = time.perf_counter()
            if now < due:
                await asyncio.sleep(due - now)
                continue
            counts = due > start + warm_up_s
            if len(under_way) < _MOST_UNDER_WAY:
                task = asyncio.create_task(self._timed(due, tally if counts else Tally()))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            else:
                tally.failed += counts
            due += rng.expovariate(rate)
        await asyncio.gather(*under_way)
        return tally

    async def _timed(self, due: float, tally: Tally) -> None:
        tally.late.append(time.perf_counter() - due)
        code = await self.ask(len(tally.late))
        took = time.perf_counter() - due
        if code is grpc.StatusCode.OK:
            tally.admitted.append(took)
        elif code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            tally.refused.append(took)
        else:
            tally.failed += 1


def _ms(times: list[float], percent: int) -> float:
    """Return a percentile in milliseconds."""
    if len(times) < 2:
        return float("nan")
    return round(statistics.quantiles(times, n=100)[percent - 1] * 1e3, 2)


def _row(name: str, load: float, ceiling: float, tally: Tally, seconds: float) -> dict[str, object]:
    return {
        "node": name,
        "load": load,
        "admitted_per_second": round(len(tally.admitted) / seconds),
        "goodput": round(len(tally.admitted) / seconds / ceiling, 2),
        "p50_ms": _ms(tally.admitted, 50),
        "p99_ms": _ms(tally.admitted, 99),
        "refused_per_second": round(len(tally.refused) / seconds),
        "refused_p99_ms": _ms(tally.refused, 99),
        "failed": tally.failed,
        "sent_late_p99_ms": _ms(tally.late, 99),
    }


async def _serve(target_wait_s: float) -> None:
    limits = LimitsConfig(target_wait_s=target_wait_s)
    policy = Policy(id="p", cedar="permit(principal, action, resource);")
    async with running_server(limits=limits) as node:
        await node.publisher.publish(_TENANT, ChangeSet(upserts=(policy,)), timeout_s=_TIMEOUT_S)
        print(node.address, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@contextmanager
def _node(target_wait_s: float) -> Iterator[str]:
    """Run a node in a process of its own; it ends when its standard input does."""
    command = [sys.executable, "-m", "bench.overload", "--serve", str(target_wait_s)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(_START_TIMEOUT_S)


async def _compare(loads: list[float], seconds: float, target_wait_s: float) -> dict[str, object]:
    rows: list[dict[str, object]] = []
    ceiling = 0.0
    for name, target in (("without admission", 0.0), ("with admission", target_wait_s)):
        with _node(target) as address:
            callers = Callers(address)
            await callers.saturate(1.0)
            if not ceiling:
                ceiling = max([await callers.saturate(2.0) for _ in range(_TRIES)])
            for load in loads:
                tally = await callers.offer(ceiling * load, seconds=seconds, warm_up_s=1.0)
                rows.append(_row(name, load, ceiling, tally, seconds))
            await callers.aclose()
    return {"ceiling_per_second": round(ceiling), "target_wait_s": target_wait_s, "rows": rows}


def main() -> None:
    """Compare, and print as JSON lines."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--loads", default="0.8,1.5")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--target-wait-s", type=float, default=LimitsConfig().target_wait_s)
    parser.add_argument("--serve", type=float)
    options = parser.parse_args()
    core = _CALLER_CORE if options.serve is None else _SERVER_CORE
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if options.serve is not None:
            runner.run(_serve(options.serve))
            return
        loads = [float(load) for load in options.loads.split(",")]
        found = runner.run(_compare(loads, options.seconds, options.target_wait_s))
    for row in found.pop("rows"):  # type: ignore[attr-defined]
        print(json.dumps(row))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
