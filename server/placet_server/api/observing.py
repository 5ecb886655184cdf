"""Measures one call: what goes in and out of a handler, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from placet_server.telemetry.rpc import RpcCall

_Handler = Any
_Context = grpc.aio.ServicerContext[Any, Any]

_NAMES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}
_OK: int = grpc.StatusCode.OK.value[0]
_UNKNOWN: int = grpc.StatusCode.UNKNOWN.value[0]
_CANCELLED: int = grpc.StatusCode.CANCELLED.value[0]


def observed(handler: _Handler, call: RpcCall) -> _Handler:
    """Return a handler that does the same and reports to ``call``; good for this one call."""
    read, write = handler.request_deserializer, handler.response_serializer

    def measured_read(data: bytes) -> Any:
        call.received += len(data)
        return read(data)

    def measured_write(response: Any) -> bytes:
        data: bytes = write(response)
        call.sent += len(data)
        return data

    if handler.request_streaming:
        return grpc.stream_stream_rpc_method_handler(
            _measured(handler.stream_stream, call), measured_read, measured_write
        )
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(
            _measured(handler.unary_stream, call), measured_read, measured_write
        )

    async def written(request: Any, context: _Context) -> bytes:
        # Here and not in gRPC's hands, so that size and time of it count.
        return measured_write(await handler.unary_unary(request, context))

    return grpc.unary_unary_rpc_method_handler(_measured(written, call), measured_read, None)


def _measured(
    handle: Callable[[Any, _Context], Awaitable[Any]], call: RpcCall
) -> Callable[[Any, _Context], Awaitable[Any]]:
    async def measured(request: Any, context: _Context) -> Any:
        code = _UNKNOWN
        try:
            answer = await handle(request, context)
            code = _OK
            return answer
        except asyncio.CancelledError:
            code = _CANCELLED
            raise
        except grpc.aio.AbortError:
            code = _number(context.code())
            raise
        finally:
            call.ended(_NAMES[code], code)

    if not call.is_traced:
        return measured

    async def traced(request: Any, context: _Context) -> Any:
        with call.span():
            return await measured(request, context)

    return traced


def _number(code: Any) -> int:
    number = code.value[0] if isinstance(code, grpc.StatusCode) else code
    return number if number in _NAMES else _UNKNOWN
