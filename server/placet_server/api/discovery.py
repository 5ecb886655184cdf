"""Envoy's aggregated discovery service, which gRPC's and Envoy's own balancers are clients of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import grpc

from placet_engine.items import NO_REVISION
from placet_server.api.callers import caller_of
from placet_server.api.identity import check_still, visible
from placet_server.clock import Clock
from placet_server.errors import NodeNotReady, XdsRequestRefused
from placet_server.policies.active import ActivePolicies
from placet_server.policies.residency import Residency
from placet_server.regions.audience import Audience
from placet_server.xds.answers import Absent
from placet_server.xds.clients import read_client
from placet_server.xds.exchange import Exchange
from placet_server.xds.plane import ControlPlane
from placet_server.xds.resources import Resource, Type
from placet_server.xds.roster import Session
from placet_server.xds.v3 import discovery_pb2

_Context = grpc.aio.ServicerContext[Any, Any]
_Request = discovery_pb2.DiscoveryRequest
_Response = discovery_pb2.DiscoveryResponse

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"

_FIRST_REQUEST_S = 10.0
_INFORMED_S = 3.0
"""Less than it takes a client to try another control plane, and more than a look at a store."""
_LOOKED_AFTER_S = 5.0
"""How often it is seen to that the caller is still who it was."""


class DiscoveryService:
    """Sends each client where its calls may go, and again whenever that changes.

    Args:
        plane: what there is, and who is connected.
        active: whether the node has anything yet.
        informed: is set once it is known which nodes there are.
        residency: the regions there are.
        audience: is told when the node is about to stop.
        clock: the time.
        node: this node's id.
    """

    def __init__(
        self,
        plane: ControlPlane,
        *,
        active: ActivePolicies,
        informed: asyncio.Event,
        residency: Residency,
        audience: Audience,
        clock: Clock,
        node: str,
    ) -> None:
        self._answers = plane.answers
        self._roster = plane.roster
        self._active = active
        self._informed = informed
        self._residency = residency
        self._audience = audience
        self._clock = clock
        self._node = node

    async def StreamAggregatedResources(
        self, requests: AsyncIterator[_Request], context: _Context
    ) -> AsyncGenerator[_Response]:
        """Answer what a client asks for, in the state of the world variant.

        Raises:
            NodeNotReady: the node knows of nobody yet.
            TooManyXdsClients: it has as many streams as it may.
            XdsClientRefused: the client says of itself what cannot be meant.
            XdsRequestRefused: it asks for too much, or says nothing.
            Draining: the node is about to stop.
        """
        with self._roster.seat():
            await self._be_ready()
            first = await _first(requests)
            session = Session(
                client=read_client(first.node, self._residency.regions),
                exchange=Exchange(self._node),
                peer=context.peer(),
                caller=caller_of(context).name,
                start_time=self._clock.now(),
            )
            self._take(session, first)
            reading = asyncio.create_task(self._read(session, requests), name="xds-requests")
            reading.add_done_callback(lambda _: session.woken.set())
            try:
                with self._roster.known(session):
                    async for response in self._responses(session, reading):
                        yield response
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _be_ready(self) -> None:
        """Wait until it is known who there is: what is said before sends calls to whoever is left.

        Raises:
            NodeNotReady: it takes too long, or the node has no policies yet.
        """
        try:
            async with asyncio.timeout(_INFORMED_S):
                await self._informed.wait()
                if not self._active.is_loaded:
                    await self._active.wait_past(NO_REVISION)
        except TimeoutError:
            pass
        if not (self._informed.is_set() and self._active.is_loaded):
            raise NodeNotReady

    async def _responses(
        self, session: Session, reading: asyncio.Task[None]
    ) -> AsyncGenerator[_Response]:
        is_visible = visible().__contains__

        def find(type_: Type, name: str) -> Resource | Absent:
            return self._answers.find(session.client, type_, name, is_visible)

        while True:
            session.woken.clear()
            for response in session.exchange.due(find, self._answers.wildcard):
                self._roster.sent[response.type] += 1
                yield response.message
            if reading.done():
                # The client has nothing more to ask, and is gone; or what it asked is refused.
                reading.result()
                return
            try:
                async with asyncio.timeout(_LOOKED_AFTER_S):
                    await session.woken.wait()
            except TimeoutError:
                pass
            self._audience.check_staying()
            check_still()

    async def _read(self, session: Session, requests: AsyncIterator[_Request]) -> None:
        async for request in requests:
            self._take(session, request)
            session.woken.set()

    def _take(self, session: Session, request: _Request) -> None:
        nack = session.exchange.take(request, self._clock.now())
        if nack is not None:
            self._roster.note_refusal(session, nack)


async def _first(requests: AsyncIterator[_Request]) -> _Request:
    """Return the first request of a stream, which says who asks."""
    try:
        async with asyncio.timeout(_FIRST_REQUEST_S):
            return await anext(requests)
    except (TimeoutError, StopAsyncIteration):
        raise XdsRequestRefused(
            "the stream has no request; send one at once, with the node"
        ) from None


def discovery_handlers(service: DiscoveryService) -> grpc.GenericRpcHandler:
    """Serve it under the name that clients know, with messages of our own.

    The incremental variant is not served: no gRPC library asks for it, and Envoy need not.
    """
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(
                service.StreamAggregatedResources,
                _Request.FromString,
                _Response.SerializeToString,
            ),
        },
    )
