"""Asks other nodes whether they serve, by the health service that every gRPC server has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from placet_server.regions.probing import Answer

# A node that comes back is to be noticed at once: the pauses between attempts to connect are short.
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    # A connection of its own: it is this node's way to that one that is tried out.
    ("grpc.use_local_subchannel_pool", 1),
    # And tried all the time, by pings, of which a thousand cost less than one question does: a node
    # that hangs is noticed by them within 0.35 s. Nodes let them be sent every 0.1 s.
    ("grpc.keepalive_time_ms", 150),
    ("grpc.keepalive_timeout_ms", 200),
    ("grpc.http2.ping_timeout_ms", 200),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
# A question under way may be answered.
_GRACE_S = 5.0
_SERVING = health_pb2.HealthCheckResponse.SERVING
_REASONS: Mapping[grpc.StatusCode, str] = {
    grpc.StatusCode.DEADLINE_EXCEEDED: "it does not answer in time",
    grpc.StatusCode.UNAVAILABLE: "it cannot be reached",
}
# It answers, and keeps its health from those it does not know.
_ANSWERS = frozenset({grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED})


class HealthAsker:
    """Implements ``Asker``. Keeps a connection to each node it asks.

    Args:
        credentials: return how to talk to nodes as of now, None for plain text; raise ValueError
            where that cannot be said.
    """

    def __init__(self, credentials: Callable[[], grpc.ChannelCredentials | None]) -> None:
        self._credentials = credentials
        self._tell_lost: Callable[[str], None] = lambda _: None
        self._channels: dict[str, _Watched] = {}
        self._closing: set[asyncio.Future[Any]] = set()

    def when_lost(self, tell: Callable[[str], None]) -> None:
        """See ``Asker``."""
        self._tell_lost = tell

    async def ask(self, address: str, timeout_s: float) -> Answer:
        """Ask the node at an address."""
        try:
            channel = self._channel(address)
        except ValueError:
            # That this node's own files are no good says nothing against others.
            return Answer()
        # The stubs know this method, and mypy does not.
        check: Any = getattr(health_pb2_grpc.HealthStub(channel), "Check")  # noqa: B009
        try:
            answer = await check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            if error.code() in _REASONS:
                return Answer(_REASONS[error.code()], is_one=False)
            known = error.code() in _ANSWERS
            return Answer("" if known else f"it answers {error.code().name} when asked")
        except grpc.aio.UsageError:
            # Its connection was closed: nobody wants to know any more.
            return Answer()
        return Answer("" if answer.status == _SERVING else "it says that it does not serve")

    async def keep(self, addresses: Collection[str]) -> None:
        """Close connections to other nodes."""
        gone = [self._channels.pop(one) for one in self._channels.keys() - set(addresses)]
        await asyncio.gather(*(watched.close() for watched in gone))

    def connect_anew(self) -> None:
        """Open new connections from now on: this node shows something else."""
        former, self._channels = self._channels, {}
        closing = asyncio.gather(*(watched.close(_GRACE_S) for watched in former.values()))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Close all connections."""
        await self.keep(())
        await asyncio.gather(*self._closing)

    def _channel(self, address: str) -> grpc.aio.Channel:
        watched = self._channels.get(address)
        if watched is None:
            credentials = self._credentials()
            channel = (
                grpc.aio.secure_channel(address, credentials, _OPTIONS)
                if credentials is not None
                else grpc.aio.insecure_channel(address, _OPTIONS)
            )
            watched = self._channels[address] = _Watched(channel, lambda: self._tell_lost(address))
        return watched.channel


class _Watched:
    """A channel, and whoever is told when its connection breaks."""

    def __init__(self, channel: grpc.aio.Channel, lost: Callable[[], None]) -> None:
        self.channel = channel
        self._lost = lost
        self._watching = asyncio.create_task(self._watch(), name="probe-connection")

    async def close(self, grace_s: float | None = None) -> None:
        """Close the channel, and tell nobody."""
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)
        await self.channel.close(grace_s)

    async def _watch(self) -> None:
        is_connected = False
        while True:
            state = self.channel.get_state(try_to_connect=True)
            if state is grpc.ChannelConnectivity.READY:
                is_connected = True
            elif is_connected:
                is_connected = False
                self._lost()
            await self.channel.wait_for_state_change(state)
