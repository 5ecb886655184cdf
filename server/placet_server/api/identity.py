"""Where callers' identity meets gRPC: who calls, and whether they may, before anything is done.

With identity, every call of the table of rpcs passes here, which says what it needs. The
hot methods come as bytes, and are looked at once it is known whose they are, by the service.
Health is for everybody; reflection for whoever is known; channelz, which shows who is connected,
for those who operate the platform.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import grpc

from placet_engine.items import PLATFORM
from placet_server.api.failures import to_status
from placet_server.api.rpcs import RPCS, Rpc, Unnamed
from placet_server.identity.access import Patterns, Reach
from placet_server.identity.callers import Caller, Callers
from placet_server.identity.permissions import Permission
from placet_server.identity.refusals import CredentialsRefused, Refusal

# Handlers and messages of every method pass here, whatever their types.
_Handler = Any
_Context = grpc.aio.ServicerContext[Any, Any]

AUTHORIZATION = "authorization"
FORWARDED_CERTIFICATE = "x-forwarded-client-cert"
"""Metadata in which Envoy says what certificate its caller showed. It removes what callers send of
that name, and whoever is not behind it must not read it."""

_CERTIFICATE = re.compile(r'(?:^|;)Cert="([^"]*)"')
_HEALTH = "/grpc.health.v1.Health/"
_CHANNELZ = "/grpc.channelz."
_OPERATING = frozenset({Permission.OPERATE})
_READING = frozenset({Permission.READ})
_BEING_A_NODE = frozenset({Permission.NODE})


class _Call(NamedTuple):
    callers: Callers
    caller: Caller
    reach: Reach


_CALL: ContextVar[_Call | None] = ContextVar("placet_call", default=None)


_EVERYBODY = Reach(Patterns.of(["*"]), platform=True)


def current_caller() -> Caller | None:
    """Return who makes the call that this task answers; None where everybody is believed."""
    call = _CALL.get()
    return call.caller if call is not None else None


def visible() -> Reach:
    """Return the tenants, and the platform, that the call this task answers may be told of."""
    call = _CALL.get()
    return call.reach if call is not None else _EVERYBODY


def check_still() -> None:
    """See that whoever makes the call that this task answers is who they were, and may no less.

    For streams that may be silent for long; the others are looked after by the interceptor.

    Raises:
        CallerChanged: they are not, or may not.
    """
    call = _CALL.get()
    if call is not None:
        call.callers.check_still(call.caller)


def sees_nodes() -> bool:
    """Whether the call this task answers may be told which nodes there are."""
    call = _CALL.get()
    if call is None:
        return True
    return bool(call.caller.reach(_BEING_A_NODE)) or PLATFORM in call.caller.reach(_READING)


def credentials_in(
    metadata: Iterable[tuple[str, str | bytes]], *, is_behind_envoy: bool
) -> tuple[bytes | None, str | None]:
    """Return the certificate that Envoy tells of, and what `authorization` has.

    Raises:
        CredentialsRefused: there is more than one, or what is there cannot be read.
    """
    certificate: bytes | None = None
    authorization: str | None = None
    for key, value in metadata:
        if key == AUTHORIZATION:
            if authorization is not None or not isinstance(value, str):
                raise CredentialsRefused(Refusal.TOKEN_MALFORMED, "several tokens")
            authorization = value
        elif is_behind_envoy and key == FORWARDED_CERTIFICATE:
            if certificate is not None:
                raise CredentialsRefused(Refusal.CERTIFICATE_UNNAMED, "several certificates")
            certificate = forwarded_certificate(str(value))
    return certificate, authorization


@lru_cache(maxsize=4096)
def forwarded_certificate(header: str) -> bytes:
    """Return the certificate, in PEM, of a header that Envoy wrote.

    Raises:
        CredentialsRefused: there is none in it.
    """
    found = _CERTIFICATE.findall(header)
    if len(found) != 1:
        raise CredentialsRefused(Refusal.CERTIFICATE_UNNAMED, "a header without its certificate")
    return unquote_to_bytes(found[0])


class IdentityInterceptor(grpc.aio.ServerInterceptor):
    """Lets calls pass of those who may make them. Stands where exceptions are put into words.

    Args:
        callers: knows callers.
        is_behind_envoy: whether all calls come from an Envoy that says who its callers are.
    """

    def __init__(self, callers: Callers, *, is_behind_envoy: bool) -> None:
        self._callers = callers
        self._is_behind_envoy = is_behind_envoy

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        """Wrap the method's handler."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(_HEALTH):
            return handler
        rpc = RPCS.get(method)
        if rpc is None:
            return self._known_only(handler, method)
        if handler.response_streaming:
            return self._stream(handler, rpc)
        return self._unary(handler, rpc)

    def _admit(self, caller: Caller, rpc: Rpc, request: Any) -> None:
        """Let a call pass, and have it known whose it is.

        Raises:
            NotAllowed: its caller may not make it.
        """
        if isinstance(request, bytes) or not hasattr(request, "DESCRIPTOR"):
            # The tenant is in there, and the service looks before it does anything.
            reach = check_any(caller, rpc)
        else:
            reach = admitted(caller, rpc, request)
        _CALL.set(_Call(self._callers, caller, reach))

    async def _caller(self, context: _Context) -> Caller:
        certificate, authorization = credentials_in(
            context.invocation_metadata() or (), is_behind_envoy=self._is_behind_envoy
        )
        if not self._is_behind_envoy:
            shown = context.auth_context().get("x509_pem_cert")
            certificate = next(iter(shown)) if shown else None
        return await self._callers.identify(certificate, authorization)

    def _unary(self, handler: _Handler, rpc: Rpc) -> _Handler:
        async def call(request: Any, context: _Context) -> Any:
            self._admit(await self._caller(context), rpc, request)
            return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            call, handler.request_deserializer, handler.response_serializer
        )

    def _stream(self, handler: _Handler, rpc: Rpc) -> _Handler:
        handle = handler.stream_stream or handler.unary_stream
        make = (
            grpc.stream_stream_rpc_method_handler
            if handler.request_streaming
            else grpc.unary_stream_rpc_method_handler
        )

        async def call(request: Any, context: _Context) -> AsyncGenerator[Any]:
            caller = await self._caller(context)
            self._admit(caller, rpc, request)
            async with aclosing(handle(request, context)) as responses:
                async for response in responses:
                    # No stream is silent for long, so that none outlives what it rests on.
                    self._callers.check_still(caller)
                    yield response

        return make(call, handler.request_deserializer, handler.response_serializer)

    def _known_only(self, handler: _Handler, method: str) -> _Handler:
        """Wrap what is not of ours, and maps no exceptions of ours."""

        async def check(context: _Context) -> None:
            try:
                caller = await self._caller(context)
                if method.startswith(_CHANNELZ):
                    caller.authorise(_OPERATING, PLATFORM)
            except Exception as error:  # noqa: BLE001  # the edge: nothing may pass unmapped
                await context.abort_with_status(to_status(error))

        async def unary(request: Any, context: _Context) -> Any:
            await check(context)
            return await handler.unary_unary(request, context)

        async def stream(requests: AsyncIterator[Any], context: _Context) -> AsyncIterator[Any]:
            await check(context)
            async for response in handler.stream_stream(requests, context):
                yield response

        read, write = handler.request_deserializer, handler.response_serializer
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(stream, read, write)
        return grpc.unary_unary_rpc_method_handler(unary, read, write)


def check_any(caller: Caller, rpc: Rpc) -> Reach:
    """See that somebody may make a call for any tenant at all; return for which.

    Raises:
        NotAllowed: for none.
    """
    reach = caller.reach(rpc.permissions)
    if not reach:
        raise caller.refused(rpc.permissions, None)
    return reach


def admitted(caller: Caller, rpc: Rpc, request: Any) -> Reach:
    """See that somebody may make a call; return whom it may be told of.

    Raises:
        NotAllowed: they may not.
    """
    tenant = rpc.tenant(request)
    needed = rpc.needed(tenant)
    region = rpc.region(request) if rpc.region_field else None
    reach = caller.reach(needed, region)
    if tenant or rpc.unnamed is Unnamed.PLATFORM:
        if tenant not in reach:
            raise caller.refused(needed, tenant)
    elif not reach:
        raise caller.refused(needed, None)
    return reach
