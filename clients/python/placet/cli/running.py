"""Runs a server in this process until somebody stops it.

The first Ctrl-C, or SIGTERM, asks it to stop: it drains. A second one means it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

from placet.cli import terminal
from placet.cli.extras import needs_extra
from placet.cli.failures import ExitCode, Failure

if TYPE_CHECKING:
    from placet_server.app import Node
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

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(with_signals())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def serve(
    config: Config, stop: Stop, when_ready: Callable[[Node], Coroutine[object, object, None]]
) -> None:
    """Run a node until it is asked to stop, then drain it.

    Raises:
        AddressTaken: somebody else listens there.
        Failure: it cannot start for another reason; the message says which.
    """
    with needs_extra("server", "a server"):
        from placet_server.api.server import AddressUnavailable
        from placet_server.app import running_node
        from placet_server.config import ConfigError
        from placet_server.store.contract import StoreError
    try:
        async with running_node(config) as node:
            await when_ready(node)
            await stop.wait()
            terminal.note("stopping: calls under way may finish; Ctrl-C again stops at once")
    except ConfigError as error:
        raise Failure(str(error), ExitCode.USAGE) from error
    except AddressUnavailable as error:
        raise AddressTaken(str(error)) from error
    except StoreError as error:
        raise Failure(str(error)) from error
