"""Which upstream is followed: the first that can be, and another as soon as it cannot.

Every stream goes on at the same cursor, whoever it comes from. Before anything of it is used, it
is looked at: it has to be of the same store, must not lead back to this node, and must not set
this node back. Two things make a node leave an upstream that works: an earlier one that has come
back and been there for a while, and another that is current where this one is not.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import grpc
import grpc.aio

from placet._backoff import Backoff
from placet._endings import Ending
from placet._errors import FailedPrecondition, PlacetError, Unavailable
from placet._following import Next, Stream
from placet.v1 import subscribe_service_pb2, subscribe_service_pb2_grpc
from placet.wire import seconds
from placet_server.clock import Clock
from placet_server.policies.source import Lineage
from placet_server.upstream.copy import UpstreamCopy

log = logging.getLogger(__name__)

_Response = subscribe_service_pb2.SubscribeResponse


class Upstream:
    """A node to follow.

    Args:
        address: where it is.
        dial: opens a connection to an address.
    """

    def __init__(self, address: str, dial: Callable[[str], grpc.aio.Channel]) -> None:
        self.address = address
        self._dial = dial
        self._left: list[grpc.aio.Channel] = []
        self._unused: list[grpc.aio.Channel] = []
        self.channel = dial(address)
        """The connection to use now."""

    def connect_anew(self) -> None:
        """Use another connection from now on. Calls over the one there is may go on."""
        self._left.append(self.channel)
        self.channel = self._dial(self.address)

    async def close_unused(self) -> None:
        """Close the connections that had been left when this was last called."""
        unused, self._unused, self._left = self._unused, self._left, []
        for channel in unused:
            await channel.close()

    async def aclose(self) -> None:
        """Close all connections there are."""
        for channel in (*self._unused, *self._left, self.channel):
            await channel.close()

    def open(self, request: subscribe_service_pb2.SubscribeRequest) -> _Call:
        """Open a stream."""
        # No deadline: silence ends the stream, not time.
        return subscribe_service_pb2_grpc.SubscribeServiceStub(self.channel).Subscribe(request)


_Call = grpc.aio.UnaryStreamCall[subscribe_service_pb2.SubscribeRequest, _Response]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long things are waited for, in seconds."""

    stale_after_s: float
    """Silence, or staleness of its own, past which an upstream is left for another."""
    prefer_after_s: float
    """How long a later upstream is followed before an earlier one is tried again."""


