"""What metrics cost the answer path: `python -m bench.telemetry_cost`.

Two servers, one that Prometheus may scrape and one that measures nothing, are asked the same in
turns, so that whatever else the machine does happens to both. Compared is the processor time a
server uses for one call, which is steadier than the time a caller waits. The requests are the
cheapest there are, remembered ones: beside anything else the cost is a smaller part.
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import subprocess
import sys
import time
import timeit
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

import placet
from placet.v1 import evaluate_service_pb2, evaluate_service_pb2_grpc
from placet_engine.changes import ChangeSet
from placet_engine.items import Policy, Revision
from placet_engine.model import Cause, Outcome, Verdict
from placet_server.api.decision_records import DecisionReporter
from placet_server.api.evaluate import EvaluateService
from placet_server.api.interceptor import EdgeInterceptor
from placet_server.app import Node
from placet_server.config import TelemetryConfig
from placet_server.decisions.decider import Decided
from placet_server.telemetry.decisions import DecisionTelemetry
from placet_server.telemetry.recorders import LATENCY_BOUNDS_S, Counter, Distribution, Metrics
from placet_server.telemetry.rpc import RpcTelemetry
from placet_server.testing import running_server

if TYPE_CHECKING:
    # The stubs know it; at run time there is one class for both.
    from placet.v1.evaluate_service_pb2_grpc import EvaluateServiceAsyncStub

_Work: TypeAlias = "Callable[[EvaluateServiceAsyncStub], Awaitable[None]]"

ROUNDS, CALLS, AT_ONCE, BATCH = 60, 400, 8, 100
_TIMEOUT_S = 30.0
_TENANT = "bench"
_ASKED = evaluate_service_pb2.EvaluateRequest(
    tenant=_TENANT,
    subject=evaluate_service_pb2.Subject(type="User", id="alice"),
    action=evaluate_service_pb2.Action(name="view"),
    resource=evaluate_service_pb2.Resource(type="Document", id="one"),
)


def main() -> None:
    """Measure and print."""
    print("one call of a recorder, in nanoseconds")
    for name, nanoseconds in _recorders():
        print(f"  {name:<40} {nanoseconds:7.0f}")
    print("the handler alone, from bytes to bytes, in microseconds of processor time")
    for name, microseconds in asyncio.run(_handlers()).items():
        print(f"  {name:<40} {microseconds:7.2f}")
    with _server() as off, _server(PLACET_TELEMETRY_PROMETHEUS_LISTEN="127.0.0.1:0") as on:
        for name, calls, work in (
            ("Evaluate, remembered", CALLS, _evaluate),
            (f"EvaluateBatch of {BATCH}, remembered", CALLS // 10, _batch),
        ):
            costs = asyncio.run(_compare(off, on, work, calls))
            without, with_ = (statistics.median(each) for each in costs)
            ratios = sorted(b / a for a, b in zip(*costs, strict=True))
            print(f"{name}: server's processor time for a call, median of {ROUNDS} rounds")
            print(f"  without metrics {without:8.1f} us")
            print(f"  with metrics    {with_:8.1f} us")
            print(
                f"  ratio of neighbours: median {statistics.median(ratios):.3f}, "
                f"quartiles {ratios[len(ratios) // 4]:.3f} to {ratios[-len(ratios) // 4]:.3f}"
            )


def _recorders() -> Iterator[tuple[str, float]]:
    metrics = Metrics()
    counter, distribution = Counter(), Distribution(LATENCY_BOUNDS_S)
    reporter = DecisionReporter(DecisionTelemetry(metrics))
    method = RpcTelemetry(metrics).method("/placet.v1.EvaluateService/Evaluate")
    decided = Decided(Verdict(outcome=Outcome.ALLOW, cause=Cause.PERMITTED), True, b"", Revision(1))
    data = _ASKED.SerializeToString()

    def report() -> None:
        reporter.decided(
            _TENANT,
            data,
            decided,
            decision_id="d",
            duration_s=0.00001,
        )

    for name, call in {
        "Counter.add": counter.add,
        "Distribution.record": lambda: distribution.record(0.0003),
        "DecisionReporter.decided": report,
        "RpcMethod.call and RpcCall.ended": (lambda: method.call().ended("OK", 0)),
    }.items():
        count = 100_000
        yield name, min(timeit.repeat(call, number=count, repeat=5)) / count * 1e9


class _Context:
    """As much of a call's context as a handler looks at."""

    def time_remaining(self) -> float:
        return _TIMEOUT_S

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()


