"""Watching what a server shows as it changes: a stream that is opened again when it is lost."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing

from placet._backoff import Backoff
from placet._calls import (
    AsyncStreamMethod,
    Method,
    RequestT,
    ResponseT,
    Stream,
    stream,
    stream_aio,
)
from placet._errors import DeadlineExceeded, PlacetError, Unavailable
from placet._values import refusal

PATIENCE_S = 60.0
"""How long nobody may answer, unless the caller says otherwise."""


def watched(
    method: Method[RequestT, Stream[ResponseT]],
    request: RequestT,
    patience_s: float,
    *,
    ended: str,
) -> Generator[tuple[bool, ResponseT], None, None]:
    """Yield what streams bring, one after the other, each with whether it is a stream's first.

    Without end, but for errors. The request is sent anew for each stream, as it is by then.

    Args:
        method: opens a stream.
        request: what is watched.
        patience_s: how long nobody may answer before it raises.
        ended: what is wrong when a stream ends of itself.
    """
    patience = _Patience(patience_s)
    while True:
        opened, is_first = stream(method, request, patience.left_s()), True
        try:
            with closing(opened) as responses:
                for response in responses:
                    yield is_first, response
                    is_first = False
                    patience.renew()
            delay_s = patience.delay_s(Unavailable(ended))
        except (Unavailable, DeadlineExceeded) as error:
            delay_s = patience.delay_s(error)
        time.sleep(delay_s)


async def watched_aio(
    method: AsyncStreamMethod[RequestT, ResponseT],
    request: RequestT,
    patience_s: float,
    *,
    ended: str,
) -> AsyncGenerator[tuple[bool, ResponseT], None]:
    """Yield what streams bring: ``watched``, for asyncio."""
    patience = _Patience(patience_s)
    while True:
        opened, is_first = stream_aio(method, request, patience.left_s()), True
        try:
            async with aclosing(opened) as responses:
                async for response in responses:
                    yield is_first, response
                    is_first = False
                    patience.renew()
            delay_s = patience.delay_s(Unavailable(ended))
        except (Unavailable, DeadlineExceeded) as error:
            delay_s = patience.delay_s(error)
        await asyncio.sleep(delay_s)


class _Patience:
    """How long a stream that is lost is opened again: until nothing came for some time.

    Streams have what is left of it as their deadline, so that a server that hangs is given up
    as one that is away. The time a reader takes over what came does not count.
    """

    def __init__(self, patience_s: float) -> None:
        if not patience_s > 0:
            raise refusal("patience_s", f"is {patience_s}; pass how many seconds to wait at most")
        self._patience_s = patience_s
        self._since_s = time.monotonic()
        self._failures = 0

    def renew(self) -> None:
        """Note that something came."""
        self._since_s = time.monotonic()
        self._failures = 0

    def left_s(self) -> float:
        """Return how long the next stream may go without anything, at least a little."""
        return max(self._patience_s - (time.monotonic() - self._since_s), _LEAST_S)

    def delay_s(self, error: PlacetError) -> float:
        """Return how long to wait before the next stream.

        Raises:
            PlacetError: what was given, when the patience is at its end.
        """
        waited_s = time.monotonic() - self._since_s
        if waited_s >= self._patience_s:
            raise error
        self._failures += 1
        return min(_BACKOFF.delay_s(self._failures, _RNG), self._patience_s - waited_s)


_LEAST_S = 0.1
_BACKOFF = Backoff(first_s=0.1, most_s=2.0)
_RNG = random.Random()  # noqa: S311  # spreads clients, guards nothing
