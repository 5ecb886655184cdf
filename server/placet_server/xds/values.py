"""Numbers and times as messages have them."""

from __future__ import annotations

from google.protobuf import duration_pb2, wrappers_pb2


def number(value: int) -> wrappers_pb2.UInt32Value:
    """Return a number that says whether it is there."""
    return wrappers_pb2.UInt32Value(value=value)


def seconds(value: float) -> duration_pb2.Duration:
    """Return a time in seconds."""
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(round(value * 1e9))
    return duration
