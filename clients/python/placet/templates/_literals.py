"""Writes values as Cedar. Nothing else of what a user gives ever gets into a policy's text.

Each function returns text that Cedar reads as one literal, type name or list of literals, whatever
is in the value: quotes are set and escaped here, and what is not printable is written as an escape,
so that what people read is what Cedar reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NewType

from placet import EntityRef

Literal = NewType("Literal", str)
"""Text of this module's making, safe to stand in a policy."""


def string(text: str) -> Literal:
    """Write text, between quotes."""
    return Literal(f'"{"".join(map(_escaped, text))}"')


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    # Also what turns the direction of writing around, and white space that looks like a blank.
    return char if char.isprintable() else f"\\u{{{ord(char):x}}}"


def entity(ref: EntityRef) -> Literal:
    """Write the name of an entity, whose type was checked: ``User::"alice"``."""
    return Literal(f"{ref.type}::{string(ref.id)}")


def entity_type(name: str) -> Literal:
    """Write a type's name, which was checked."""
    return Literal(name)


def long(number: int) -> Literal:
    """Write a number of 64 bits."""
    return Literal(str(number))


def instant(moment: datetime) -> Literal:
    """Write a moment, in UTC: ``datetime("2026-12-20T00:00:00Z")``."""
    in_utc = moment.astimezone(UTC).replace(tzinfo=None)
    text = in_utc.isoformat(timespec="milliseconds" if in_utc.microsecond else "seconds")
    return Literal(f"datetime({string(f'{text}Z')})")


_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))


def span(duration: timedelta) -> Literal:
    """Write a length of time: ``duration("1h30m")``."""
    rest = duration // timedelta(milliseconds=1)
    parts = []
    for unit, milliseconds in _UNITS:
        count, rest = divmod(rest, milliseconds)
        if count:
            parts.append(f"{count}{unit}")
    return Literal(f"duration({string(''.join(parts) or '0ms')})")


def listed(literals: Iterable[Literal]) -> Literal:
    """Write a set."""
    return Literal(f"[{', '.join(literals)}]")


# ---------------------------------------------------------------------------------- filling

# Strings and comments are skipped whole; outside of them, Cedar has no `$`.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|\$([a-z_]+)', re.DOTALL)


def placeholders(text: str) -> frozenset[str]:
    """Return the names that stand for literals in a text: ``starts`` for ``$starts``."""
    return frozenset(found[1] for found in _TOKEN.finditer(text) if found[1])


def fill(text: str, literals: Mapping[str, Literal]) -> str:
    """Put literals in the places that are kept for them."""
    # What was put in is not looked at again: a value may well be called `$ends`.
    return _TOKEN.sub(lambda found: literals[found[1]] if found[1] else found[0], text)
