"""A number that grows whenever something changed, to be waited for."""

from __future__ import annotations

import asyncio


class Moves:
    """Counts changes and wakes whoever waits for one. Lives on one event loop; never blocks."""

    def __init__(self) -> None:
        self._count = 0
        self._moved = asyncio.Event()

    @property
    def count(self) -> int:
        """How many there were."""
        return self._count

    def move(self) -> None:
        """Count one more, and wake everybody."""
        self._count += 1
        self._moved.set()
        self._moved = asyncio.Event()

    async def past(self, count: int, timeout_s: float) -> bool:
        """Wait until there were more than so many; return whether that came about in time."""
        if self._count > count:
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await self._moved.wait()
        except TimeoutError:
            return False
        return True
