"""Between the thread that writes records down and the one that delivers them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from placet_server.telemetry.decision_log.spool import Spool


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines to deliver together."""

    lines: Sequence[bytes]
    is_spooled: bool


class Outbox:
    """Batches in order, a bounded number in memory, and behind them a spool if there is one."""

    def __init__(self, *, max_batches: int, spool: Spool | None = None) -> None:
        self._batches: deque[Batch] = deque()
        self._max_batches = max_batches
        self._spool = spool
        self._changed = threading.Condition()
        self._in_delivery: Batch | None = None
        self._is_closing = False
        self._is_over = False

    def put(self, lines: Sequence[bytes]) -> int:
        """Take lines. Waits for room, or with a spool puts them there.

        Returns:
            How many were not taken: the spool is full, or the time is over.
        """
        with self._changed:
            if self._spool is None:
                self._changed.wait_for(
                    lambda: self._is_over or len(self._batches) < self._max_batches
                )
                if self._is_over:
                    return len(lines)
            elif self._is_over or self._spool.waiting_bytes or self._is_full():
                # What is spooled goes first, so that all that comes has to line up behind it.
                taken = self._spool.append(lines)
                self._changed.notify_all()
                return len(lines) - taken
            self._batches.append(Batch(lines, is_spooled=False))
            self._changed.notify_all()
            return 0

    def _is_full(self) -> bool:
        return len(self._batches) >= self._max_batches

    def take(self) -> Batch | None:
        """Wait for a batch and return it; nothing when it is closed and empty, or over.

        The batch stays the outbox's until :meth:`delivered`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or self._is_closing or self._has_some())
            if self._is_over or not self._has_some():
                return None
            if self._batches:
                self._in_delivery = self._batches.popleft()
            else:
                assert self._spool is not None
                self._in_delivery = Batch(self._spool.first(), is_spooled=True)
            self._changed.notify_all()
            return self._in_delivery

    def _has_some(self) -> bool:
        return bool(self._batches) or bool(self._spool and self._spool.waiting_bytes)

    def delivered(self, batch: Batch) -> None:
        """Forget a batch that the sink has taken."""
        with self._changed:
            if self._is_over:
                return
            self._in_delivery = None
            if batch.is_spooled and self._spool is not None:
                self._spool.take_away(batch.lines)
            self._changed.notify_all()

    def close(self) -> None:
        """Take no more after this; :meth:`take` returns nothing once all is delivered."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()

    def give_up(self) -> int:
        """Stop waiting for the sink. With a spool, what is in memory goes there.

        Returns:
            How many lines are lost.
        """
        with self._changed:
            self._is_over = True
            left = list(self._batches)
            if self._in_delivery is not None and not self._in_delivery.is_spooled:
                left.insert(0, self._in_delivery)
            self._batches.clear()
            lines = [line for batch in left for line in batch.lines]
            taken = 0
            if self._spool is not None:
                taken = self._spool.append(lines)
                self._spool.close()
                self._spool = None
            self._changed.notify_all()
            return len(lines) - taken

    @property
    def spooled_bytes(self) -> int:
        """Bytes that wait on disk."""
        spool = self._spool
        return spool.waiting_bytes if spool else 0
