"""The Prometheus endpoint: ``GET /metrics`` over plain HTTP, and nothing else.

Connections are the event loop's, so that a slow scraper holds up nobody; making the text takes
milliseconds and is done in a thread of its own, one scrape at a time.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from placet_server.config import ConfigError

log = logging.getLogger(__name__)

_MAX_CONNECTIONS = 16
_MAX_HEAD_BYTES = 8192
_TIMEOUT_S = 5.0
_TEXT = "text/plain; charset=utf-8"


class EndpointUnavailable(ConfigError):
    """The endpoint's address cannot be listened on."""


class MetricsEndpoint:
    """Serves a registry, one answer a connection."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, address: str) -> int:
        """Listen on ``host:port``; return the port.

        Raises:
            EndpointUnavailable: it is taken, or not this machine's.
        """
        host, _, port = address.rpartition(":")
        try:
            self._server = await asyncio.start_server(
                self._connected, host.strip("[]"), int(port), limit=_MAX_HEAD_BYTES
            )
        except OSError as error:
            raise EndpointUnavailable(
                f"cannot listen on `{address}` for Prometheus ({error.strerror}); choose another "
                "with telemetry.prometheus_listen"
            ) from error
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def aclose(self) -> None:
        """Stop listening and drop the connections there are."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
        self._threads.shutdown(cancel_futures=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= _MAX_CONNECTIONS:
            writer.transport.abort()
            return
        connection = asyncio.create_task(self._serve(reader, writer), name="scrape")
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._answer_to(head))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            log.debug("a scrape was given up", exc_info=True)
        finally:
            writer.close()

    async def _answer_to(self, head: bytes) -> bytes:
        lines = head.decode("latin-1").split("\r\n")
        method, _, rest = lines[0].partition(" ")
        if rest.partition(" ")[0].partition("?")[0] != "/metrics":
            return _answer(HTTPStatus.NOT_FOUND, b"metrics are at /metrics\n")
        if method != "GET":
            return _answer(HTTPStatus.METHOD_NOT_ALLOWED, b"use GET\n")
        fields = dict(line.lower().partition(":")[::2] for line in lines[1:])
        encode, content_type = choose_encoder(fields.get("accept", ""))
        loop = asyncio.get_running_loop()
        body = await loop.run_in_executor(self._threads, encode, self._registry)
        return _answer(HTTPStatus.OK, body, content_type)


def _answer(status: HTTPStatus, body: bytes, content_type: str = _TEXT) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + body
