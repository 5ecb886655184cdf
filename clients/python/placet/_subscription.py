"""Following a policy set: one stream after another, for as long as it is wanted.

The asyncio core; ``_sync_subscription.py`` puts threads around it. What a
message does to the copy is ``_mirror.py``'s, how current the copy is
``_freshness.py``'s, how events wait for a slow reader ``_mailbox.py``'s, and
what the end of a stream means for the next one ``_endings.py``'s.
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
from typing import Generic, Self, TypeAlias

import grpc
import grpc.aio

from placet._backoff import Backoff
from placet._calls import CLOSED
from placet._endings import Ending, after_break, after_error, after_go_away, after_reset
from placet._errors import DeadlineExceeded, Internal, PlacetError, Unavailable
from placet._freshness import State, StateChange, Status
from placet._mailbox import Mailbox
from placet._mirror import Delta, ItemReader, ItemT, MirrorBroken, PolicySetMirror, Snapshot
from placet._status import from_rpc_error
from placet.v1 import subscribe_service_pb2

log = logging.getLogger("placet.subscription")

Stream: TypeAlias = (
    "grpc.aio.UnaryStreamCall[subscribe_service_pb2.SubscribeRequest,"
    " subscribe_service_pb2.SubscribeResponse]"
)
OpenStream: TypeAlias = Callable[[bytes], Stream]
"""Opens a stream that goes on at a cursor, or begins with a snapshot."""


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
        self._open_stream = open_stream
        self._options = options
        # A node that goes away, or takes no more subscribers, says when to come back. Whoever
        # can go elsewhere does that at once.
        self._has_others = has_others
        self._clock = clock
        self._sleep = sleep
        # Spreads retries; nobody gains by guessing them.
        self._rng = rng or random.Random()  # noqa: S311
        self._mirror = PolicySetMirror(reader)
        self._mailbox: Mailbox[Snapshot[ItemT], Delta[ItemT]] = Mailbox(
            self._mirror.snapshot, max_deltas=options.max_waiting_deltas, clock=clock
        )
        self._status = Status()
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._is_caught_up = False
        self._is_settled = False
        self._task: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------ what can be seen

    @property
    def status(self) -> Status:
        """State, revision, last error and times, at this moment. Safe from any thread."""
        return self._status

    @property
    def state(self) -> State:
        """Where the subscription stands."""
        return self._status.state

    @property
    def revision(self) -> int:
        """The revision that is held; 0 before the first snapshot."""
        return self._status.revision

    @property
    def last_error(self) -> PlacetError | None:
        """Why the subscription is not ready, or was not the last time it was not."""
        return self._status.last_error

    def staleness(self) -> timedelta | None:
        """Return the time since what is held was known to be the newest; None before that."""
        seconds = self._status.staleness_s(self._clock())
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
        await self.wait_until(lambda: self._status.state in wanted, timeout_s=timeout_s)

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
                f"the subscription is {self._status.state.value} after {timeout_s} s"
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
            end = await self._follow_until_error()
        except Exception as error:  # whatever it is, the reader must learn of it
            log.exception("subscription failed")
            end = Internal(f"the subscription failed: {error}")
        finally:
            self._settle(end)

    async def _follow_until_error(self) -> PlacetError:
        failures = 0
        while True:
            self._mirror.begin_stream()
            revision_before = self._mirror.revision
            self._is_caught_up = False
            ending = await self._read_stream()
            made_progress = self._is_caught_up or self._mirror.revision > revision_before
            failures = 1 if made_progress else failures + 1
            log.info(
                "stream ended",
                extra={"error": str(ending.error), "revision": self._mirror.revision},
            )
            if ending.is_final and not self._mirror.has_snapshot:
                return ending.error
            if ending.starts_over:
                self._mirror.start_over()
            if ending.forgets:
                self._forget(ending.error)
            else:
                note = self._status.failed if ending.is_fault else self._status.lost
                self._set(note(ending.error))
            delay_s = self._options.backoff.delay_s(failures, self._rng)
            wait_s = 0.0 if self._has_others else ending.wait_s
            await self._sleep(wait_s + delay_s)

    def _forget(self, error: PlacetError) -> None:
        """Let go of what may not be held where this is."""
        self._mirror.forget()
        self._mailbox.clear()
        if self._options.on_forget is not None:
            self._options.on_forget()
        self._set(self._status.forgotten(error))

    async def _read_stream(self) -> Ending:
        """Open a stream where the mirror stands and take what it brings until it ends."""
        try:
            call = self._open_stream(self._mirror.cursor)
        except CLOSED as error:
            closed = Unavailable(f"the client is closed: {error}")
            return Ending(closed, is_fault=True, is_final=True)
        except PlacetError as error:
            # There is nothing to prove with who calls.
            return after_error(error)
        try:
            while True:
                async with asyncio.timeout(self._options.stale_after_s):
                    message = await call.read()
                if not isinstance(message, subscribe_service_pb2.SubscribeResponse):
                    return Ending(Unavailable("the server ended the stream"))
                ending = self._take(message)
                if ending is not None:
                    return ending
        except TimeoutError:
            silent_s = self._options.stale_after_s
            return Ending(Unavailable(f"the server has been silent for {silent_s} s"))
        except MirrorBroken as broken:
            return after_break(broken)
        except grpc.aio.AioRpcError as rpc_error:
            return after_error(from_rpc_error(rpc_error))
        except PlacetError as error:
            return after_error(error)
        finally:
            call.cancel()

    def _take(self, message: subscribe_service_pb2.SubscribeResponse) -> Ending | None:
        """Apply one message; return how the stream ends if it says so."""
        match self._mirror.apply(message):
            case Snapshot() as snapshot:
                self._mailbox.put_snapshot()
                self._status = self._status.moved(snapshot.revision)
                self._confirm(0.0)
            case Delta() as delta:
                self._mailbox.put_delta(delta)
                self._set(self._status.moved(delta.to_revision))
                # What was missed comes at once and says nothing about now. After that, a
                # change is as good a sign as a heartbeat that nothing else has happened.
                if self._is_caught_up:
                    self._confirm(self._status.node_staleness_s)
        match message.WhichOneof("event"):
            case "heartbeat" if message.heartbeat.cursor and self._mirror.is_following:
                self._confirm(message.heartbeat.staleness.ToTimedelta().total_seconds())
            case "reset_required":
                return after_reset(message.reset_required)
            case "go_away":
                return after_go_away(message.go_away)
        return None

    def _confirm(self, node_staleness_s: float) -> None:
        self._is_caught_up = True
        self._set(
            self._status.confirmed(
                self._clock(),
                node_staleness_s=node_staleness_s,
                stale_after_s=self._options.stale_after_s,
            )
        )

    def _set(self, status: Status) -> None:
        """Make the status visible, and its change known."""
        before, self._status = self._status.state, status
        self.recheck()
        if before is status.state:
            return
        error = None if status.state is State.READY else status.last_error
        if self._options.on_state_change is not None:
            try:
                self._options.on_state_change(
                    StateChange(before, status.state, status.revision, error)
                )
            except Exception:  # the caller's code; following goes on without it
                log.exception("state change callback failed")

    def _settle(self, end: PlacetError | None) -> None:
        """Tell everybody who waits that nothing more will come. Once."""
        if self._is_settled:
            return
        self._is_settled = True
        if end is not None:
            self._set(self._status.failed(end))
        else:
            self._set(self._status.lost(Unavailable("the subscription is closed")))
        self._mailbox.close(end)
        for _, reached in self._waiting:
            if not reached.done():
                reached.set_exception(self._end_error())
        self._waiting.clear()

    def _end_error(self) -> PlacetError:
        return self.last_error or Unavailable("the subscription is not open; use it in `with`")
