"""Refuses calls about tenants whose data may not be on this node, whatever the call would do.

What asks the node's memory finds no such tenant there. This is for what goes to the store, or
keeps what it is given: it is refused before anything is done for it, and after it is known that
its caller may ask.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.message import Message

from placet_server.api.rpcs import RPCS, Rpc
from placet_server.regions.directory import Directory

# Handlers and messages of every method pass here, whatever their types.
_Handler = Any
_Context = grpc.aio.ServicerContext[Any, Any]

# Says where tenants are placed and where to go, which everybody may know who may ask.
_EXEMPT = "/placet.v1.TopologyService/"


class ResidencyGuard(grpc.aio.ServerInterceptor):
    """Looks at calls before they are handled. Stands behind whoever knows callers.

    Args:
        directory: knows where tenants may be, and where their callers go.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        """Wrap the method's handler."""
        handler = await continuation(handler_call_details)
        rpc = RPCS.get(handler_call_details.method)
        if handler is None or rpc is None or handler_call_details.method.startswith(_EXEMPT):
            return handler
        if handler.request_streaming or handler.request_deserializer is None:
            # What takes bytes asks the node's memory, which has nothing that may not be here.
            return handler
        read, write = handler.request_deserializer, handler.response_serializer
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(self._stream(handler, rpc), read, write)
        return grpc.unary_unary_rpc_method_handler(self._unary(handler, rpc), read, write)

    def _unary(self, handler: _Handler, rpc: Rpc) -> Callable[[Any, _Context], Awaitable[Any]]:
        async def call(request: Any, context: _Context) -> Any:
            self.check(rpc, request)
            return await handler.unary_unary(request, context)

        return call

    def _stream(self, handler: _Handler, rpc: Rpc) -> Callable[[Any, _Context], AsyncIterator[Any]]:
        async def call(request: Any, context: _Context) -> AsyncIterator[Any]:
            self.check(rpc, request)
            async with aclosing(handler.unary_stream(request, context)) as responses:
                async for response in responses:
                    yield response

        return call

    def check(self, rpc: Rpc, request: Message) -> None:
        """See that every tenant a request names may be on this node.

        Raises:
            WrongRegion: one of them may not.
        """
        for tenant in _named(rpc, request):
            self._directory.check(tenant)


def _named(rpc: Rpc, request: Message) -> Iterator[str]:
    yield rpc.tenant(request)
    for path in rpc.passed_over:
        yield from _texts(request, path.split("."))


def _texts(found: Any, path: list[str]) -> Iterator[str]:
    """Yield all texts at a path, through messages that are repeated and those that are not."""
    if not path:
        yield found
        return
    inner = getattr(found, path[0])
    is_one = isinstance(inner, str | Message)
    for each in (inner,) if is_one else inner:
        yield from _texts(each, path[1:])
