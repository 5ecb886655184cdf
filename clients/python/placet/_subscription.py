"""Following a policy set, with events that wait until somebody takes them.

The asyncio core; ``_sync_subscription.py`` puts threads around it. How one
stream follows the other is ``_following.py``'s, how events wait for a slow
reader ``_mailbox.py``'s.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Generic, Self

from placet._backoff import Backoff
from placet._errors import DeadlineExceeded, Internal, PlacetError, Unavailable
from placet._following import Follower, OneServer, OpenStream
from placet._freshness import State, StateChange, Status
from placet._mailbox import Mailbox
from placet._mirror import Delta, ItemReader, ItemT, PolicySetMirror, Snapshot

log = logging.getLogger("placet.subscription")


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowOptions:
    """How a subscription is kept alive."""

    stale_after_s: float = 15.0
    """Without any message for this long the stream is given up; the server sends one
    every 5 s at least. A node that is itself staler makes the subscription STALE."""
    max_waiting_deltas: int = 256
    """More than this many events not taken turn into one snapshot."""
    backoff: Backoff = field(default_factory=Backoff)
    on_state_change: Callable[[StateChange], None] | None = None
    """Called on the event loop's thread; must not block."""
    on_forget: Callable[[], None] | None = None
    """Called there when what was held may not be kept, and no longer is."""


class Subscription(Generic[ItemT]):
    """A policy set, followed: an async context manager, and an async iterator of its changes.

    The first event is a ``Snapshot``; then come ``Delta`` events, and a
    ``Snapshot`` again whenever the chain of changes was lost or the reader
    was too slow for it. Lost connections are made anew and go on where they
    broke off. An error which trying again will hardly mend ends it, unless it
    comes when a snapshot is held already: then what is held stays, ``state``
    is ``ERROR``, and the tries go on. Where the tenant's data may no longer be
    (``RegionForbidden``), nothing is held until it may again. One reader at a time.
    """

    def __init__(
        self,
        open_stream: OpenStream,
        reader: ItemReader[ItemT],
        options: FollowOptions,
        *,
        has_others: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self._options = options
        self._clock = clock
        mirror = PolicySetMirror(reader)
        self._mailbox: Mailbox[Snapshot[ItemT], Delta[ItemT]] = Mailbox(
            mirror.snapshot, max_deltas=options.max_waiting_deltas, clock=clock
        )
        self._follower = Follower(
            OneServer(open_stream, options.backoff, rng, has_others=has_others),
            mirror,
            stale_after_s=options.stale_after_s,
            take=self._put,
            changed=self._announce,
            forget=self._forget,
            clock=clock,
            sleep=sleep,
        )
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._is_settled = False
        self._task: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------ what can be seen

    @property
    def status(self) -> Status:
        """State, revision, last error and times, at this moment. Safe from any thread."""
        return self._follower.status

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
        seconds = self.status.staleness_s(self._clock())
        return None if seconds is None else timedelta(seconds=seconds)

    @property
    def unread_since_s(self) -> float | None:
        """When the oldest event that was not taken came, by the clock; None without any."""
        return self._mailbox.oldest_waiting_since_s

    async def wait_for(self, states: Iterable[State], *, timeout_s: float) -> None:
        """Wait until one of the states is reached, however briefly.

        Raises:
            DeadlineExceeded: it was not, in time.
            PlacetError: the one that ended the subscription.
        """
        wanted = frozenset(states)
        await self.wait_until(lambda: self.status.state in wanted, timeout_s=timeout_s)

    async def wait_ready(self, *, timeout_s: float = 10.0) -> None:
        """Wait until the stream is alive and current. Raises as ``wait_for`` does."""
        await self.wait_for([State.READY], timeout_s=timeout_s)

    async def wait_until(self, holds: Callable[[], bool], *, timeout_s: float) -> None:
        """Wait until something holds that is looked at after every message and change of state.

        Raises as ``wait_for`` does.
        """
        if holds():
            return
        if self._task is None or self._task.done():
            raise self._end_error()
        waiting = (holds, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(timeout_s):
                await waiting[1]
        except TimeoutError:
            raise DeadlineExceeded(
                f"the subscription is {self.status.state.value} after {timeout_s} s"
                + (f": {self.last_error}" if self.last_error else "")
            ) from self.last_error
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    def recheck(self) -> None:
        """Look at what is waited for, after something else changed that it depends on."""
        for waiting in tuple(self._waiting):
            holds, reached = waiting
            if holds() and not reached.done():
                reached.set_result(None)
                self._waiting.remove(waiting)

    # ------------------------------------------------------------------------- its events

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Snapshot[ItemT] | Delta[ItemT]:
        event = await self.next_event()
        if event is None:
            raise StopAsyncIteration
        return event

    async def next_event(
        self, *, timeout_s: float | None = None
    ) -> Snapshot[ItemT] | Delta[ItemT] | None:
        """Wait for the next event; None after the subscription was closed.

        Raises:
            TimeoutError: none came in time.
            PlacetError: the one that ended the subscription.
        """
        async with asyncio.timeout(timeout_s):
            return await self._mailbox.take()

    # ---------------------------------------------------------------------------- its life

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow(), name="placet-subscription")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the stream. What was not taken can still be."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            # A task that is cancelled before its first step never gets to do this itself.
            self._settle(None)

    async def _follow(self) -> None:
        """Read one stream after another until cancelled, or until an error that ends it."""
        end: PlacetError | None = None
        try:
            end = await self._follower.follow()
        except Exception as error:  # whatever it is, the reader must learn of it
            log.exception("subscription failed")
            end = Internal(f"the subscription failed: {error}")
        finally:
            self._settle(end)

    def _put(self, event: Snapshot[ItemT] | Delta[ItemT]) -> None:
        if isinstance(event, Snapshot):
            self._mailbox.put_snapshot()
        else:
            self._mailbox.put_delta(event)

    def _forget(self) -> None:
        self._mailbox.clear()
        if self._options.on_forget is not None:
            self._options.on_forget()

    def _announce(self, before: Status, status: Status) -> None:
        """Make a change of the status known."""
        self.recheck()
        if before.state is status.state:
            return
        error = None if status.state is State.READY else status.last_error
        if self._options.on_state_change is not None:
            try:
                self._options.on_state_change(
                    StateChange(before.state, status.state, status.revision, error)
                )
            except Exception:  # the caller's code; following goes on without it
                log.exception("state change callback failed")

    def _settle(self, end: PlacetError | None) -> None:
        """Tell everybody who waits that nothing more will come. Once."""
        if self._is_settled:
            return
        self._is_settled = True
        if end is not None:
            self._follower.set(self.status.failed(end))
        else:
            self._follower.set(self.status.lost(Unavailable("the subscription is closed")))
        self._mailbox.close(end)
        for _, reached in self._waiting:
            if not reached.done():
                reached.set_exception(self._end_error())
        self._waiting.clear()

    def _end_error(self) -> PlacetError:
        return self.last_error or Unavailable("the subscription is not open; use it in `with`")
