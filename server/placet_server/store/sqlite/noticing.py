"""How commits of other processes are noticed: a thread that asks the file whether it changed."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path


class FileNotice:
    """Calls back, on the event loop it was made in, soon after anybody committed to a file.

    ``PRAGMA data_version`` on a connection that is kept open costs microseconds and reads no
    table. It has a thread of its own because even that could wait for a disk; through a driver
    for asyncio it would cost three times as much, and it runs fifty times a second.
    """

    def __init__(self, path: Path, *, poll_s: float, on_change: Callable[[], None]) -> None:
        self._path = path
        self._poll_s = poll_s
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store-notice", daemon=True)
        self._thread.start()

    async def aclose(self) -> None:
        """Stop asking; return when the thread has ended."""
        self._stopped.set()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while not self._stopped.is_set():
            # Whoever watches is to look for himself, and to meet the error.
            with suppress(sqlite3.Error):
                self._ask_on()
            self._tell()
            self._stopped.wait(self._poll_s)

    def _ask_on(self) -> None:
        """Ask until stopped, or until the file cannot be asked."""
        # Read only: a file that is gone is not to be made anew, empty, by asking for it.
        uri = f"{self._path.as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)) as file:
            seen = None
            while not self._stopped.is_set():
                version = file.execute("PRAGMA data_version").fetchone()
                if version != seen:
                    self._tell()
                seen = version
                self._stopped.wait(self._poll_s)

    def _tell(self) -> None:
        if not self._stopped.is_set():
            self._loop.call_soon_threadsafe(self._on_change)
