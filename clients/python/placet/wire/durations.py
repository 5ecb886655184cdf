"""Durations, as messages and in seconds."""

from __future__ import annotations

from google.protobuf import duration_pb2


def seconds(message: duration_pb2.Duration) -> float:
    """Return a duration in seconds."""
    return message.seconds + message.nanos / 1e9


def duration(seconds_: float) -> duration_pb2.Duration:
    """Return seconds as a duration, to the nanosecond; the longest there is for any more."""
    if seconds_ >= _LONGEST_S:
        return duration_pb2.Duration(seconds=_LONGEST_S)
    nanos = round(seconds_ * 1e9)
    return duration_pb2.Duration(seconds=nanos // 10**9, nanos=nanos % 10**9)


_LONGEST_S = 315_576_000_000  # ten thousand years, as `duration.proto` has it
