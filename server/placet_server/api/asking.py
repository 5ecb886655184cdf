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
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._closing: set[asyncio.Future[Any]] = set()

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
        await asyncio.gather(*(channel.close() for channel in gone))

    def connect_anew(self) -> None:
        """Open new connections from now on: this node shows something else."""
        former, self._channels = self._channels, {}
        closing = asyncio.gather(*(channel.close(_GRACE_S) for channel in former.values()))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Close all connections."""
        await self.keep(())
        await asyncio.gather(*self._closing)

    def _channel(self, address: str) -> grpc.aio.Channel:
        channel = self._channels.get(address)
        if channel is None:
            credentials = self._credentials()
            channel = self._channels[address] = (
                grpc.aio.secure_channel(address, credentials, _OPTIONS)
                if credentials is not None
                else grpc.aio.insecure_channel(address, _OPTIONS)
            )
        return channel
