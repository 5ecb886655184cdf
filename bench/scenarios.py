"""The ways to ask, each as a function that makes decisions and returns how long each call took."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from placet.v1 import evaluate_service_pb2 as evaluate_pb2
from placet.v1.evaluate_service_pb2_grpc import EvaluateServiceStub
from placet_engine.changes import ChangeSet
from placet_engine.items import Policy
from placet_engine.model import EntityUid, Request
from placet_server.app import Node
from placet_server.testing import running_server

if TYPE_CHECKING:
    # The stubs know it; at run time there is one class for both.
    from placet.v1.evaluate_service_pb2_grpc import EvaluateServiceAsyncStub

TENANT = "bench"
POLICIES = 10
BATCH = 100
_WORKERS = 8
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Bench:
    """A running node, a stub to call it with, and requests that never end."""

    node: Node
    stub: EvaluateServiceAsyncStub
    fresh: Iterator[int]
    """Numbers that no request had yet: what contains one is in no cache."""


@asynccontextmanager
async def running_bench() -> AsyncIterator[Bench]:
    """Run a node with a small policy set, and connect to it."""
    async with (
        running_server() as node,
        grpc.aio.insecure_channel(node.address) as channel,
    ):
        await node.publisher.publish(
            TENANT, ChangeSet(upserts=tuple(_policies())), timeout_s=_TIMEOUT_S
        )
        yield Bench(node, EvaluateServiceStub(channel), itertools.count())


def _policies() -> Iterator[Policy]:
    for number in range(POLICIES):
        yield Policy(
            id=f"p{number}",
            cedar=f'permit(principal == User::"u{number}", action == Action::"view", resource) '
            "when { context.level > 3 };",
        )


def _message(id_: str) -> evaluate_pb2.EvaluateRequest:
    message = evaluate_pb2.EvaluateRequest(
        tenant=TENANT,
        subject=evaluate_pb2.Subject(type="User", id="u1"),
        action=evaluate_pb2.Action(name="view"),
        resource=evaluate_pb2.Resource(type="Document", id=id_),
    )
    message.context["level"].int_value = 5
    return message


async def engine_cold(bench: Bench, calls: int) -> list[float]:
    """Judge in this process, nothing remembered, no wire."""
    program = bench.node.active.program(TENANT)
    requests = [
        Request(
            subject=EntityUid("User", "u1"),
            action=EntityUid("Action", "view"),
            resource=EntityUid("Document", str(next(bench.fresh))),
            context={"level": 5},
        )
        for _ in range(calls)
    ]
    return [_timed(lambda request=request: program.judge(request)) for request in requests]  # type: ignore[misc]


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


async def unary_warm(bench: Bench, calls: int) -> list[float]:
    """Ask the same over and over, one request a call."""
    return await _spread(calls, lambda: bench.stub.Evaluate(_message("one"), timeout=_TIMEOUT_S))


async def unary_cold(bench: Bench, calls: int) -> list[float]:
    """Ask something new each time, one request a call."""
    return await _spread(
        calls,
        lambda: bench.stub.Evaluate(_message(str(next(bench.fresh))), timeout=_TIMEOUT_S),
    )


async def batch_warm(bench: Bench, calls: int) -> list[float]:
    """Ask the same hundred over and over."""
    ids = [str(number) for number in range(BATCH)]
    return await _spread(calls, lambda: bench.stub.EvaluateBatch(_batch(ids), timeout=_TIMEOUT_S))


async def batch_cold(bench: Bench, calls: int) -> list[float]:
    """Ask a hundred new ones each time."""
    return await _spread(
        calls,
        lambda: bench.stub.EvaluateBatch(
            _batch([str(next(bench.fresh)) for _ in range(BATCH)]), timeout=_TIMEOUT_S
        ),
    )


def _batch(ids: list[str]) -> evaluate_pb2.EvaluateBatchRequest:
    first = _message("")
    return evaluate_pb2.EvaluateBatchRequest(
        tenant=TENANT,
        subject=first.subject,
        action=first.action,
        context=first.context,
        items=[
            evaluate_pb2.BatchItem(resource=evaluate_pb2.Resource(type="Document", id=id_))
            for id_ in ids
        ],
    )


async def stream_warm(bench: Bench, calls: int) -> list[float]:
    """Ask the same over and over on one stream, the next when the answer is there."""
    call = bench.stub.EvaluateStream(timeout=_TIMEOUT_S)
    message = evaluate_pb2.EvaluateStreamRequest(correlation_id="c", request=_message("one"))
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        await call.write(message)
        await call.read()
        times.append(time.perf_counter() - start)
    await call.done_writing()
    return times


async def _spread(calls: int, call: Callable[[], Awaitable[object]]) -> list[float]:
    """Make calls from several workers; each sends when it has its answer."""
    times: list[float] = []

    async def work() -> None:
        for _ in range(calls // _WORKERS):
            start = time.perf_counter()
            await call()
            times.append(time.perf_counter() - start)

    await asyncio.gather(*(work() for _ in range(_WORKERS)))
    return times
