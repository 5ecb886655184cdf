"""Draws Cedar text in colour."""

from __future__ import annotations

import re

from rich.text import Text

from placet.cli.terminal import safe

_STYLES = {
    "comment": "dim",
    "literal": "green",
    "annotation": "cyan",
    "blank": "bold magenta",
    "word": "bold",
}
_PARTS = re.compile(
    r"""
    (?P<comment>//[^\n]*)
    | (?P<literal>"(?:[^"\\]|\\.)*")
    | (?P<annotation>@\w+)
    | (?P<blank>\$\w+ | \?principal | \?resource)
    | (?P<word>\b(?:permit|forbid|when|unless)\b)
    """,
    re.VERBOSE | re.DOTALL,
)


def cedar_text(cedar: str) -> Text:
    """Return Cedar text in colour; what is still to be filled in stands out."""
    text = Text(safe(cedar))
    for found in _PARTS.finditer(text.plain):
        text.stylize(_STYLES[str(found.lastgroup)], found.start(), found.end())
    return text
