"""What every call passes: readable messages, a deadline still ahead, errors put into words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from placet_server.api.deadlines import time_left_s
from placet_server.api.failures import BadMessage, MessageTooLarge, to_status
from placet_server.api.messages import MANY_BYTES, ONE_REQUEST_BYTES, check_size
from placet_server.api.observing import observed_stream, observed_unary
from placet_server.api.rpcs import RPCS
from placet_server.errors import SlowReader
from placet_server.telemetry.rpc import RpcTelemetry

# Handlers and messages of every method pass here, whatever their types.
_Handler = Any
_Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """Stands in for a request that could not be read, until somebody can be told."""

    error: BadMessage | MessageTooLarge


class EdgeInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method of the table; health, reflection and channelz stay as they are."""

    def __init__(self, *, write_timeout_s: float, telemetry: RpcTelemetry | None = None) -> None:
        self._write_timeout_s = write_timeout_s
        self._telemetry = telemetry
        # Handlers of unary methods keep nothing between calls and are wrapped once.
        self._unary: dict[str, _Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        """Wrap the method's handler."""
        method = handler_call_details.method
        known = self._unary.get(method)
        if known is not None:
            return known
        handler = await continuation(handler_call_details)
        if handler is None or method not in RPCS:
            return handler
        if handler.request_streaming or handler.response_streaming:
            return self._wrapped_stream(handler, method)
        wrapped = self._unary[method] = self._wrapped_unary(handler, method)
        return wrapped

    def _wrapped_unary(self, handler: _Handler, method: str) -> _Handler:
        read = _tolerant(handler.request_deserializer, max_bytes(method))
        wrapped = grpc.unary_unary_rpc_method_handler(
            _unary(handler.unary_unary), read, handler.response_serializer
        )
        if self._telemetry is None:
            return wrapped
        return observed_unary(wrapped, self._telemetry.method(method))

    def _wrapped_stream(self, handler: _Handler, method: str) -> _Handler:
        read = _tolerant(handler.request_deserializer, max_bytes(method))
        write = handler.response_serializer
        if handler.request_streaming:
            call = _streaming(handler.stream_stream, _readable_stream, self._write_timeout_s)
            wrapped = grpc.stream_stream_rpc_method_handler(call, read, write)
        else:
            call = _streaming(handler.unary_stream, _readable, self._write_timeout_s)
            wrapped = grpc.unary_stream_rpc_method_handler(call, read, write)
        if self._telemetry is None:
            return wrapped
        return observed_stream(wrapped, self._telemetry.method(method))


# The transport takes a little more than a method does, so that it is us who say
# what is too large.
TRANSPORT_BYTES = 2 * MANY_BYTES
_OF_ONE_REQUEST = frozenset(
    f"/placet.v1.EvaluateService/{name}"
    for name in ("Evaluate", "EvaluateStream", "Explain", "Search")
)


def max_bytes(method: str) -> int:
    """Return how large a method's messages may be."""
    return ONE_REQUEST_BYTES if method in _OF_ONE_REQUEST else MANY_BYTES


def _tolerant(deserialize: Callable[[bytes], Any] | None, max_bytes: int) -> Callable[[bytes], Any]:
    """Let unreadable bytes through to the handler, which can say what is wrong with them.

    gRPC would end the call with UNKNOWN or INTERNAL, as if it were the server's mistake.
    """

    def read(data: bytes) -> Any:
        try:
            check_size(data, max_bytes)
            # A method without one takes the bytes.
            return deserialize(data) if deserialize else data
        except MessageTooLarge as error:
            return _Unreadable(error)
        except DecodeError as error:
            return _Unreadable(BadMessage(str(error)))

    return read


def _readable(request: Any) -> Any:
    if isinstance(request, _Unreadable):
        raise request.error
    return request


async def _readable_stream(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _readable(request)


def _unary(handle: Callable[[Any, _Context], Awaitable[Any]]) -> _Handler:
    async def call(request: Any, context: _Context) -> Any:
        try:
            # No work for a caller who has given up already.
            time_left_s(context)
            return await handle(_readable(request), context)
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception as error:  # noqa: BLE001  # the edge: nothing may pass unmapped
            await context.abort_with_status(to_status(error))

    return call


def _streaming(
    handle: Callable[[Any, _Context], AsyncGenerator[Any]],
    readable: Callable[[Any], Any],
    write_timeout_s: float,
) -> _Handler:
    """Write what the handler yields, and give up on a reader who takes nothing."""

    async def call(request: Any, context: _Context) -> None:
        try:
            async with aclosing(handle(readable(request), context)) as responses:
                async for response in responses:
                    await _write(context, response, write_timeout_s)
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception as error:  # noqa: BLE001  # the edge: nothing may pass unmapped
            await context.abort_with_status(to_status(error))

    return call


async def _write(context: _Context, response: Any, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await context.write(response)
    except TimeoutError:
        raise SlowReader(timeout_s) from None
