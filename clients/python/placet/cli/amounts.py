"""Amounts as people type and read them: durations, shares, points in time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from placet.cli.failures import ExitCode, Failure

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII)
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d+)?) ?%", re.ASCII)


def duration(text: str, option: str) -> timedelta:
    """Read a duration such as ``90s`` or ``1h30m``.

    Raises:
        Failure: it is none.
    """
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        raise Failure(
            f"`{option}` is `{text}`; write a duration such as 90s, 5m, 1h30m or 2d", ExitCode.USAGE
        )
    days, hours, minutes, seconds, milliseconds = map(int, found.groups(default="0"))
    try:
        return timedelta(
            days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds
        )
    except OverflowError:
        raise Failure(f"`{option}` is `{text}`, which is too long", ExitCode.USAGE) from None


def percent(text: str, option: str) -> float:
    """Read a share such as ``5%`` or ``0.5%``, in percent.

    Raises:
        Failure: it is none, or more than 100.
    """
    found = _PERCENT.fullmatch(text)
    if found is None or float(found[1]) > 100:
        raise Failure(
            f"`{option}` is `{text}`; write a share from 0% to 100%, with its sign", ExitCode.USAGE
        )
    return float(found[1])


def moment(text: str, option: str) -> datetime:
    """Read a point in time with its zone, ``2026-12-01T09:00Z``, or how far ahead it is, ``2h``.

    Raises:
        Failure: it is neither, or has no zone.
    """
    if text and _DURATION.fullmatch(text):
        return datetime.now(UTC) + duration(text, option)
    hint = "write a time with its zone, such as 2026-12-01T09:00Z, or how far ahead, such as 2h"
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise Failure(f"`{option}` is `{text}`; {hint}", ExitCode.USAGE) from None
    if time.utcoffset() is None:
        raise Failure(f"`{option}` is `{text}`, without a zone; {hint}", ExitCode.USAGE)
    return time


def duration_text(span: timedelta) -> str:
    """Write a duration in its two largest units: ``4m 12s``."""
    total_ms = round(span.total_seconds() * 1000)
    if total_ms < 1000:
        return f"{total_ms} ms"
    seconds = total_ms // 1000
    units = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
    parts = []
    for unit, size in units:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def percent_text(share_percent: float) -> str:
    """Write a share as exactly as it was given."""
    return f"{round(share_percent, 4):g} %"


def moment_text(time: datetime) -> str:
    """Write a point in time by this machine's zone."""
    return time.astimezone().isoformat(sep=" ", timespec="seconds")
