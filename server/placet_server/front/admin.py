"""What is asked of a running Envoy, over the socket it keeps for that."""

from __future__ import annotations

import asyncio
from pathlib import Path

_TIMEOUT_S = 2.0
_ASK_AGAIN_S = 0.01
_MAX_ANSWER_BYTES = 1 << 16


async def until_ready(socket: Path) -> None:
    """Wait until Envoy takes connections; the caller says for how long."""
    while await _ask(socket, "GET", "/ready") != 200:  # noqa: ASYNC110  # nothing tells
        await asyncio.sleep(_ASK_AGAIN_S)


async def turn_away(socket: Path) -> None:
    """Have callers told to connect elsewhere; calls under way are not touched."""
    await _ask(socket, "POST", "/drain_listeners?graceful&skip_exit")


async def _ask(socket: Path, method: str, path: str) -> int:
    """Return the status of the answer; 0 when there is none."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                request = f"{method} {path} HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n"
                writer.write(f"{request}content-length: 0\r\n\r\n".encode())
                answer = await reader.read(_MAX_ANSWER_BYTES)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return 0
    words = answer.partition(b"\r\n")[0].split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
