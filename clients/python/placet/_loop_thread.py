"""An event loop in the background, for callers that have none."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for other threads. A daemon: it does not keep the process alive."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_report)
        threading.Thread(target=self._loop.run_forever, name="placet-loop", daemon=True).start()

    def begin(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run a coroutine whose end nobody waits for. From any thread."""
        asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end and return what it returns. Not from the loop's thread."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            # The caller was interrupted (Ctrl-C): nobody waits for the coroutine any more.
            future.cancel()
            raise


def background_loop() -> LoopThread:
    """Return the loop that everything in this process shares.

    There is one and it is never closed, which is what gRPC takes best: it
    hands the events of all loops to whichever wakes first, and logs an error
    when it finds one of a loop that is closed.
    """
    with _lock:
        process = os.getpid()
        if process not in _loops:
            # After a fork the thread of the parent's loop is not there.
            _loops[process] = LoopThread()
        return _loops[process]


_lock = threading.Lock()
_loops: dict[int, LoopThread] = {}


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report what nobody handled, except what is no error.

    Of several loops that gRPC wakes, the slower ones find the socket empty,
    or an event of a loop that somebody has closed (grpc/grpc#25364).
    """
    if "PollerCompletionQueue" not in str(context.get("message")):
        loop.default_exception_handler(context)
