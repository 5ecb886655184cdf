"""Times as texts that are ordered as the times are."""

from __future__ import annotations

import datetime


def sortable(time: datetime.datetime) -> str:
    """Return a time with zone as text: of fixed length, in UTC, to the microsecond."""
    return time.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
