"""How long a call may still take."""

from __future__ import annotations

from typing import Any, cast

import grpc

from placet_server.errors import DeadlinePassed

# How long a call may wait for something when its caller set no deadline.
LONGEST_WAIT_S = 5.0


def time_left_s(context: grpc.aio.ServicerContext[Any, Any]) -> float:
    """Return how long a call may wait for something.

    Raises:
        DeadlinePassed: not at all; the caller has given up already.
    """
    # The stubs leave out that a call may have no deadline.
    remaining = cast("float | None", context.time_remaining())
    if remaining is None:
        return LONGEST_WAIT_S
    if remaining <= 0:
        raise DeadlinePassed
    return remaining
