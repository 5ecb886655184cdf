"""Ends what runs until somebody stops it: Ctrl-C and SIGTERM are its good end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

LONGEST_WAIT_S = 1.0
"""For how long the main thread may wait for anything without a look at signals.

The kernel can hand a signal to another thread (while a process is being started, the main one
takes none), and that does not wake who waits: it is noticed when the wait is over.
"""

_ENDING = (signal.SIGINT, signal.SIGTERM)


class _Stopped(KeyboardInterrupt):
    """Somebody asked for the end. A Ctrl-C to whatever is in the middle of a call."""


@contextmanager
def until_stopped() -> Iterator[None]:
    """Run the block until it ends, or until a signal ends it. A second signal does not wait.

    For the main thread.
    """
    asked = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os._exit(128 + number)
        asked = True
        raise _Stopped

    before = {number: signal.signal(number, stop) for number in _ENDING}
    try:
        yield
    except _Stopped:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def pause(seconds: float) -> None:
    """Wait, with looks at signals between."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, LONGEST_WAIT_S))


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let what would end the block take effect at its end. For blocks that take no time.

    Between the start of a process and the moment that somebody knows of it, for one: nobody would
    end it.
    """
    if threading.current_thread() is not threading.main_thread():
        # Signals are not raised here.
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: came.append(number))
        for number in _ENDING
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for caught in came:
        signal.raise_signal(caught)
