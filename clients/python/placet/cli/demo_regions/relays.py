"""A network out of relays: each place has a way out that passes bytes on as late as they would be.

The way out is an HTTP proxy (CONNECT, RFC 9110 section 9.3.6), which gRPC takes by itself when
``grpc_proxy`` names it. So every process at a place goes by that place's, and nothing else about
it is other than it would be. A connection takes one round trip to be made, and every byte
half a round trip, in both directions. There is no loss and no jitter, and no bound on the rate.

``python -m placet.cli.demo_regions.relays PID`` is the process that has all of them. It reads
from its standard input for each place which addresses can be reached from there and how far they
are, ``{"IE": {"127.0.0.1:40001": 0.004}}`` in seconds, and prints the ports: ``{"IE": 40017}``. It
ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping

from placet.cli.demo_regions.bound import end_with

_READ_BYTES = 65_536
_MOST_PIECES = 256
"""On their way in one direction of one connection; then nothing more is read."""
_HEAD_TIMEOUT_S = 5.0
_CONNECT_TIMEOUT_S = 5.0
_HOST = "127.0.0.1"


class WayOut:
    """The proxy of one place.

    Args:
        distances: how long a byte takes to each address that can be reached, in seconds.
    """

    def __init__(self, distances: Mapping[str, float]) -> None:
        self._distances = distances

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one connection to where it is to go."""
        try:
            await self._connect(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # One of both ends is gone, and the other has been told.
            pass
        finally:
            writer.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_HEAD_TIMEOUT_S):
            head = await reader.readuntil(b"\r\n\r\n")
        method, address, *_ = *head.decode("latin-1").split(" ", 2), ""
        delay_s = self._distances.get(address)
        if method != "CONNECT" or delay_s is None:
            writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            await writer.drain()
            return
        # There and back, as the first two packets of a handshake.
        await asyncio.sleep(2 * delay_s)
        host, _, port = address.rpartition(":")
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            there_reader, there = await asyncio.open_connection(host, int(port))
        try:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            async with asyncio.TaskGroup() as both:
                both.create_task(_pass_on(reader, there, delay_s))
                both.create_task(_pass_on(there_reader, writer, delay_s))
        except* OSError:
            # Reset by one end; the other learns it when the block is left.
            pass
        finally:
            there.close()


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float
) -> None:
    """Write what is read, later by a delay, in order, until the end.

    Raises:
        ConnectionError: both ends are to be closed.
    """
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_MOST_PIECES)

    async def arrive() -> None:
        while True:
            due_s, piece = await under_way.get()
            await asyncio.sleep(due_s - loop.time())
            if not piece:
                raise ConnectionError
            writer.write(piece)
            await writer.drain()

    async def leave() -> None:
        while True:
            try:
                piece = await reader.read(_READ_BYTES)
            except ConnectionError:
                piece = b""
            await under_way.put((loop.time() + delay_s, piece))
            if not piece:
                return

    async with asyncio.TaskGroup() as ways:
        ways.create_task(arrive())
        ways.create_task(leave())


async def _run(distances: Mapping[str, Mapping[str, float]]) -> None:
    """Serve until standard input ends."""
    servers = {
        place: await asyncio.start_server(WayOut(reachable).serve, _HOST, 0)
        for place, reachable in distances.items()
    }
    ports = {place: server.sockets[0].getsockname()[1] for place, server in servers.items()}
    print(json.dumps(ports), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    # Connections are the kernel's to close.
    os._exit(0)


if __name__ == "__main__":
    end_with(int(sys.argv[1]))
    asyncio.run(_run(json.loads(sys.stdin.readline())))
