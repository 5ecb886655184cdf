"""A real gRPC server on this machine whose part a test writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from placet.v1 import (
    decision_pb2,
    evaluate_service_pb2,
    evaluate_service_pb2_grpc,
    subscribe_service_pb2,
    subscribe_service_pb2_grpc,
)

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Script: TypeAlias = Callable[
    [subscribe_service_pb2.SubscribeRequest, Context],
    AsyncIterator[subscribe_service_pb2.SubscribeResponse],
]
"""One stream: an async generator of what the server sends, from its start to its end."""


class ScriptedServer(
    evaluate_service_pb2_grpc.EvaluateServiceServicer,
    subscribe_service_pb2_grpc.SubscribeServiceServicer,
):
    """Plays its scripts, one a stream, in order; afterwards streams say nothing."""

    def __init__(self) -> None:
        self.address = ""
        self.scripts: list[Script] = []
        self.streams: list[subscribe_service_pb2.SubscribeRequest] = []
        """The requests of the streams there were."""
        self.evaluate: Callable[[evaluate_service_pb2.EvaluateRequest, Context], Any] = _allow
        self.answer_stream: Callable[..., AsyncIterator[Any]] | None = None
        self.calls = 0
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen, at the port of before if there was one."""
        self._server = grpc.aio.server()
        self.add_to(self._server)
        port = self._server.add_insecure_port(self.address or "127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Add what it serves to a server."""
        evaluate_service_pb2_grpc.add_EvaluateServiceServicer_to_server(self, server)
        subscribe_service_pb2_grpc.add_SubscribeServiceServicer_to_server(self, server)

    async def kill(self) -> None:
        """Drop every connection and stop listening."""
        assert self._server is not None
        await self._server.stop(None)

    async def Evaluate(
        self, request: evaluate_service_pb2.EvaluateRequest, context: Context
    ) -> evaluate_service_pb2.EvaluateResponse:
        self.calls += 1
        answer = self.evaluate(request, context)
        if asyncio.iscoroutine(answer):
            answer = await answer
        return evaluate_service_pb2.EvaluateResponse(decision=answer)

    async def EvaluateStream(
        self,
        request_iterator: AsyncIterator[evaluate_service_pb2.EvaluateStreamRequest],
        context: Context,
    ) -> AsyncIterator[evaluate_service_pb2.EvaluateStreamResponse]:
        assert self.answer_stream is not None
        async for response in self.answer_stream(request_iterator, context):
            yield response

    async def EvaluateBatch(self, request: Any, context: Context) -> Any:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED)

    Explain = Search = EvaluateBatch

    async def Subscribe(
        self, request: subscribe_service_pb2.SubscribeRequest, context: Context
    ) -> AsyncIterator[subscribe_service_pb2.SubscribeResponse]:
        self.streams.append(request)
        place = len(self.streams) - 1
        if place >= len(self.scripts):
            await asyncio.Event().wait()
        async for message in self.scripts[place](request, context):
            yield message


@asynccontextmanager
async def scripted_server(*scripts: Script) -> AsyncIterator[ScriptedServer]:
    """Run a server that plays scripts, for the length of the block."""
    server = ScriptedServer()
    server.scripts.extend(scripts)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()


def say(
    *messages: subscribe_service_pb2.SubscribeResponse,
    then: Callable[[Context], Any] | None = None,
) -> Script:
    """Write a script that sends messages and then does as told: hangs, ends or fails."""

    async def script(
        request: subscribe_service_pb2.SubscribeRequest, context: Context
    ) -> AsyncIterator[subscribe_service_pb2.SubscribeResponse]:
        for message in messages:
            yield message
        await (then or hang)(context)

    return script


async def hang(context: Context) -> None:
    """Say nothing more, for ever."""
    await asyncio.Event().wait()


async def end(context: Context) -> None:
    """End the stream as if all were well."""


def fail(code: grpc.StatusCode, message: str = "", *details: Message) -> Callable[[Context], Any]:
    """End with a status."""

    async def abort(context: Context) -> None:
        await context.abort_with_status(status(code, message, *details))

    return abort


def status(code: grpc.StatusCode, message: str, *details: Message) -> grpc.Status:
    """Return a status with details."""
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    number: int = code.value[0]
    return rpc_status.to_status(status_pb2.Status(code=number, message=message, details=packed))


def info(reason: str, *, domain: str = "placet.dev", **metadata: str) -> Message:
    """Return the detail that names a reason."""
    detail: Message = error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata)
    return detail


def _allow(
    request: evaluate_service_pb2.EvaluateRequest, context: Context
) -> decision_pb2.Decision:
    return decision_pb2.Decision(outcome=decision_pb2.OUTCOME_ALLOW, decision_id="scripted")
