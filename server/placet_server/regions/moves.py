"""A number that grows whenever something changed, to be waited for."""

from __future__ import annotations

import asyncio


class Moves:
    """Counts changes and wakes whoever waits for one. Lives on one event loop; never blocks.

    Args:
        onward: counts that grow along with this one.
    """

    def __init__(self, *onward: Moves) -> None:
        self._onward = onward
        self._moved = asyncio.Event()
        self.count = 0
        """How many there were."""

    def move(self) -> None:
        """Count one more, and wake everybody."""
        self.count += 1
        self._moved.set()
        self._moved = asyncio.Event()
        for other in self._onward:
            other.move()

    async def past(self, count: int, timeout_s: float) -> bool:
        """Wait until there were more than so many; return whether that came about in time."""
        if self.count > count:
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await self._moved.wait()
        except TimeoutError:
            return False
        return True
