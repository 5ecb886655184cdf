"""Following a policy set from threads: the asyncio subscription behind a blocking face."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Generic, Self

from placet import _subscription
from placet._errors import PlacetError, Unavailable
from placet._freshness import State, Status
from placet._loop_thread import LoopThread, background_loop
from placet._mirror import Delta, ItemT, Snapshot


class Subscription(Generic[ItemT]):
    """A policy set, followed: a context manager, and an iterator of its changes.

    The first event is a ``Snapshot``; then come ``Delta`` events, and a
    ``Snapshot`` again whenever the chain of changes was lost or the reader
    was too slow for it. ``placet.aio.Subscription`` is the same for asyncio,
    and says what ends a subscription. What can be seen may be looked at from
    any thread; events are for one thread at a time.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractAsyncContextManager[_subscription.Subscription[ItemT]]],
    ) -> None:
        self._connect = connect
        self._stack = AsyncExitStack()
        self._loop: LoopThread | None = None
        self._core: _subscription.Subscription[ItemT] | None = None

    @property
    def status(self) -> Status:
        """State, revision, last error and times, at this moment."""
        return self._core.status if self._core is not None else Status()

    @property
    def state(self) -> State:
        """Where the subscription stands."""
        return self.status.state

    @property
    def revision(self) -> int:
        """The revision that is held; 0 before the first snapshot."""
        return self.status.revision

    @property
    def last_error(self) -> PlacetError | None:
        """Why the subscription is not ready, or was not the last time it was not."""
        return self.status.last_error

    def staleness(self) -> timedelta | None:
        """Return the time since what is held was known to be the newest; None before that."""
        return self._core.staleness() if self._core is not None else None

    def wait_for(self, states: Iterable[State], *, timeout_s: float) -> None:
        """Wait until one of the states is reached, however briefly.

        Raises:
            DeadlineExceeded: it was not, in time.
            PlacetError: the one that ended the subscription.
        """
        loop, core = self._opened()
        loop.run(core.wait_for(states, timeout_s=timeout_s))

    def wait_ready(self, *, timeout_s: float = 10.0) -> None:
        """Wait until the stream is alive and current. Raises as ``wait_for`` does."""
        loop, core = self._opened()
        loop.run(core.wait_ready(timeout_s=timeout_s))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Snapshot[ItemT] | Delta[ItemT]:
        event = self.next_event()
        if event is None:
            raise StopIteration
        return event

    def next_event(
        self, *, timeout_s: float | None = None
    ) -> Snapshot[ItemT] | Delta[ItemT] | None:
        """Wait for the next event; None after the subscription was closed.

        Raises:
            TimeoutError: none came in time.
            PlacetError: the one that ended the subscription.
        """
        loop, core = self._opened()
        return loop.run(core.next_event(timeout_s=timeout_s))

    def __enter__(self) -> Self:
        self._loop = background_loop()
        self._core = self._loop.run(self._stack.enter_async_context(self._connect()))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the stream."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.run(self._stack.aclose())

    def _opened(self) -> tuple[LoopThread, _subscription.Subscription[ItemT]]:
        if self._loop is None or self._core is None:
            raise Unavailable("the subscription is not open; use it in `with`")
        return self._loop, self._core
