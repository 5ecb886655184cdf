"""Calling in a closed loop, and telling how that goes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc.aio
from google.protobuf import json_format

import placet
from placet.v1 import evaluate_service_pb2, evaluate_service_pb2_grpc
from tests.polyglot.python.asking import ask, code_of
from tests.polyglot.python.lines import input_ended, tell

_TICK_S = 0.1
_MOST_TOLD = 20

Asking: TypeAlias = Callable[[], Awaitable[str]]
"""Makes a call, and returns the node that answered. Raises :class:`Failed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to call."""

    request: str
    concurrency: int
    pause_s: float
    deadline_s: float
    duration_s: float
    is_stock: bool


class Failed(Exception):
    """A call that brought no decision."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class _Count:
    """What was counted in some time."""

    calls: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    nodes: Counter[str] = field(default_factory=Counter)
    gap_s: float = 0.0


@dataclass(slots=True)
class _Tally:
    """How calls went."""

    whole: _Count = field(default_factory=_Count)
    since_tick: _Count = field(default_factory=_Count)
    took_s: list[float] = field(default_factory=list)
    succeeded_at_s: dict[int, float] = field(default_factory=dict)
    """When each worker succeeded last, or began."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    def succeeded(self, worker: int, node: str, took_s: float) -> None:
        now_s = time.perf_counter()
        gap_s = now_s - self.succeeded_at_s[worker]
        self.succeeded_at_s[worker] = now_s
        self.took_s.append(took_s)
        for count in (self.whole, self.since_tick):
            count.calls += 1
            count.nodes[node] += 1
            if self.ready.is_set():
                count.gap_s = max(count.gap_s, gap_s)
        if not self.ready.is_set():
            # What the others wait for until now is for a connection.
            self.succeeded_at_s = dict.fromkeys(self.succeeded_at_s, now_s)
            self.ready.set()
            tell(event="ready")

    def failed(self, failure: Failed, took_s: float) -> None:
        if self.whole.codes.total() < _MOST_TOLD:
            after_ms = round(took_s * 1000, 3)
            tell(event="failed", code=failure.code, message=str(failure), after_ms=after_ms)
        for count in (self.whole, self.since_tick):
            count.calls += 1
            count.codes[failure.code] += 1

    def tick(self) -> None:
        count, self.since_tick = self.since_tick, _Count()
        tell(
            event="tick",
            calls=count.calls,
            failed=count.codes.total(),
            nodes=count.nodes,
            gap_ms=_ms(max(count.gap_s, self._open_s())),
        )

    def done(self) -> None:
        tell(
            event="done",
            calls=self.whole.calls,
            failed=self.whole.codes.total(),
            codes=self.whole.codes,
            nodes=self.whole.nodes,
            longest_gap_ms=_ms(max(self.whole.gap_s, self._open_s())),
            p50_ms=_ms(self._percentile(0.5)),
            p99_ms=_ms(self._percentile(0.99)),
        )

    def _open_s(self) -> float:
        if not self.ready.is_set():
            return 0.0
        return time.perf_counter() - min(self.succeeded_at_s.values())

    def _percentile(self, share: float) -> float:
        ordered = sorted(self.took_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


async def run(target: str, options: Options) -> None:
    """Call for as long as it was said, or until standard input ends."""
    over, tally = input_ended(), _Tally()
    async with _asking(target, options) as asking:
        began_s = time.perf_counter()
        tally.succeeded_at_s = dict.fromkeys(range(options.concurrency), began_s)
        workers = [
            asyncio.create_task(_work(number, asking, options.pause_s, over, tally))
            for number in range(options.concurrency)
        ]
        try:
            async with asyncio.timeout(options.duration_s):
                await tally.ready.wait()
                while not over.is_set():
                    await asyncio.sleep(_TICK_S)
                    tally.tick()
        except TimeoutError:
            over.set()
        await asyncio.gather(*workers)
    tally.done()


async def _work(
    number: int, asking: Asking, pause_s: float, over: asyncio.Event, tally: _Tally
) -> None:
    while not over.is_set():
        began_s = time.perf_counter()
        try:
            node = await asking()
        except Failed as failure:
            tally.failed(failure, time.perf_counter() - began_s)
        else:
            tally.succeeded(number, node, time.perf_counter() - began_s)
        await asyncio.sleep(pause_s)


@asynccontextmanager
async def _asking(target: str, options: Options) -> AsyncIterator[Asking]:
    request = evaluate_service_pb2.EvaluateRequest()
    json_format.Parse(options.request, request)
    opened = _stock if options.is_stock else _by_the_sdk
    async with opened(target, request, options.deadline_s) as asking:
        yield asking


@asynccontextmanager
async def _by_the_sdk(
    target: str, request: evaluate_service_pb2.EvaluateRequest, deadline_s: float
) -> AsyncIterator[Asking]:
    async with placet.aio.Client(target, timeout_s=deadline_s) as client:

        async def asking() -> str:
            try:
                return (await ask(client, request)).node
            except placet.PlacetError as error:
                raise Failed(code_of(error), error.message) from error

        yield asking


@asynccontextmanager
async def _stock(
    target: str, request: evaluate_service_pb2.EvaluateRequest, deadline_s: float
) -> AsyncIterator[Asking]:
    async with grpc.aio.insecure_channel(target) as channel:
        stub = evaluate_service_pb2_grpc.EvaluateServiceStub(channel)

        async def asking() -> str:
            try:
                response = await stub.Evaluate(request, timeout=deadline_s)
            except grpc.aio.AioRpcError as error:
                raise Failed(error.code().name, error.details() or "") from error
            node: str = response.decision.node
            return node

        yield asking
