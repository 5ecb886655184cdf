"""Callers at one place, as a process: for each tenant a client that never stops asking.

``python -m placet.cli.demo_regions.callers PID`` reads from standard input who is to ask whom, as
``Asking`` has it, and prints a ``Told`` as JSON four times a second, and first an empty one when
all clients have found somebody. It ends when its standard input does. If nobody reads what it
prints, it keeps a bounded part of that and goes on.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

from placet import Balancing, Country, Entity, EntityRef, PlacetError, Topology
from placet.aio import Client
from placet.cli.demo_regions.bound import end_with

TIMEOUT_S = 3.0
"""Of each call, in all its attempts."""
TELL_EVERY_S = 0.25
# The longest way there and back takes a quarter of a second, and a dozen nodes share this machine:
# one that gets no processor for a moment is neither hung nor the last that could answer.
_BALANCING = Balancing(ping_timeout_s=1.0, attempts=5)
_READY_TIMEOUT_S = 30.0
_MOST_UNDER_WAY = 16
_MOST_LATENCIES = 40
"""That are told of one node at a time; the newest count."""
_DEPARTMENTS = ("sales", "accounting", "engineering")
_INVOICES = ("paper", "laptops", "party")


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks whom."""

    country: str
    bootstrap: Sequence[str]
    """Addresses of nodes that know the way."""
    tenants: Sequence[str]
    per_second: float
    """Calls for each tenant."""


@dataclass(slots=True)
class Answered:
    """What one node answered."""

    calls: int = 0
    latencies_ms: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Told:
    """What a tenant's calls came to, since it was told last."""

    nodes: dict[str, Answered] = field(default_factory=dict)
    """By the region and the name of the node, as the answer has them: ``eu-west eu-west-1``."""
    failed: int = 0
    error: str = ""
    """Why the last of them failed."""

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Told:
        """Return what was told as JSON."""
        nodes = {name: Answered(**answered) for name, answered in document["nodes"].items()}
        return cls(nodes, document["failed"], document["error"])


class _Callers:
    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._told = {tenant: Told() for tenant in asking.tenants}
        self._unsent = b""

    async def run(self) -> None:
        """Ask until cancelled."""
        async with AsyncExitStack() as stack:
            clients = {
                tenant: await stack.enter_async_context(self._client(tenant))
                for tenant in self._asking.tenants
            }
            for client in clients.values():
                await client.wait_ready(timeout_s=_READY_TIMEOUT_S)
            self._send(b"{}\n")
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._tell())
                for tenant, client in clients.items():
                    tasks.create_task(self._ask(tenant, client))

    def _client(self, tenant: str) -> Client:
        place = Country(self._asking.country)
        return Client(
            Topology(bootstrap=self._asking.bootstrap, place=place),
            tenant=tenant,
            timeout_s=TIMEOUT_S,
            balancing=_BALANCING,
        )

    async def _ask(self, tenant: str, client: Client) -> None:
        """Ask at an even pace, whether the last answer has come or not; up to a bound."""
        every_s = 1 / self._asking.per_second
        room = asyncio.Semaphore(_MOST_UNDER_WAY)

        async def one(number: int) -> None:
            try:
                await self._call(tenant, client, number)
            finally:
                room.release()

        # Not all tenants at the same moment.
        await asyncio.sleep(random.uniform(0, every_s))  # noqa: S311
        async with asyncio.TaskGroup() as under_way:
            for number in itertools.count():
                await room.acquire()
                under_way.create_task(one(number))
                await asyncio.sleep(every_s)

    async def _call(self, tenant: str, client: Client, number: int) -> None:
        user, department = EntityRef("User", f"u{number % 997}"), _DEPARTMENTS[number % 3]
        began_s = time.perf_counter()
        try:
            decision = await client.evaluate(
                user,
                "view",
                ("Invoice", _INVOICES[number % 7 % 3]),
                entities=[Entity(user, parents=(EntityRef("Department", department),))],
            )
        except PlacetError as error:
            told = self._told[tenant]
            told.failed += 1
            told.error = f"{type(error).__name__}: {error.message}"[:200]
            return
        took_ms = (time.perf_counter() - began_s) * 1000
        name = f"{decision.region} {decision.node}"
        answered = self._told[tenant].nodes.setdefault(name, Answered())
        answered.calls += 1
        answered.latencies_ms = [*answered.latencies_ms, round(took_ms, 1)][-_MOST_LATENCIES:]

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            if not self._unsent:
                told = {tenant: asdict(told) for tenant, told in self._told.items()}
                self._told = {tenant: Told() for tenant in self._told}
                self._unsent = json.dumps(told).encode() + b"\n"
            self._send(self._unsent)

    def _send(self, line: bytes) -> None:
        try:
            sent = os.write(sys.stdout.fileno(), line)
        except BlockingIOError:
            # Whoever reads has been suspended.
            sent = 0
        self._unsent = line[sent:]


async def _run() -> None:
    asking = Asking(**json.loads(await asyncio.to_thread(sys.stdin.readline)))
    os.set_blocking(sys.stdout.fileno(), False)
    callers = asyncio.create_task(_Callers(asking).run())
    end = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    await asyncio.wait((callers, end), return_when=asyncio.FIRST_COMPLETED)
    if callers.done():
        await callers
    # There is nothing to finish, and nobody who would wait.
    os._exit(0)


if __name__ == "__main__":
    end_with(int(sys.argv[1]))
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    asyncio.run(_run())
