"""One stream after another into one copy of a policy set, for as long as it is wanted.

What a message does to the copy is ``_mirror.py``'s, how current the copy is ``_freshness.py``'s,
where the next stream comes from and when is the ``Streams``'. Events are handed over as they
come; who needs them to wait puts a mailbox behind.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeAlias

import grpc
import grpc.aio

from placet import wire
from placet._backoff import Backoff
from placet._calls import CLOSED
from placet._endings import Ending, after_break, after_error, after_go_away, after_reset
from placet._errors import PlacetError, Unavailable
from placet._freshness import Status
from placet._mirror import Delta, ItemT, MirrorBroken, PolicySetMirror, Snapshot
from placet._status import from_rpc_error
from placet.v1 import subscribe_service_pb2

log = logging.getLogger("placet.subscription")


class Stream(Protocol):
    """A Subscribe stream, as gRPC's asyncio calls are."""

    async def read(self) -> object:
        """Return the next message, or gRPC's end of the stream.

        Raises:
            AioRpcError: the call failed.
            PlacetError: what the stream comes from cannot be followed.
        """
        ...

    def cancel(self) -> bool:
        """End it."""
        ...


OpenStream: TypeAlias = Callable[[bytes], Stream]
"""Opens a stream that goes on at a cursor, or begins with a snapshot."""


class Streams(Protocol):
    """Where streams come from, and what the end of one means for the next."""

    def open(self, cursor: bytes) -> Stream:
        """Open a stream that goes on at a cursor, or begins with a snapshot."""
        ...

    def ended(self, ending: Ending, *, made_progress: bool, has_snapshot: bool) -> Next:
        """Say how to go on."""
        ...


class Next:
    """How to go on after the end of a stream."""

    __slots__ = ("gives_up", "starts_over", "wait_s")

    def __init__(self, wait_s: float, *, starts_over: bool = False, gives_up: bool = False) -> None:
        self.wait_s = wait_s
        self.starts_over = starts_over
        """Whether the next stream begins with a snapshot."""
        self.gives_up = gives_up
        """Whether there is no next stream."""


class OneServer:
    """Streams of one server, or of several that look like one."""

    def __init__(
        self,
        open_stream: OpenStream,
        backoff: Backoff,
        rng: random.Random | None = None,
        *,
        has_others: bool = False,
    ) -> None:
        self.open = open_stream
        self._backoff = backoff
        # A node that goes away, or takes no more subscribers, says when to come back. Whoever
        # can go elsewhere does that at once.
        self._has_others = has_others
        # Spreads retries; nobody gains by guessing them.
        self._rng = rng or random.Random()  # noqa: S311
        self._failures = 0

    def ended(self, ending: Ending, *, made_progress: bool, has_snapshot: bool) -> Next:
        """Try again, later and later; an error for good ends it while nothing is held."""
        self._failures = 1 if made_progress else self._failures + 1
        wait_s = 0.0 if self._has_others else ending.wait_s
        return Next(
            wait_s + self._backoff.delay_s(self._failures, self._rng),
            starts_over=ending.starts_over,
            gives_up=ending.is_final and not has_snapshot,
        )


