"""Waiting for what comes about by itself, with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

_SOON_S = 15.0


async def until(holds: Callable[[], bool], *, timeout_s: float = _SOON_S) -> None:
    """Wait until something holds that no event tells of.

    Raises:
        TimeoutError: it does not, in time.
    """
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0.005)


async def until_it(holds: Callable[[], Awaitable[bool]], *, timeout_s: float = _SOON_S) -> None:
    """Wait until something holds that has to be asked for. Raises as :func:`until` does."""
    async with asyncio.timeout(timeout_s):
        while not await holds():  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0.005)
