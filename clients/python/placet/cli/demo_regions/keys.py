"""Single keys from a terminal: what was pressed, and its mode, which is given back at the end.

Lines are not waited for and nothing is echoed; Ctrl-C and Ctrl-Z stay signals.
"""

from __future__ import annotations

import os
import termios
import tty
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

_READ_BYTES = 256
_ESCAPES = {
    **{
        f"\x1b{between}{end}": name
        for between in "[O"
        for end, name in (("A", "up"), ("B", "down"), ("C", "right"), ("D", "left"))
    },
    "\x1b[Z": "shift-tab",
    "\t": "tab",
    "\r": "enter",
    "\n": "enter",
}


class Keyboard:
    """A terminal that keys come from.

    Args:
        file: its descriptor.
    """

    def __init__(self, file: int) -> None:
        self.file = file
        self._before: list[Any] | None = None

    @property
    def is_ours(self) -> bool:
        """Whether this process is in the foreground: otherwise the terminal is another's."""
        try:
            return os.tcgetpgrp(self.file) == os.getpgrp()
        except OSError:
            return False

    @property
    def is_taken(self) -> bool:
        """Whether it gives single keys."""
        return self._before is not None

    def take(self) -> None:
        """Have it give single keys."""
        if self._before is None:
            self._before = termios.tcgetattr(self.file)
            tty.setcbreak(self.file, termios.TCSADRAIN)

    def give_back(self) -> None:
        """Have it as it was before."""
        if self._before is not None:
            # It may be gone, with whoever sat there.
            with suppress(termios.error):
                termios.tcsetattr(self.file, termios.TCSADRAIN, self._before)
            self._before = None

    def read(self) -> Iterator[str] | None:
        """Return what was pressed, once there is something; None when the terminal is gone."""
        try:
            data = os.read(self.file, _READ_BYTES)
        except OSError:
            return None
        return names(data.decode("utf-8", "replace")) if data else None


def names(text: str) -> Iterator[str]:
    """Yield the names of the keys that a terminal sent: a character, or a word such as ``up``.

    What stands for a key that has no name here is left out as a whole.
    """
    at = 0
    while at < len(text):
        end = _end(text, at)
        name = _ESCAPES.get(text[at:end], text[at:end])
        if (len(name) == 1 and name.isprintable()) or name in _ESCAPES.values():
            yield name
        at = end


def _end(text: str, at: int) -> int:
    """Return where a key ends that begins at a place, by ECMA-48, section 5.4."""
    if text[at] != "\x1b":
        return at + 1
    if text[at + 1 : at + 2] == "O":
        return min(at + 3, len(text))
    if text[at + 1 : at + 2] != "[":
        # Escape alone, or Alt and another key.
        return min(at + 2, len(text))
    end = at + 2
    while end < len(text) and not "@" <= text[end] <= "~":
        end += 1
    return min(end + 1, len(text))
