"""Events between a stream and whoever reads them, bounded without losing anything.

A reader that falls behind finds one snapshot instead of many deltas: what it
gets in the end is the same, and neither memory nor the stream suffers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from placet._errors import PlacetError

SnapshotT = TypeVar("SnapshotT")
DeltaT = TypeVar("DeltaT")


class Mailbox(Generic[SnapshotT, DeltaT]):
    """Holds the events one reader has not taken yet. For one event loop, not thread-safe.

    ``take_snapshot`` returns the set as it stands, at the moment it is called.
    Up to ``max_deltas`` deltas wait one by one; one more, and all of them turn
    into a snapshot.
    """

    def __init__(
        self,
        take_snapshot: Callable[[], SnapshotT],
        *,
        max_deltas: int,
        clock: Callable[[], float],
    ) -> None:
        self._take_snapshot = take_snapshot
        self._max_deltas = max_deltas
        self._clock = clock
        self._deltas: deque[DeltaT] = deque()
        self._snapshot_waits = False
        self._end: PlacetError | None = None
        self._is_closed = False
        self._changed = asyncio.Event()
        self.oldest_waiting_since_s: float | None = None
        """When what the reader lacks began to wait; None when it lacks nothing."""

    def put_snapshot(self) -> None:
        """Offer the whole set. Deltas that wait are in it."""
        self._deltas.clear()
        self._snapshot_waits = True
        self._note_change()

    def put_delta(self, delta: DeltaT) -> None:
        """Offer a change, unless a snapshot that will have it waits already."""
        if self._snapshot_waits:
            return
        if len(self._deltas) >= self._max_deltas:
            self.put_snapshot()
            return
        self._deltas.append(delta)
        self._note_change()

    def clear(self) -> None:
        """Let go of all that waits."""
        self._deltas.clear()
        self._snapshot_waits = False
        self.oldest_waiting_since_s = None

    def close(self, error: PlacetError | None = None) -> None:
        """Say that nothing more comes. What waits can still be taken."""
        self._is_closed = True
        self._end = error
        self._changed.set()

    async def take(self) -> SnapshotT | DeltaT | None:
        """Wait for the next event; None after the last.

        Raises:
            PlacetError: the one it was closed with.
        """
        while not (self._snapshot_waits or self._deltas):
            if self._end is not None:
                raise self._end
            if self._is_closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        if self._snapshot_waits:
            self._snapshot_waits = False
            event: SnapshotT | DeltaT = self._take_snapshot()
        else:
            event = self._deltas.popleft()
        if not self._deltas:
            self.oldest_waiting_since_s = None
        return event

    def _note_change(self) -> None:
        if self.oldest_waiting_since_s is None:
            self.oldest_waiting_since_s = self._clock()
        self._changed.set()
