"""Where admission control meets gRPC: what is refused here costs half of what a decision does.

A call is looked at when the transport hands it over, before its message is
read, and again when it is known whose it is. Health, reflection and channelz
pass; calls about policies have a limit of their own; a message of a stream
that is refused is an error in its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import lru_cache
from typing import Any

import grpc
from google.protobuf.message import Message

from placet.v1 import evaluate_service_pb2 as evaluate_pb2
from placet_server import errors
from placet_server.admission.control import AdmissionControl, Arrival, Reason, Refusal
from placet_server.api.failures import to_decision_error, to_status
from placet_server.api.interceptor import write
from placet_server.api.paging import DEFAULT_PAGE_SIZE
from placet_server.api.probe import Prober

# Handlers and messages of every method pass here, whatever their types.
_Handler = Any
_Context = grpc.aio.ServicerContext[Any, Any]

TENANT_KEY = "placet-tenant"
"""Metadata by which a caller may say whose call it is, so that it need not be read to be refused.

It is believed only for that: what counts against a tenant is in the message.
"""

_DECIDING = "/placet.v1.EvaluateService/"
_MANAGING = "/placet.v1.PolicyService/"

# By method: the request that names the tenant, and how many decisions are asked for.
_ASKED: dict[str, tuple[Callable[[Any], Any], Callable[[Any], int]]] = {
    f"{_DECIDING}Evaluate": (lambda request: request, lambda request: 1),
    f"{_DECIDING}EvaluateBatch": (lambda request: request, lambda request: len(request.items)),
    f"{_DECIDING}Explain": (lambda request: request.request, lambda request: 1),
    f"{_DECIDING}Search": (
        lambda request: request.request,
        lambda request: max(request.page_size, 0) or DEFAULT_PAGE_SIZE,
    ),
}
# A stream that was refused something is not read again for its delay, up to this long.
_LONGEST_HOLD_S = 0.1


class AdmissionInterceptor(grpc.aio.ServerInterceptor):
    """Refuses what there is no room for. Stands before all other interceptors."""

    def __init__(
        self, control: AdmissionControl, prober: Prober, *, write_timeout_s: float
    ) -> None:
        self._control = control
        self._prober = prober
        self._write_timeout_s = write_timeout_s

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        """Refuse the call, or wrap its handler."""
        method = handler_call_details.method
        if method == self._prober.method:
            self._prober.arrived()
            return _PROBED
        if not method.startswith(_DECIDING):
            self._control.backlog.accepted()
            handler = await continuation(handler_call_details)
            return self._managed(handler) if method.startswith(_MANAGING) else handler
        # Who calls is of no interest as long as there is room for everybody.
        named = _named_tenant(handler_call_details) if self._control.is_shedding else None
        arrival = self._control.try_arrive(named)
        self._prober.send_if_due()
        if isinstance(arrival, Refusal):
            return _refusing(arrival, self._control.limits.tenant_decisions_per_second)
        handler = await continuation(handler_call_details)
        if method in _ASKED:
            return self._decided(handler, arrival, *_ASKED[method])
        return self._streamed(handler) if handler is not None else None

    def _managed(self, handler: _Handler) -> _Handler:
        if handler is None:
            return None

        async def call(request: Any, context: _Context) -> Any:
            refusal = self._control.try_manage()
            if refusal is not None:
                return self._end(context, refusal)
            try:
                return await handler.unary_unary(request, context)
            finally:
                self._control.release_managing()

        return _unary(handler, call)

    def _decided(
        self,
        handler: _Handler,
        arrival: Arrival,
        asking: Callable[[Any], Any],
        cost: Callable[[Any], int],
    ) -> _Handler:
        async def call(request: Any, context: _Context) -> Any:
            # Neither what cannot be read nor what is too late is worth a decision: the next
            # interceptor says so.
            if not isinstance(request, Message):
                return await handler.unary_unary(request, context)
            if context.time_remaining() == 0:
                self._control.expired()
                return await handler.unary_unary(request, context)
            refusal = self._control.try_admit(asking(request).tenant, cost(request), arrival)
            if refusal is not None:
                return self._end(context, refusal)
            try:
                return await handler.unary_unary(request, context)
            finally:
                self._control.release()

        return _unary(handler, call)

    def _streamed(self, handler: _Handler) -> _Handler:
        async def call(requests: AsyncIterator[Any], context: _Context) -> None:
            await handler.stream_stream(self._admitted(requests, context), context)

        return grpc.stream_stream_rpc_method_handler(
            call, handler.request_deserializer, handler.response_serializer
        )

    async def _admitted(
        self, requests: AsyncIterator[Any], context: _Context
    ) -> AsyncIterator[Any]:
        """Yield the messages that are taken; answer the others, and read on only later."""
        async for message in requests:
            if not isinstance(message, evaluate_pb2.EvaluateStreamRequest):
                yield message
                continue
            refusal = self._control.try_admit(message.request.tenant)
            if refusal is None:
                try:
                    yield message
                finally:
                    self._control.release()
                continue
            error = _error(refusal, self._control.limits.tenant_decisions_per_second)
            response = evaluate_pb2.EvaluateStreamResponse(
                correlation_id=message.correlation_id, error=to_decision_error(error)
            )
            await write(context, response, self._write_timeout_s)
            await asyncio.sleep(min(refusal.retry_after_s, _LONGEST_HOLD_S))

    def _end(self, context: _Context, refusal: Refusal) -> None:
        _end(context, _status(refusal, self._control.limits.tenant_decisions_per_second))


def _named_tenant(details: grpc.HandlerCallDetails) -> str | None:
    for key, value in details.invocation_metadata or ():
        if key == TENANT_KEY:
            return str(value)
    return None


def _unary(handler: _Handler, call: Callable[[Any, _Context], Awaitable[Any]]) -> _Handler:
    return grpc.unary_unary_rpc_method_handler(
        call, handler.request_deserializer, handler.response_serializer
    )


def _error(refusal: Refusal, decisions_per_second: float) -> errors.PlacetError:
    if refusal.reason is Reason.TENANT_LIMIT:
        return errors.TenantLimited(refusal.tenant, decisions_per_second, refusal.retry_after_s)
    return errors.Overloaded(refusal.retry_after_s)


@lru_cache(maxsize=512)
def _status(refusal: Refusal, decisions_per_second: float) -> grpc.Status:
    return to_status(_error(refusal, decisions_per_second))


@lru_cache(maxsize=512)
def _refusing(refusal: Refusal, decisions_per_second: float) -> _Handler:
    """Return a handler that refuses.

    It is one for streams, whatever the method's kind: gRPC reads no message before it calls it,
    which is a quarter of what a refusal costs.
    """
    status = _status(refusal, decisions_per_second)

    async def call(requests: AsyncIterator[Any], context: _Context) -> None:
        _end(context, status)

    return grpc.stream_stream_rpc_method_handler(call)


def _end(context: _Context, status: grpc.Status) -> None:
    """End a call without an exception, which is cheaper than aborting it."""
    context.set_code(status.code)
    context.set_details(status.details or "")
    context.set_trailing_metadata(status.trailing_metadata or ())


async def _probed(requests: AsyncIterator[Any], context: _Context) -> None:
    context.set_code(grpc.StatusCode.ABORTED)


_PROBED: _Handler = grpc.stream_stream_rpc_method_handler(_probed)
