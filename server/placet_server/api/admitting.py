"""Where admission control meets gRPC: what is refused here costs half of what a decision does.

A call is looked at when the transport hands it over, before its message is
read; once it is known whose it is, the service looks again. Health,
reflection and channelz pass; calls about policies have a limit of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import lru_cache
from typing import Any

import grpc

from placet_server.admission.control import AdmissionControl, Refusal
from placet_server.api.failures import to_status
from placet_server.api.probe import Prober
from placet_server.telemetry.recorders import Metrics

# Handlers and messages of every method pass here, whatever their types.
_Handler = Any
_Context = grpc.aio.ServicerContext[Any, Any]

TENANT_KEY = "placet-tenant"
"""Metadata by which a caller may say whose call it is, so that it need not be read to be refused.

It is believed only for that: what counts against a tenant is in the message.
"""

_HOLD_S = 0.025
"""How long a refusal is kept back. Callers in a loop are slowed down by it, so that there is time
left for decisions; who goes elsewhere instead hardly notices."""

_DECIDING = "/placet.v1.EvaluateService/"
_MANAGING = "/placet.v1.PolicyService/"


class AdmissionInterceptor(grpc.aio.ServerInterceptor):
    """Refuses what there is no room for. Stands before all other interceptors."""

    def __init__(self, control: AdmissionControl, prober: Prober) -> None:
        self._control = control
        self._prober = prober

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
            return _refusing(self._control, arrival)
        handler = await continuation(handler_call_details)
        is_unary = handler is not None and not handler.request_streaming
        return self._deciding(handler) if is_unary else handler

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

    def _deciding(self, handler: _Handler) -> _Handler:
        async def call(request: Any, context: _Context) -> Any:
            if context.time_remaining() == 0:
                # Not worth a decision: the next interceptor says so.
                self._control.expired()
            return await handler.unary_unary(request, context)

        return _unary(handler, call)

    def _end(self, context: _Context, refusal: Refusal) -> None:
        _end(context, _status(self._control, refusal))


def observe_admission(metrics: Metrics, control: AdmissionControl) -> None:
    """Have the numbers of admission control read with the other metrics."""
    metrics.observe(
        "placet.admission.refused",
        "{call}",
        "Calls and messages that were not taken, by reason.",
        lambda: [
            (count, {"reason": reason.value})
            for reason, count in control.statistics().refused.items()
        ],
        monotonic=True,
    )
    metrics.observe(
        "placet.admission.admitted",
        "{call}",
        "Calls and messages that were taken.",
        lambda: control.statistics().admitted,
        monotonic=True,
    )
    metrics.observe(
        "placet.admission.wait",
        "s",
        "How long a call that arrives now waits before it is looked at.",
        lambda: control.statistics().wait_s,
    )


def _named_tenant(details: grpc.HandlerCallDetails) -> str | None:
    for key, value in details.invocation_metadata or ():
        if key == TENANT_KEY:
            return str(value)
    return None


def _unary(handler: _Handler, call: Callable[[Any, _Context], Awaitable[Any]]) -> _Handler:
    return grpc.unary_unary_rpc_method_handler(
        call, handler.request_deserializer, handler.response_serializer
    )


@lru_cache(maxsize=512)
def _status(control: AdmissionControl, refusal: Refusal) -> grpc.Status:
    return to_status(control.error(refusal))


@lru_cache(maxsize=512)
def _refusing(control: AdmissionControl, refusal: Refusal) -> _Handler:
    """Return a handler that refuses.

    It is one for streams, whatever the method's kind: gRPC reads no message before it calls it,
    which is a quarter of what a refusal costs.
    """
    status = _status(control, refusal)

    async def call(requests: AsyncIterator[Any], context: _Context) -> None:
        # Who is refused at once and asks again at once keeps the node busy with refusing.
        await asyncio.sleep(_HOLD_S)
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
