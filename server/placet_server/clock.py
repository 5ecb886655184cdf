"""Time as the server sees it, so that tests can make it pass."""

from __future__ import annotations

import datetime
import time
from typing import Protocol


class Clock(Protocol):
    """Wall-clock time for records, monotonic time for measuring."""

    def now(self) -> datetime.datetime:
        """Return the time of day, in UTC. May jump."""
        ...

    def monotonic(self) -> float:
        """Return seconds since some moment. Never goes back."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime.datetime:
        """Return the time of day, in UTC."""
        return datetime.datetime.now(datetime.UTC)

    def monotonic(self) -> float:
        """Return seconds since some moment."""
        return time.monotonic()
