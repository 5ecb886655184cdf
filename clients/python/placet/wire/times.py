"""Points in time, both ways."""

from __future__ import annotations

import datetime

from google.protobuf import timestamp_pb2

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def timestamp(time: datetime.datetime) -> timestamp_pb2.Timestamp:
    """Return a point in time as a message."""
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(time)
    return message


def time_from_wire(message: timestamp_pb2.Timestamp) -> datetime.datetime:
    """Return the point in time a message says, in UTC; the epoch for one that no calendar has."""
    try:
        return message.ToDatetime(tzinfo=datetime.UTC)
    except (ValueError, OverflowError):
        return _EPOCH
