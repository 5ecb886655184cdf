"""Runs a server in this process until somebody stops it.

The first Ctrl-C, or SIGTERM, asks it to stop: it drains. A second one means it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from placet.cli import terminal
from placet.cli.extras import needs_extra
from placet.cli.failures import ExitCode, Failure
from placet.cli.loops import loop_factory

if TYPE_CHECKING:
    from placet_server.config import Config


class AddressTaken(Failure):
    """The address cannot be listened on. Another may do."""


class Stop:
    """Whether the server has been asked to stop."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Ask once; the second time, end the process."""
        if self._asked.is_set():
            terminal.note("stopped at once")
            # Nothing is lost: what was acknowledged is on the disk.
            os._exit(_INTERRUPTED)
        self._asked.set()

    async def wait(self) -> None:
        """Wait until somebody asks."""
        await self._asked.wait()


_INTERRUPTED = 128 + signal.SIGINT


def run(main: Callable[[Stop], Coroutine[object, object, None]]) -> None:
    """Run a coroutine in an event loop, the fastest there is, with signals leading to its stop."""

    async def with_signals() -> None:
        stop = Stop()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.ask)
        await main(stop)

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(with_signals())


@dataclass(frozen=True, slots=True)
class Serving:
    """What serves: a node in this process, or several in others."""

    address: str
    """``host:port``."""
    revision: int
    """The store's when it began."""


async def serve(
    config: Config, stop: Stop, when_ready: Callable[[Serving], Coroutine[object, object, None]]
) -> None:
    """Run a node, or several workers, until asked to stop; then drain them.

    Raises:
        AddressTaken: somebody else listens there.
        Failure: it cannot start for another reason; the message says which.
    """
    with needs_extra("server", "a server"):
        from placet_server.config import ConfigError
        from placet_server.listening import AddressUnavailable
        from placet_server.serving.supervisor import WorkersFailed
        from placet_server.store.contract import StoreError
    try:
        async with _running(config) as serving:
            await when_ready(serving)
            await stop.wait()
            terminal.note("stopping: calls under way may finish; Ctrl-C again stops at once")
    except ConfigError as error:
        raise Failure(str(error), ExitCode.USAGE) from error
    except AddressUnavailable as error:
        raise AddressTaken(str(error)) from error
    except (StoreError, WorkersFailed) as error:
        raise Failure(str(error)) from error


@asynccontextmanager
async def _running(config: Config) -> AsyncIterator[Serving]:
    """Run what the configuration says, in this process if one with gRPC's own front is enough."""
    if config.server.front == "grpc" and config.server.workers == 1:
        with needs_extra("server", "a server"):
            from placet_server.app import running_node
            from placet_server.memory import settle
        async with running_node(config) as node:
            settle()
            yield Serving(node.address, node.active.revision)
        return
    from placet_server.serving.supervisor import WorkerEntry, running_workers

    entry = WorkerEntry((sys.executable, "-m", _WORKER), f"{_WORKER}:app")
    async with running_workers(config, entry) as workers:
        yield Serving(workers.address, workers.revision)


_WORKER = "placet.cli.worker"
