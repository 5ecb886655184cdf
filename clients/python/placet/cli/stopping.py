"""Ends what runs until somebody stops it: Ctrl-C and SIGTERM are its good end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


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

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except _Stopped:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
