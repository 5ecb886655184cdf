"""What goes over the driver's standard input and output."""

from __future__ import annotations

import asyncio
import json
import sys
import threading


def tell(**event: object) -> None:
    """Write a line."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def input_ended() -> asyncio.Event:
    """Return what is set when standard input ends."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait() -> None:
        for _ in sys.stdin:
            pass
        try:
            loop.call_soon_threadsafe(ended.set)
        except RuntimeError:
            # Nobody waits any more.
            return

    # A daemon: what ends otherwise does not wait for the input.
    threading.Thread(target=wait, daemon=True).start()
    return ended