class UpstreamStreams:
    """Implements ``Streams`` over several upstreams, and says what is followed now.

    Args:
        upstreams: in order of preference, one at least.
        node: id of this node.
        region: where it is.
        copy: what the streams keep.
        patience: how long things are waited for.
        clock: measures it.
        rng: spreads what many nodes do at the same time.
        backoff: how long is waited when none of the upstreams can be followed.
    """

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        *,
        node: str,
        region: str,
        copy: UpstreamCopy,
        patience: Patience,
        clock: Clock,
        rng: random.Random | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self._upstreams = tuple(upstreams)
        self._request = subscribe_service_pb2.SubscribeRequest(subscriber=node, region=region)
        self._node = node
        self._copy = copy
        self._patience = patience
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311  # spreads, guards nothing
        self._backoff = backoff or Backoff(most_s=5.0)
        self._place = 0
        self._wanted: int | None = None
        self._since_s = clock.monotonic()
        self._tried = 0
        self._resets: set[int] = set()
        self._told: dict[int, str] = {}
        self._beyond: tuple[str, ...] = ()
        self.store_id = ""
        """The store's that the stream is of."""
        self.staleness_s = 0.0
        """How stale the upstream said it was."""
        self.failovers = 0
        """How often another upstream was gone to."""

    @property
    def upstream(self) -> Upstream:
        """The one that is followed, or tried."""
        return self._upstreams[self._place]

    @property
    def is_following(self) -> bool:
        """Whether there is a stream, and something has come over it."""
        return bool(self._beyond)

    @property
    def lineage(self) -> Lineage:
        """Where what this node has comes from."""
        return Lineage(self._copy.store_id, (self._node, *self._beyond))

    def connect_anew(self) -> None:
        """Use other connections from now on: what they are opened with has changed."""
        for upstream in self._upstreams:
            try:
                upstream.connect_anew()
            except ValueError as error:
                log.warning(
                    "an upstream cannot be connected to anew",
                    extra={"address": upstream.address, "reason": str(error)},
                )
        self._wanted = self._place

    # ---------------------------------------------------------------------- one stream

    def open(self, cursor: bytes) -> Stream:
        """See ``Streams``."""
        self._since_s = self._clock.monotonic()
        self._wanted = None
        return _Checked(self._call(self._place, cursor), self._check, self._look_at)

    def _call(self, place: int, cursor: bytes) -> _Call:
        request = subscribe_service_pb2.SubscribeRequest()
        request.CopyFrom(self._request)
        request.cursor = cursor
        return self._upstreams[place].open(request)

    def _check(self, metadata: grpc.aio.Metadata) -> None:
        """Look at what a stream says of itself before it is used."""
        store_id, nodes = _said(metadata)
        self._refuse(store_id, nodes)
        self.store_id, self._beyond = store_id, nodes
        self._told.pop(self._place, None)
        log.info(
            "following an upstream",
            extra={"address": self.upstream.address, "upstreams": ",".join(nodes)},
        )

    def _look_at(self, message: _Response) -> None:
        """Look at a message before it is used."""
        match message.WhichOneof("event"):
            case "snapshot_begin":
                self._refuse_older(message.snapshot_begin.revision)
            case "heartbeat":
                self.staleness_s = seconds(message.heartbeat.staleness)
                nodes = tuple(message.heartbeat.upstreams)
                self._refuse(self.store_id, nodes)
                self._beyond = nodes
        if self._wanted is not None:
            address = self._upstreams[self._wanted].address
            raise Unavailable(f"`{address}` is to be followed instead", reason=_MOVING)

    def _refuse(self, store_id: str, nodes: Sequence[str]) -> None:
        """Raise what is wrong with an upstream, if anything is."""
        if not store_id or not nodes:
            raise FailedPrecondition(
                "it does not say what it follows; upgrade it", reason="UPSTREAM_TOO_OLD"
            )
        if self._node in nodes:
            raise FailedPrecondition(
                f"it follows this node: {' → '.join((self._node, *nodes))}; leave one of them out "
                "of --upstream, or, if two nodes have this name, give each its own with --node",
                reason="UPSTREAM_LOOP",
            )
        held = self._copy.store_id
        if held and held != store_id:
            raise FailedPrecondition(
                f"it has another store, `{store_id}`, than what this node holds, `{held}`; if that "
                "is meant, start this node once with --start-over",
                reason="ANOTHER_STORE",
            )

    def _refuse_older(self, revision: int) -> None:
        held = self._copy.mirror.revision
        if self._copy.has_state and revision < held:
            raise FailedPrecondition(
                f"it is at revision {revision}, behind what this node has, {held}; if the store "
                "was set back, start this node once with --start-over",
                reason="UPSTREAM_BEHIND",
            )

    # ------------------------------------------------------------------------- the next

    def ended(self, ending: Ending, *, made_progress: bool, has_snapshot: bool) -> Next:
        """Go to the next upstream at once, and wait when there is none left to try."""
        place, count = self._place, len(self._upstreams)
        self._beyond = ()
        if made_progress:
            self._tried = 0
            self._resets.clear()
        if ending.error.reason == _MOVING and self._wanted is not None:
            self._go_to(self._wanted)
            return Next(0.0)
        self._tell(place, ending)
        self._tried += 1
        # One that came further goes on where it is: it was too slow, and not lost. All who follow
        # this node would have to start over with it.
        starts_over = ending.starts_over and not made_progress and self._starts_over(place)
        if not starts_over:
            self._go_to((place + 1) % count)
        if self._tried % count:
            return Next(0.0, starts_over=starts_over)
        rounds = self._tried // count
        wait_s = ending.wait_s + self._backoff.delay_s(rounds, self._rng)
        return Next(wait_s, starts_over=starts_over)

    def _starts_over(self, place: int) -> bool:
        """Whether there is nobody left who could go on at the cursor."""
        asked_before = place in self._resets
        self._resets.add(place)
        return asked_before or len(self._resets) == len(self._upstreams)

    def _go_to(self, place: int) -> None:
        if place != self._place:
            self._place = place
            self.failovers += 1

    def _tell(self, place: int, ending: Ending) -> None:
        """Say once why an upstream is not followed, until it is again."""
        why = str(ending.error)
        if self._told.get(place) == why:
            return
        self._told[place] = why
        log.log(
            logging.ERROR if ending.is_fault else logging.WARNING,
            "an upstream cannot be followed",
            extra={"address": self._upstreams[place].address, "reason": why},
        )

    # ----------------------------------------------------------------------- a better one

    async def keep_to_the_best(self) -> None:
        """Look for a better upstream now and then, until cancelled."""
        while True:
            await asyncio.sleep(self._patience.stale_after_s * self._rng.uniform(0.5, 1.0))
            for upstream in self._upstreams:
                await upstream.close_unused()
            for place in self._better():
                if await self._would_do(place):
                    self._wanted = place
                    break

    def _better(self) -> list[int]:
        """Return who might be worth leaving the present upstream for, the best first."""
        if not self.is_following:
            return []
        if self.staleness_s > self._patience.stale_after_s:
            return [place for place in range(len(self._upstreams)) if place != self._place]
        followed_s = self._clock.monotonic() - self._since_s
        return list(range(self._place)) if followed_s >= self._patience.prefer_after_s else []

    async def _would_do(self, place: int) -> bool:
        """Whether an upstream goes on where this node is, and is current."""
        if not self._copy.has_state:
            return False
        call = self._call(place, self._copy.mirror.cursor)
        try:
            async with asyncio.timeout(self._patience.stale_after_s):
                while True:
                    message = await call.read()
                    if not isinstance(message, _Response):
                        return False
                    event = message.WhichOneof("event")
                    if event == "delta":
                        continue
                    self._refuse(*_said(await call.initial_metadata()))
                    stale_s = seconds(message.heartbeat.staleness)
                    return event == "heartbeat" and stale_s <= self._patience.stale_after_s
        except (TimeoutError, grpc.aio.AioRpcError, PlacetError):
            return False
        finally:
            call.cancel()


_MOVING = "MOVING"


def _said(metadata: grpc.aio.Metadata) -> tuple[str, tuple[str, ...]]:
    """Return of which store a stream says it is, and over which nodes it comes."""
    said = {key: value for key, value in metadata if isinstance(value, str)}
    nodes = said.get("placet-upstreams", "")
    return said.get("placet-store", ""), tuple(map(unquote, filter(None, nodes.split(","))))


class _Checked:
    """A stream that is looked at before it is used."""

    def __init__(
        self,
        call: _Call,
        check: Callable[[grpc.aio.Metadata], None],
        look_at: Callable[[_Response], None],
    ) -> None:
        self._call = call
        self._check = check
        self._look_at = look_at
        self._is_checked = False

    async def read(self) -> object:
        """See ``Stream``."""
        # First a message: when there is none, the call's status says why.
        message = await self._call.read()
        if isinstance(message, _Response):
            if not self._is_checked:
                self._check(await self._call.initial_metadata())
                self._is_checked = True
            self._look_at(message)
        return message

    def cancel(self) -> bool:
        """See ``Stream``."""
        return self._call.cancel()
