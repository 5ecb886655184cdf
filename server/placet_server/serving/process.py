"""One worker's process, as its supervisor sees it."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from placet_engine.items import Revision
from placet_server.serving.control import FD_VARIABLE, Assignment, Cause, Channel, Failed, Kind

# A node with a hundred thousand policies takes some seconds to compile them.
_START_S = 120.0
# Beyond the drain: stores to close, threads to end.
_END_S = 5.0


class WorkerGone(Exception):
    """A worker did not come to serve."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.message)
        self.failed = failed


@dataclass(frozen=True, slots=True)
class Command:
    """What is run, and with which variables."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]


class WorkerProcess:
    """A process and the channel to the worker in it."""

    def __init__(self, process: asyncio.subprocess.Process, channel: Channel) -> None:
        self._process = process
        self._channel = channel

    @classmethod
    async def start(cls, command: Command) -> Self:
        """Start a process with one end of a pair of sockets, and keep the other."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *command.arguments,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    env={**command.environment, FD_VARIABLE: str(theirs.fileno())},
                    pass_fds=(theirs.fileno(),),
                    # Ctrl-C is for the supervisor, which knows how to end a worker.
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        return cls(process, await Channel.over(ours))

    async def assign(self, assignment: Assignment) -> Revision:
        """Tell the worker what to be; return the revision it serves at.

        Raises:
            WorkerGone: it does not serve. Its process has ended.
        """
        failed = Failed(Cause.MISTAKE, "a worker ended before it served; see the log")
        try:
            async with asyncio.timeout(_START_S):
                await self._channel.send(Kind.ASSIGNMENT, assignment.to_line())
                line = await self._channel.receive()
            if line is not None and line[0] is Kind.READY:
                return Revision(line[1]["revision"])
            if line is not None and line[0] is Kind.FAILED:
                failed = Failed.of_line(line[1])
        except TimeoutError:
            failed = Failed(Cause.MISTAKE, f"a worker did not serve within {_START_S:g} s")
        except BaseException:
            await self._kill()
            raise
        await self._kill()
        raise WorkerGone(failed)

    async def ended(self) -> int:
        """Wait until the process has ended by itself; return its exit code."""
        code = await self._process.wait()
        self._channel.close()
        return code

    async def stop(self, drain_s: float) -> None:
        """Let calls under way finish, then end the process."""
        if self._process.returncode is None:
            await self._channel.send(Kind.STOP)
            with suppress(TimeoutError):
                async with asyncio.timeout(drain_s + _END_S):
                    await self._channel.receive()
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(_END_S):
                    await self._process.wait()
        await self._kill()

    async def _kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        self._channel.close()
