"""A wire between client and server that a test can cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Proxy:
    """Passes bytes on, until it is told to cut all connections, or to let none through."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._pumps: set[asyncio.Task[None]] = set()
        self.address = ""
        self.connections = 0
        """How many there were."""
        self._connected = asyncio.Event()

    def cut(self) -> None:
        """Drop every connection there is, in the middle of whatever is on it."""
        self._connected.clear()
        for pump in self._pumps:
            pump.cancel()

    async def wait_connected(self, *, timeout_s: float) -> None:
        """Wait until somebody has come back after the last cut."""
        async with asyncio.timeout(timeout_s):
            await self._connected.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect one client through."""
        task = asyncio.current_task()
        assert task is not None
        self._pumps.add(task)
        there_writer: asyncio.StreamWriter | None = None
        try:
            there_reader, there_writer = await asyncio.open_connection(*self._target)
            self.connections += 1
            self._connected.set()
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(_pump(reader, there_writer))
                pumps.create_task(_pump(there_reader, writer))
        except (OSError, asyncio.CancelledError, ExceptionGroup):
            pass
        finally:
            self._pumps.discard(task)
            for end in (writer, there_writer):
                if end is not None:
                    end.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    raise ConnectionError


@asynccontextmanager
async def proxy_to(target: str) -> AsyncIterator[Proxy]:
    """Run a proxy to an address on a free port, for the length of the block."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    proxy.address = f"{host}:{port}"
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        await server.wait_closed()
