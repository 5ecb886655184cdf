"""Networks that can be broken: a wire that delays or swallows, a namespace that is cut off."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

_NUMBERS = itertools.count(1)


@dataclass(slots=True)
class Wire:
    """Passes bytes between clients and one server, late or not at all."""

    target: str
    address: str = ""
    delay_s: float = 0.0
    """How long bytes are on their way to the server."""
    is_cut: bool = False
    """Whether nothing comes through any more. Nobody is told: connections stay."""
    connections: int = 0
    """How many there were."""
    _connected: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect one client through."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there: asyncio.StreamWriter | None = None
        try:
            host, _, port = self.target.rpartition(":")
            there_reader, there = await asyncio.open_connection(host, int(port))
            self.connections += 1
            self._connected.set()
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, there, is_late=True))
                pumps.create_task(self._pump(there_reader, writer, is_late=False))
        except (OSError, asyncio.CancelledError, ExceptionGroup):
            pass
        finally:
            self._tasks.discard(task)
            for end in (writer, there):
                if end is not None:
                    end.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_late: bool
    ) -> None:
        while data := await reader.read(65_536):
            if self.is_cut:
                continue
            if is_late and self.delay_s:
                asyncio.get_running_loop().call_later(self.delay_s, writer.write, data)
                continue
            writer.write(data)
            await writer.drain()
        raise ConnectionError

    def cut(self) -> None:
        """Let nothing through any more."""
        self.is_cut = True

    def drop(self) -> None:
        """End every connection there is, in the middle of whatever is on it."""
        self._connected.clear()
        for task in self._tasks:
            task.cancel()

    async def wait_connected(self, *, timeout_s: float) -> None:
        """Wait until somebody has come back after the last drop."""
        async with asyncio.timeout(timeout_s):
            await self._connected.wait()


@asynccontextmanager
async def wire_to(target: str) -> AsyncIterator[Wire]:
    """Run a wire to an address on a free port, for the length of the block."""
    wire = Wire(target)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    wire.address = f"{host}:{port}"
    try:
        yield wire
    finally:
        server.close()
        wire.drop()
        await server.wait_closed()


@contextmanager
def wire_in_background(target: str) -> Iterator[Wire]:
    """Do the same in a thread, for whoever has no event loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="wire", daemon=True)
    thread.start()

    def run(coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    stack = AsyncExitStack()
    try:
        yield run(stack.enter_async_context(wire_to(target)))
    finally:
        run(stack.aclose())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@dataclass(frozen=True, slots=True)
class Island:
    """A network namespace with one cable to this one."""

    name: str
    host: str
    """Its address, as seen from here."""

    @property
    def command(self) -> tuple[str, ...]:
        """What makes a command run there."""
        return ("ip", "netns", "exec", self.name)

    def cut(self) -> None:
        """Pull the cable at the far end: what is sent is lost, and nobody says so."""
        _ip("-n", self.name, "link", "set", "there", "down")


def can_make_islands() -> bool:
    """Return whether there may be namespaces here."""
    return os.geteuid() == 0 and shutil.which("ip") is not None and _tries_one()


def _tries_one() -> bool:
    try:
        with island():
            return True
    except subprocess.CalledProcessError:
        return False


@contextmanager
def island() -> Iterator[Island]:
    """Make a namespace of one's own, for the length of the block."""
    number = next(_NUMBERS)
    # Names have to be this process's own: others may be testing on this machine.
    name, near = f"placet-{os.getpid()}-{number}", f"pl{os.getpid() % 100_000}x{number}"
    net = f"169.254.{os.getpid() % 250 + 1}.{number * 4 % 252}"
    prefix, _, last = net.rpartition(".")
    here, there = f"{prefix}.{int(last) + 1}", f"{prefix}.{int(last) + 2}"
    _ip("netns", "add", name)
    try:
        _ip("link", "add", near, "type", "veth", "peer", "name", "there", "netns", name)
        _ip("addr", "add", f"{here}/30", "dev", near)
        _ip("link", "set", near, "up")
        _ip("-n", name, "addr", "add", f"{there}/30", "dev", "there")
        _ip("-n", name, "link", "set", "there", "up")
        _ip("-n", name, "link", "set", "lo", "up")
        yield Island(name, there)
    finally:
        _ip("netns", "delete", name)


def _ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True, capture_output=True)
