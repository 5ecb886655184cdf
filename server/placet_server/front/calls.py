"""What an ASGI server hands over: events of a call, and word of a caller who has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

_T = TypeVar("_T")
Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]


async def next_part(receive: Receive) -> tuple[bytes, bool]:
    """Return the next part of a body, and whether it is the last.

    Raises:
        ConnectionResetError: the caller has gone.
    """
    return part_of(await receive())


def part_of(event: Event) -> tuple[bytes, bool]:
    """Read an event; returns and raises as :func:`next_part` does."""
    if event["type"] == "http.disconnect":
        raise ConnectionResetError
    return event.get("body", b""), not event.get("more_body", False)


async def while_called(deciding: Awaitable[_T], receive: Receive) -> _T:
    """Return what is decided, unless the caller gives up first.

    Raises:
        ConnectionResetError: the caller has gone.
    """
    loop = asyncio.get_running_loop()
    watching: list[asyncio.Task[None]] = []
    scope = asyncio.timeout(None)
    try:
        async with scope:
            # Hardly any decision takes so long that somebody looks whether it is still wanted.
            look = loop.call_later(
                _LOOK_EVERY_S,
                lambda: watching.append(asyncio.create_task(_end_when_gone(receive, scope))),
            )
            try:
                return await deciding
            finally:
                look.cancel()
                for task in watching:
                    task.cancel()
    except TimeoutError:
        if scope.expired():
            raise ConnectionResetError from None
        raise


_LOOK_EVERY_S = 0.1


async def _end_when_gone(receive: Receive, scope: asyncio.Timeout) -> None:
    # Asked after the body has come, servers say that there is no more of it, or that the caller
    # has gone; they do not wait for either.
    while (await receive())["type"] != "http.disconnect":  # noqa: ASYNC110  # see above
        await asyncio.sleep(_LOOK_EVERY_S)
    scope.reschedule(asyncio.get_running_loop().time())