class Follower(Generic[ItemT]):
    """Keeps a mirror by streams.

    Args:
        streams: where they come from.
        mirror: the copy; with a snapshot already, or empty.
        stale_after_s: silence past which a stream is given up, and staleness of the node behind
            it past which the status is STALE.
        take: is handed every event, once the mirror has it.
        changed: is called when the status has changed; it may have been called already.
        forget: is called when what is held may not be kept, and no longer is.
        clock: a monotonic time, in seconds.
        sleep: waits.
    """

    def __init__(
        self,
        streams: Streams,
        mirror: PolicySetMirror[ItemT],
        *,
        stale_after_s: float,
        take: Callable[[Snapshot[ItemT] | Delta[ItemT]], None],
        changed: Callable[[Status, Status], None],
        forget: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._streams = streams
        self._mirror = mirror
        self._stale_after_s = stale_after_s
        self._hand_over = take
        self._changed = changed
        self._forget = forget
        self._clock = clock
        self._sleep = sleep
        self._is_caught_up = False
        self.status = Status()
        """State, revision, last error and times, at this moment. Safe from any thread."""

    async def follow(self) -> PlacetError:
        """Read one stream after another; return the error that ends it, if one does."""
        mirror = self._mirror
        while True:
            mirror.begin_stream()
            revision_before = mirror.revision
            self._is_caught_up = False
            ending = await self._read_stream()
            log.info(
                "stream ended", extra={"error": str(ending.error), "revision": mirror.revision}
            )
            following = self._streams.ended(
                ending,
                made_progress=self._is_caught_up or mirror.revision > revision_before,
                has_snapshot=mirror.has_snapshot,
            )
            if following.gives_up:
                return ending.error
            if following.starts_over:
                mirror.start_over()
            self._note(ending)
            await self._sleep(following.wait_s)

    def _note(self, ending: Ending) -> None:
        """Have the status say how a stream ended, and let go of what may not be held here."""
        if ending.forgets:
            self._mirror.forget()
            self._forget()
            self.set(self.status.forgotten(ending.error))
        else:
            note = self.status.failed if ending.is_fault else self.status.lost
            self.set(note(ending.error))

    async def _read_stream(self) -> Ending:
        """Open a stream where the mirror stands and take what it brings until it ends."""
        try:
            stream = self._streams.open(self._mirror.cursor)
        except CLOSED as error:
            closed = Unavailable(f"the client is closed: {error}")
            return Ending(closed, is_fault=True, is_final=True)
        except PlacetError as error:
            # There is nothing to prove with who calls.
            return after_error(error)
        try:
            while True:
                async with asyncio.timeout(self._stale_after_s):
                    message = await stream.read()
                if not isinstance(message, subscribe_service_pb2.SubscribeResponse):
                    return Ending(Unavailable("the server ended the stream"))
                ending = self._take(message)
                if ending is not None:
                    return ending
        except TimeoutError:
            silent_s = self._stale_after_s
            return Ending(Unavailable(f"the server has been silent for {silent_s} s"))
        except MirrorBroken as broken:
            return after_break(broken)
        except grpc.aio.AioRpcError as rpc_error:
            return after_error(from_rpc_error(rpc_error))
        except PlacetError as error:
            return after_error(error)
        finally:
            stream.cancel()

    def _take(self, message: subscribe_service_pb2.SubscribeResponse) -> Ending | None:
        """Apply one message; return how the stream ends if it says so."""
        match self._mirror.apply(message):
            case Snapshot() as snapshot:
                self._hand_over(snapshot)
                self.status = self.status.moved(snapshot.revision)
                self._confirm(wire.seconds(message.snapshot_end.staleness))
            case Delta() as delta:
                self._hand_over(delta)
                self.set(self.status.moved(delta.to_revision))
                # What was missed comes at once and says nothing about now. After that, a
                # change is as good a sign as a heartbeat that nothing else has happened.
                if self._is_caught_up:
                    self._confirm(self.status.node_staleness_s)
        match message.WhichOneof("event"):
            case "heartbeat" if message.heartbeat.cursor and self._mirror.is_following:
                self._confirm(wire.seconds(message.heartbeat.staleness))
            case "reset_required":
                return after_reset(message.reset_required)
            case "go_away":
                return after_go_away(message.go_away)
        return None

    def _confirm(self, node_staleness_s: float) -> None:
        self._is_caught_up = True
        self.set(
            self.status.confirmed(
                self._clock(),
                node_staleness_s=node_staleness_s,
                stale_after_s=self._stale_after_s,
            )
        )

    def set(self, status: Status) -> None:
        """Make a status visible, and its change known."""
        before, self.status = self.status, status
        self._changed(before, status)
