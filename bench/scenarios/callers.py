"""Callers that never pause, with either of the SDK's clients, and how long each of them waits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import placet
from bench.failures import WrongAnswer
from bench.workloads import TENANT

Kind: TypeAlias = Literal["threads", "tasks"]
KINDS: tuple[Kind, ...] = ("threads", "tasks")
_ASKED = (("User", "alice"), "view", ("Document", "one"))
_ALLOW = "permit(principal, action, resource);"
_READY_TIMEOUT_S = 20.0
_NS = 1_000_000_000


@dataclass(slots=True)
class Tally:
    """What callers saw."""

    waits: list[tuple[int, int]] = field(default_factory=list)
    """When a caller had an answer, and how long after its one before: nanoseconds."""
    endpoints: tuple[placet.EndpointStatistics, ...] = ()
    """What the client saw of each, at the end."""
    errors: list[str] = field(default_factory=list)
    is_over: bool = False

    def took(self, before: int) -> int:
        """Note an answer; return the time."""
        now = time.perf_counter_ns()
        self.waits.append((now, now - before))
        return now

    def between(self, since: int, until: int) -> list[int]:
        """Return the waits that ended in a span."""
        return [wait for at, wait in list(self.waits) if since <= at < until]


def publish_permission(address: str) -> int:
    """Publish what every caller's request is allowed by; return the revision."""
    with placet.Client(address, tenant=TENANT) as client:
        change_set = placet.ChangeSet(policies=[placet.Policy(id="all", cedar=_ALLOW)])
        return client.publish(change_set).revision


@contextmanager
def calling(
    kind: Kind, target: Any, *, count: int, balancing: placet.Balancing | None = None
) -> Iterator[Tally]:
    """Have so many callers call until the end of the block.

    Raises:
        WrongAnswer: the endpoints do not get ready.
    """
    tally = Tally()
    work = _in_threads if kind == "threads" else _in_tasks
    ready = threading.Event()
    thread = threading.Thread(
        target=work, args=(tally, target, count, balancing, ready), name="callers", daemon=True
    )
    thread.start()
    try:
        if not ready.wait(_READY_TIMEOUT_S):
            raise WrongAnswer(f"the endpoints are not ready after {_READY_TIMEOUT_S:.0f} s")
        yield tally
    finally:
        tally.is_over = True
        thread.join()


def _in_threads(
    tally: Tally,
    target: Any,
    count: int,
    balancing: placet.Balancing | None,
    ready: threading.Event,
) -> None:
    with placet.Client(target, tenant=TENANT, balancing=balancing) as client:
        client.wait_ready(timeout_s=_READY_TIMEOUT_S)

        def call_on() -> None:
            before = time.perf_counter_ns()
            while not tally.is_over:
                try:
                    client.evaluate(*_ASKED)
                    before = tally.took(before)
                except placet.PlacetError as error:
                    tally.errors.append(str(error))

        threads = [threading.Thread(target=call_on, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        ready.set()
        for thread in threads:
            thread.join()
        tally.endpoints = client.endpoints()


def _in_tasks(
    tally: Tally,
    target: Any,
    count: int,
    balancing: placet.Balancing | None,
    ready: threading.Event,
) -> None:
    async def call_on(client: placet.aio.Client) -> None:
        before = time.perf_counter_ns()
        while not tally.is_over:
            try:
                await client.evaluate(*_ASKED)
                before = tally.took(before)
            except placet.PlacetError as error:
                tally.errors.append(str(error))

    async def call() -> None:
        async with placet.aio.Client(target, tenant=TENANT, balancing=balancing) as client:
            await client.wait_ready(timeout_s=_READY_TIMEOUT_S)
            ready.set()
            async with asyncio.TaskGroup() as group:
                for _ in range(count):
                    group.create_task(call_on(client))
            tally.endpoints = client.endpoints()

    asyncio.run(call())
