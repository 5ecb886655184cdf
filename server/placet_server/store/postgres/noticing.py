"""How commits of other nodes are noticed: a connection that listens, and asks as well."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress

import asyncpg

from placet_server.store.postgres.address import Address, NoHostTakesWrites

log = logging.getLogger(__name__)

_SILENCE_S = 5.0
_RETRY_FIRST_S, _RETRY_MOST_S = 0.05, 1.0


def channel_of(store_id: str) -> str:
    """Return the channel that a store's commits are notified on."""
    return f"placet_{store_id}"


class CommitNotice:
    """Calls back soon after anybody committed.

    The server tells; but what it tells is lost while the connection is, and some proxies pass
    nothing on. So the head is asked for as well, which also shows that the server answers.
    """

    def __init__(
        self,
        address: Address,
        store_id: str,
        *,
        poll_s: float,
        on_change: Callable[[], None],
        on_silence: Callable[[], None],
    ) -> None:
        self._address = address
        self._channel = channel_of(store_id)
        self._poll_s = poll_s
        self._on_change = on_change
        self._on_silence = on_silence
        self._task = asyncio.create_task(self._run(), name="store-notice")

    async def aclose(self) -> None:
        """Stop asking; return when the connection is closed."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        delay_s = _RETRY_FIRST_S
        while True:
            try:
                connection = await self._address.connect()
                delay_s = _RETRY_FIRST_S
                await self._listen(connection)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                log.debug("the store's notices stopped", extra={"reason": str(error)})
                if _is_silence(error):
                    log.warning("the store's server is silent; its connections are dropped")
                    self._on_silence()
            # Whoever watches is to look for himself, and to meet the error.
            self._on_change()
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311  # jitter
            delay_s = min(delay_s * 2, _RETRY_MOST_S)

    async def _listen(self, connection: asyncpg.Connection) -> None:
        """Listen and ask until the connection ends."""
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        try:
            async with asyncio.timeout(_SILENCE_S):
                await connection.add_listener(self._channel, lambda *_: self._on_change())
            seen = None
            while not ended.is_set():
                async with asyncio.timeout(_SILENCE_S):
                    head = await connection.fetchval("SELECT head FROM store_meta")
                if head != seen:
                    self._on_change()
                seen = head
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_s):
                        await ended.wait()
        finally:
            connection.terminate()


def _is_silence(error: Exception) -> bool:
    """Whether a server did not answer, on a connection or to the wish for one."""
    return isinstance(error, TimeoutError) or (
        isinstance(error, NoHostTakesWrites) and error.is_silence
    )
