"""The processes that ask: one at each place, and what is heard of them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict

from placet.cli.demo_regions.callers import Asking, Told
from placet.cli.demo_regions.members import own_environment
from placet.cli.demo_regions.networks import Network
from placet.cli.demo_regions.scene import CALLS_PER_SECOND, Scene
from placet.cli.demo_regions.tasks import together
from placet.cli.failures import Failure

_READY_TIMEOUT_S = 45.0
_MOST_LINE_BYTES = 1 << 20

Listener = Callable[[float, str, str, Told], None]
"""Takes the time, the country, the tenant, and what its callers were told."""


class Crowd:
    """Callers at all places.

    Args:
        scene: what there is.
        network: what they are on.
        listener: takes what they are told.
    """

    def __init__(self, scene: Scene, network: Network, listener: Listener) -> None:
        self._scene = scene
        self._network = network
        self._listener = listener

    async def run(self, ready: Callable[[], None]) -> None:
        """Let them ask until cancelled; say when all of them have found somebody.

        Raises:
            Failure: they have not, or one of them ended.
        """
        async with AsyncExitStack() as stack:
            processes = {}
            for country in self._scene.countries:
                processes[country] = await self._start(country)
                stack.push_async_callback(_end, processes[country])
            try:
                async with asyncio.timeout(_READY_TIMEOUT_S):
                    for country, process in processes.items():
                        await _line(country, process)
            except TimeoutError as error:
                raise Failure("callers found no node to ask") from error
            ready()
            await together(self._hear(country, process) for country, process in processes.items())

    async def _start(self, country: str) -> asyncio.subprocess.Process:
        way_in = self._network.way_in(country)
        process = await asyncio.create_subprocess_exec(
            *way_in.before,
            *(sys.executable, "-m", "placet.cli.demo_regions.callers", str(os.getpid())),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**own_environment(), **way_in.environment},
            # Signals from the terminal are for the demo, which ends this one.
            start_new_session=True,
            limit=_MOST_LINE_BYTES,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(asdict(self._asking(country))).encode() + b"\n")
        return process

    def _asking(self, country: str) -> Asking:
        law = self._scene.nearest(country).jurisdiction
        return Asking(
            country=country,
            bootstrap=[
                self._network.address(node) for node in self._scene.nodes_in(jurisdiction=law)
            ],
            tenants=[tenant.name for tenant in self._scene.tenants],
            per_second=CALLS_PER_SECOND,
        )

    async def _hear(self, country: str, process: asyncio.subprocess.Process) -> None:
        while True:
            document = json.loads(await _line(country, process))
            for tenant, told in document.items():
                self._listener(time.monotonic(), country, tenant, Told.read(told))


async def _line(country: str, process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise Failure(f"the callers in {country} ended")
    return line


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()
