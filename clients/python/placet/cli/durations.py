"""Lengths of time as people write them: ``30s``, ``1m30s``, ``500ms``."""

from __future__ import annotations

import re
from datetime import timedelta

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")


def read_duration(text: str) -> timedelta | None:
    """Read what a person wrote. None if it is no length of time."""
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()):
        return None
    hours, minutes, seconds, milliseconds = (int(part or 0) for part in found.groups())
    try:
        return timedelta(hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)
    except OverflowError:
        return None


def duration_text(seconds: float) -> str:
    """Write a length of time, to the second or, above an hour, to the minute."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    told = [f"{number}{unit}" for number, unit in parts if number]
    return "".join(told[:2]) or "0s"
