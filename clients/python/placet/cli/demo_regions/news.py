"""What just happened, in lines for people."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_KEPT = 200


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened."""

    at_s: float
    """Since the demo began."""
    text: str


class News:
    """The newest things that happened.

    Args:
        tell: is told each as it happens.
    """

    def __init__(self, tell: Callable[[Line], None] = lambda line: None) -> None:
        self._began_s = time.monotonic()
        self._lines: deque[Line] = deque(maxlen=_KEPT)
        self._tell = tell

    @property
    def now_s(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self._began_s

    def add(self, text: str) -> None:
        """Take something that happened."""
        line = Line(self.now_s, text)
        self._lines.append(line)
        self._tell(line)

    def last(self, count: int) -> Sequence[Line]:
        """Return the newest, in the order they happened."""
        return list(self._lines)[-count:] if count > 0 else []
