"""Transactions that run to their end, whatever becomes of those who wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from placet_server.store.contract import StoreUnavailable

Answer = TypeVar("Answer")
Transaction = Callable[[], Coroutine[Any, Any, Answer]]


class Undisturbed:
    """Runs transactions, which their callers may stop waiting for.

    A driver that is let go of in the middle of a statement leaves a connection nobody can use,
    or has a server give up a commit half-way.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()
        self.is_closed = False

    async def run(self, transaction: Transaction[Answer]) -> Answer:
        """Run a transaction beside all others."""
        return await asyncio.shield(self._start(transaction))

    async def run_alone(self, transaction: Transaction[Answer]) -> Answer:
        """Run a transaction when the others that are to be alone have ended."""
        await self._turn.acquire()
        try:
            task = self._start(transaction)
        except BaseException:
            self._turn.release()
            raise
        task.add_done_callback(lambda _: self._turn.release())
        return await asyncio.shield(task)

    def _start(self, transaction: Transaction[Answer]) -> asyncio.Task[Answer]:
        self.check_open()
        task = asyncio.create_task(transaction())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def check_open(self) -> None:
        """Raise ``StoreUnavailable`` if no more transactions are taken."""
        if self.is_closed:
            raise StoreUnavailable("the store is closed")

    async def aclose(self) -> None:
        """Take no more, and return when those that have begun have ended."""
        self.is_closed = True
        if self._running:
            await asyncio.wait(self._running)
