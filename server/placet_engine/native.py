"""The native path: what the engine does with an ordinary request, in Rust.

The extension is optional (`make native` builds it) and Python is the reference: whatever is out of
the ordinary in any way the extension leaves alone, by saying None, and Python does it from the
beginning. So every message and every edge case is in one place. `PLACET_NATIVE=off` leaves all to
Python.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from placet_engine.model import EntityUid, Request
    from placet_native import Asked

VARIABLE: Final = "PLACET_NATIVE"
"""Environment variable: `on`, which is the default, or `off`."""

_INTERFACE = 1
"""What this code takes the extension for. Raised in both when either changes what it expects."""


def _installed() -> ModuleType | None:
    """Return the extension, if there is one that fits."""
    try:
        import placet_native
    except ImportError:
        return None
    # Where it is not installed, the folder of its sources may be found, as an empty package.
    fits = getattr(placet_native, "INTERFACE", None) == _INTERFACE
    return placet_native if fits else None


INSTALLED: Final = _installed()

extension: ModuleType | None = INSTALLED if os.environ.get(VARIABLE, "on") != "off" else None
"""The extension, while it is used."""


class Unread:
    """A request that the extension has read, and Python reads only if it is needed there."""

    __slots__ = ("asked", "read")

    def __init__(self, asked: Asked, read: Callable[[], Request]) -> None:
        self.asked = asked
        self.read = read
        """Reads the request in Python. Nothing is wrong with it."""

    @property
    def subject(self) -> EntityUid:
        """Who asks. It takes reading the request: only rollouts by subject need to know."""
        return self.read().subject


def path() -> str:
    """Return which path new decisions take: `native` or `python`."""
    return "python" if extension is None else "native"


@contextmanager
def switched(*, on: bool) -> Iterator[None]:
    """Use the extension, or do not, for a while: for comparisons. It has to be installed."""
    global extension
    before, extension = extension, INSTALLED if on else None
    try:
        yield
    finally:
        extension = before
