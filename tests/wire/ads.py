"""A client of the aggregated discovery service that does what it is told, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf import json_format

from placet_server.api.discovery import SERVICE
from placet_server.xds.resources import TYPES, Type
from placet_server.xds.v3 import core_pb2, discovery_pb2, endpoint_pb2
from tests.wire.service import TIMEOUT_S

METHOD = f"/{SERVICE}/StreamAggregatedResources"
_Request, _Response = discovery_pb2.DiscoveryRequest, discovery_pb2.DiscoveryResponse


class EndedWell(Exception):
    """The server has nothing more to say."""


class Stream:
    """One stream."""

    def __init__(self, call: Any, node: core_pb2.Node) -> None:
        self._call = call
        self._node = node
        self._nonces: dict[Type, str] = {}

    async def ask(self, type_: Type, *names: str, error: str | None = None) -> None:
        """Ask for resources; answers the last response of that type, if there was one."""
        request = _Request(
            type_url=type_.url,
            resource_names=names,
            node=self._node,
            response_nonce=self._nonces.get(type_, ""),
        )
        if error is not None:
            request.error_detail.message = error
        await self._call.write(request)

    async def read(self) -> discovery_pb2.DiscoveryResponse:
        """Wait for a response."""
        async with asyncio.timeout(TIMEOUT_S):
            response = await self._call.read()
        if response is grpc.aio.EOF:
            assert await self._call.code() is grpc.StatusCode.OK
            raise EndedWell
        assert isinstance(response, _Response)
        self._nonces[TYPES[response.type_url]] = response.nonce
        return response

    async def get(self, type_: Type, *names: str) -> discovery_pb2.DiscoveryResponse:
        """Ask for resources and return what is sent."""
        await self.ask(type_, *names)
        response = await self.read()
        assert type_.url == response.type_url
        return response

    async def failed(self) -> grpc.aio.AioRpcError:
        """Wait until the stream fails; return with what."""
        try:
            while True:
                await self.read()
        except grpc.aio.AioRpcError as error:
            return error

    async def done(self) -> None:
        """Say that nothing more is asked."""
        await self._call.done_writing()


@asynccontextmanager
async def streaming(
    channel: grpc.aio.Channel,
    metadata: Mapping[str, Any] | None = None,
    *,
    id_: str = "c",
    calling: tuple[tuple[str, str], ...] = (),
    **node: Any,
) -> AsyncIterator[Stream]:
    """Have a stream for the length of the block, of a client that says this of itself."""
    document = {"id": id_, "metadata": metadata or {}, **node}
    call = channel.stream_stream(METHOD, _Request.SerializeToString, _Response.FromString)(
        metadata=calling
    )
    try:
        yield Stream(call, json_format.ParseDict(document, core_pb2.Node()))
    finally:
        call.cancel()


def nodes_in(response: discovery_pb2.DiscoveryResponse) -> list[list[str]]:
    """Return the addresses in a response with one assignment, by priority."""
    (packed,) = response.resources
    assignment = endpoint_pb2.ClusterLoadAssignment.FromString(packed.value)
    return [
        [
            f"{socket.address}:{socket.port_value}"
            for endpoint in locality.lb_endpoints
            for socket in [endpoint.endpoint.address.socket_address]
        ]
        for locality in assignment.endpoints
    ]


def missing_in(response: discovery_pb2.DiscoveryResponse) -> dict[str, str]:
    """Return the names that a response says are not there, and why."""
    return {one.resource_name.name: one.error_detail.message for one in response.resource_errors}
