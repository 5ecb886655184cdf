"""Measures calls: what goes in and out of a handler, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from placet_server.telemetry.rpc import RpcCall, RpcMethod

_Handler = Any
_Context = grpc.aio.ServicerContext[Any, Any]

_NAMES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}
_OK: int = grpc.StatusCode.OK.value[0]
_UNKNOWN: int = grpc.StatusCode.UNKNOWN.value[0]
_CANCELLED: int = grpc.StatusCode.CANCELLED.value[0]


def observed_stream(handler: _Handler, method: RpcMethod) -> _Handler:
    """Return a handler that does the same and measures; good for one call."""
    call = method.call()
    read, write = handler.request_deserializer, handler.response_serializer

    def counted_read(data: bytes) -> Any:
        call.received += len(data)
        return read(data)

    def counted_write(response: Any) -> bytes:
        data: bytes = write(response) if write else response
        call.sent += len(data)
        return data

    async def streamed(request: Any, context: _Context) -> None:
        await _measured(call, handler.stream_stream or handler.unary_stream, request, context)

    make = (
        grpc.stream_stream_rpc_method_handler
        if handler.request_streaming
        else grpc.unary_stream_rpc_method_handler
    )
    return make(streamed, counted_read, counted_write)


def observed_unary(handler: _Handler, method: RpcMethod) -> _Handler:
    """Return a handler that does the same and measures; good for every call of the method."""
    read, write, handle = (
        handler.request_deserializer,
        handler.response_serializer,
        handler.unary_unary,
    )

    def begin(data: bytes) -> tuple[RpcCall, Any]:
        call = method.call()
        call.received = len(data)
        return call, read(data)

    async def unary(begun: tuple[RpcCall, Any], context: _Context) -> bytes:
        # The same as `_counted`, in one coroutine: this is the answer path.
        call, request = begun
        code = _UNKNOWN
        try:
            # Written here and not in gRPC's hands, so that size and time of it count.
            response = await handle(request, context)
            # A method without a serializer answers with bytes.
            data: bytes = write(response) if write else response
            call.sent = len(data)
            code = _OK
            return data
        except BaseException as error:
            code = _code_of(error, context)
            raise
        finally:
            call.ended(_NAMES[code], code)

    async def traced(begun: tuple[RpcCall, Any], context: _Context) -> bytes:
        with begun[0].span(context.invocation_metadata() or ()):
            return await unary(begun, context)

    return grpc.unary_unary_rpc_method_handler(traced if method.tracer else unary, begin, None)


async def _measured(
    call: RpcCall,
    handle: Callable[[Any, _Context], Awaitable[None]],
    request: Any,
    context: _Context,
) -> None:
    if not call.is_traced:
        return await _counted(call, handle, request, context)
    with call.span(context.invocation_metadata() or ()):
        return await _counted(call, handle, request, context)


async def _counted(
    call: RpcCall,
    handle: Callable[[Any, _Context], Awaitable[None]],
    request: Any,
    context: _Context,
) -> None:
    code = _UNKNOWN
    try:
        await handle(request, context)
        code = _OK
    except BaseException as error:
        code = _code_of(error, context)
        raise
    finally:
        call.ended(_NAMES[code], code)


def _code_of(error: BaseException, context: _Context) -> int:
    """Return the number of the status of a call that ended so."""
    if isinstance(error, asyncio.CancelledError):
        return _CANCELLED
    if not isinstance(error, grpc.aio.AbortError):
        return _UNKNOWN
    code: Any = context.code()
    number = code.value[0] if isinstance(code, grpc.StatusCode) else code
    return number if number in _NAMES else _UNKNOWN