async def _handlers() -> dict[str, float]:
    """Return the median time of a remembered decision in the server's own code, in turns."""
    data, context = _ASKED.SerializeToString(), _Context()
    telemetry = TelemetryConfig(prometheus_listen="127.0.0.1:0")
    async with running_server(telemetry=telemetry) as node:
        policies = (Policy(id="p", cedar="permit (principal, action, resource);"),)
        await node.publisher.publish(_TENANT, ChangeSet(upserts=policies), timeout_s=_TIMEOUT_S)
        times: dict[str, list[float]] = {"without metrics": [], "with metrics": []}
        handlers = {
            "without metrics": await _handler(node, None, None),
            "with metrics": await _handler(node, node.telemetry.rpc, node.telemetry.decisions),
        }
        for number in range(ROUNDS):
            for name in sorted(handlers, reverse=bool(number % 2)):
                handler = handlers[name]
                write = handler.response_serializer or bytes
                start_s = time.process_time()
                for _ in range(1000):
                    request = handler.request_deserializer(data)
                    write(await handler.unary_unary(request, context))
                times[name].append((time.process_time() - start_s) * 1e3)
    return {name: statistics.median(each) for name, each in times.items()}


async def _handler(
    node: Node, rpcs: RpcTelemetry | None, decisions: DecisionTelemetry | None
) -> Any:
    """Return what gRPC gets to call for Evaluate."""
    with ThreadPoolExecutor(1) as executor:
        service = EvaluateService(
            decider=node.decider,
            active=node.active,
            admission=node.admission,
            executor=executor,
            reporter=DecisionReporter(decisions),
        )
    handler: Any = grpc.unary_unary_rpc_method_handler(service.Evaluate)

    async def found(details: grpc.HandlerCallDetails) -> Any:
        return handler

    class Details(grpc.HandlerCallDetails):
        method = "/placet.v1.EvaluateService/Evaluate"
        invocation_metadata = ()

    interceptor = EdgeInterceptor(write_timeout_s=_TIMEOUT_S, telemetry=rpcs)
    return await interceptor.intercept_service(found, Details())


@dataclass(frozen=True, slots=True)
class _Server:
    address: str
    pid: int

    def processor_s(self) -> float:
        """Return the processor time of all of its threads so far, in seconds."""
        threads = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


@contextmanager
def _server(**settings: str) -> Iterator[_Server]:
    run = "from placet.cli.main import run; raise SystemExit(run())"
    command = [sys.executable, "-c", run, "serve", "--store", "memory"]
    process = subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0", "--log-level", "warning"],
        env={**os.environ, **settings, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        found = re.search(r"serves on (\S+),", process.stdout.readline())
        assert found, "the server did not start"
        address = found[1]
        policies = (placet.Policy(id="p", cedar="permit (principal, action, resource);"),)
        with placet.Client(address, tenant=_TENANT) as client:
            client.publish(placet.ChangeSet(policies=policies))
        yield _Server(address, process.pid)
    finally:
        process.terminate()
        process.wait(_TIMEOUT_S)


async def _evaluate(stub: EvaluateServiceAsyncStub) -> None:
    await stub.Evaluate(_ASKED, timeout=_TIMEOUT_S)


async def _batch(stub: EvaluateServiceAsyncStub) -> None:
    await stub.EvaluateBatch(
        evaluate_service_pb2.EvaluateBatchRequest(
            tenant=_TENANT,
            subject=_ASKED.subject,
            action=_ASKED.action,
            items=[evaluate_service_pb2.BatchItem(resource=_ASKED.resource)] * BATCH,
        ),
        timeout=_TIMEOUT_S,
    )


async def _compare(
    off: _Server, on: _Server, work: _Work, calls: int
) -> tuple[list[float], list[float]]:
    """Return the processor time of a call in microseconds, for each round and server."""
    costs: tuple[list[float], list[float]] = [], []
    async with (
        grpc.aio.insecure_channel(off.address) as first,
        grpc.aio.insecure_channel(on.address) as second,
    ):
        for number in range(ROUNDS + 1):
            turns = [(off, first, costs[0]), (on, second, costs[1])]
            for server, channel, results in turns[:: 1 if number % 2 else -1]:
                cost = await _round(
                    server, evaluate_service_pb2_grpc.EvaluateServiceStub(channel), work, calls
                )
                # The first round is for both to get warm.
                if number:
                    results.append(cost)
    return costs


async def _round(server: _Server, stub: EvaluateServiceAsyncStub, work: _Work, calls: int) -> float:
    async def caller() -> None:
        for _ in range(calls // AT_ONCE):
            await work(stub)

    start_s = server.processor_s()
    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    return (server.processor_s() - start_s) / (calls // AT_ONCE * AT_ONCE) * 1e6


if __name__ == "__main__":
    main()
