"""Evaluate, EvaluateBatch and EvaluateStream as an ASGI application.

Its server has seen to it that only these come here: POSTs of gRPC to these methods, without
compression. Everything else is for the gRPC server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Protocol

import grpc

from placet_server.admission.control import AdmissionControl, Refusal
from placet_server.api.deadlines import LONGEST_WAIT_S
from placet_server.api.evaluate_stream import AtOnce
from placet_server.api.failures import to_status
from placet_server.api.identity import (
    AUTHORIZATION,
    FORWARDED_CERTIFICATE,
    check_any,
    credentials_in,
)
from placet_server.api.interceptor import max_bytes
from placet_server.api.rpcs import RPCS
from placet_server.errors import DeadlinePassed, Draining
from placet_server.front.calls import Receive, Scope, Send, next_part, while_called
from placet_server.front.frames import (
    PREFIX_BYTES,
    FrameRefused,
    Headers,
    check_length,
    frame,
    status_headers,
    timeout_s,
    unframe,
)
from placet_server.front.methods import EVALUATE_BATCH, EVALUATE_STREAM
from placet_server.front.streams import StreamCall, StreamEvaluator
from placet_server.identity.callers import Caller, Callers
from placet_server.telemetry.rpc import RpcCall, RpcTelemetry

# How long the rest of a body may take to come when its caller set no deadline.
_BODY_S = 30.0
# For how long a stream's caller may read nothing, unless it is said.
_WRITE_S = 60.0

_HEADERS: Headers = [(b"content-type", b"application/grpc")]
_OK: Headers = [(b"grpc-status", b"0")]
_PROOFS = frozenset({AUTHORIZATION.encode(), FORWARDED_CERTIFICATE.encode()})


class Evaluator(Protocol):
    """The hot path: bytes of a request in, bytes of the answer out.

    Of a caller that is given it is made sure that it may ask; nobody is given where all may.
    """

    def recall(self, data: bytes, caller: Caller | None = None) -> bytes | None:
        """Answer what was asked before."""
        ...

    def try_evaluate(
        self, several: Sequence[tuple[bytes, Caller | None]]
    ) -> list[bytes | Exception | None]:
        """Answer what can be answered at once."""
        ...

    async def evaluate(
        self, data: bytes, time_left_s: float, caller: Caller | None = None
    ) -> bytes:
        """Decide one request."""
        ...

    async def evaluate_batch(
        self, data: bytes, time_left_s: float, caller: Caller | None = None
    ) -> bytes:
        """Decide many."""
        ...

    def evaluate_streamed_at_once(
        self, several: Sequence[bytes], caller: Caller | None = None
    ) -> AtOnce:
        """Answer the first messages of a stream; none if the first of them takes waiting."""
        ...

    async def evaluate_streamed(
        self, data: bytes, time_left_s: float, caller: Caller | None = None
    ) -> bytes:
        """Answer one message of a stream."""
        ...


class EvaluateApp:
    """Reads a frame, asks the evaluator, writes a frame or what went wrong."""

    def __init__(
        self,
        evaluator: Evaluator,
        admission: AdmissionControl,
        telemetry: RpcTelemetry | None = None,
        *,
        callers: Callers | None = None,
        write_timeout_s: float = _WRITE_S,
    ) -> None:
        self._evaluator = evaluator
        self._callers = callers
        self._together = _Together(evaluator)
        self._admission = admission
        self._telemetry = telemetry
        self._write_timeout_s = write_timeout_s
        self._streams: set[StreamCall] = set()
        self._under_way = 0
        self._is_draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        self._under_way += 1
        self._idle.clear()
        try:
            streaming = scope["path"] == EVALUATE_STREAM
            if streaming:
                # At once: there are callers who send nothing before they have seen it.
                await send({"type": "http.response.start", "status": 200, **_START})
            answer, trailers = await self._observed(scope, receive, send)
            if not streaming:
                await send({"type": "http.response.start", "status": 200, **_START})
            await send({"type": "http.response.body", "body": answer})
            await send({"type": "http.response.trailers", "headers": trailers})
        except OSError:
            # The caller has gone; ASGI has servers say so in this way.
            return
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def _observed(self, scope: Scope, receive: Receive, send: Send) -> tuple[bytes, Headers]:
        """Return what ends a call, and measure it."""
        if self._telemetry is None:
            answer, trailers, _ = await self._ended(scope, receive, send, None)
            return answer, trailers
        call = self._telemetry.method(scope["path"]).call()
        with call.span(_metadata(scope)) if call.is_traced else nullcontext():
            code = grpc.StatusCode.CANCELLED
            try:
                answer, trailers, code = await self._ended(scope, receive, send, call)
                return answer, trailers
            finally:
                call.ended(code.name, code.value[0])

    async def _ended(
        self, scope: Scope, receive: Receive, send: Send, call: RpcCall | None
    ) -> tuple[bytes, Headers, grpc.StatusCode]:
        """Return the framed answer of a call, and how the call ended."""
        try:
            if scope["path"] == EVALUATE_STREAM:
                await self._stream(scope, receive, send, call)
                return b"", _OK, grpc.StatusCode.OK
            data = await self._answer(scope, receive, call)
        except ConnectionResetError:
            raise
        except Exception as error:  # noqa: BLE001  # the edge: nothing may pass unmapped
            code, trailers = _failure(error)
            return b"", trailers, code
        if call is not None:
            call.sent = len(data)
        return frame(data), _OK, grpc.StatusCode.OK

    def _arrived(self) -> None:
        """Count a call that has come, and refuse it if there is no room.

        Calls wait in the event loop's own line here, so that it is enough to see now and then how
        long that is: what is put at its end runs when all have run that are there now.

        Raises:
            Overloaded: there is no room.
        """
        arrival = self._admission.try_arrive()
        if self._admission.backlog.probe_is_due:
            self._admission.probe_sent()
            asyncio.get_running_loop().call_soon(self._admission.probe_arrived)
        if isinstance(arrival, Refusal):
            raise self._admission.error(arrival)

    async def drain(self, timeout_s: float) -> None:
        """Take no more calls; return when those under way are done, or out of time."""
        self._is_draining = True
        for stream in self._streams:
            stream.end(Draining())
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return

    def _taken(self, scope: Scope) -> float | None:
        """Take a call or refuse it; return how long its caller gave it, in seconds.

        Raises:
            PlacetError: it is refused.
        """
        if self._is_draining:
            raise Draining
        self._arrived()
        given_s = timeout_s(scope["headers"])
        if given_s is not None and given_s <= 0:
            raise DeadlinePassed
        return given_s

    async def _stream(
        self, scope: Scope, receive: Receive, send: Send, call: RpcCall | None
    ) -> None:
        """Serve a stream until its caller has sent all, or something ends it."""
        given_s = self._taken(scope)
        evaluator: StreamEvaluator = self._evaluator
        if self._callers is not None:
            caller = await _identified(self._callers, scope)
            evaluator = _OfCaller(self._evaluator, self._callers, caller)
        stream = StreamCall(
            evaluator,
            receive,
            send,
            given_s=given_s,
            write_timeout_s=self._write_timeout_s,
            observed=call,
        )
        self._streams.add(stream)
        try:
            await stream.serve()
        finally:
            self._streams.discard(stream)
            stream.close()

    async def _answer(self, scope: Scope, receive: Receive, call: RpcCall | None) -> bytes:
        given_s = self._taken(scope)
        caller = None if self._callers is None else await _identified(self._callers, scope)
        method = scope["path"]
        body, is_whole = await next_part(receive)
        if not is_whole:
            body = await _rest(body, receive, max_bytes(method), given_s or _BODY_S)
        check_length(body, max_bytes(method))
        data = unframe(body)
        if call is not None:
            call.received = len(data)
        left_s = LONGEST_WAIT_S if given_s is None else given_s
        if method == EVALUATE_BATCH:
            return await while_called(self._evaluator.evaluate_batch(data, left_s, caller), receive)
        answer = self._evaluator.recall(data, caller)
        # A span is told of the decision by whoever decides in it.
        if answer is None and not (call and call.is_traced):
            answer = await self._together.evaluate(data, caller)
        if answer is not None:
            return answer
        return await while_called(self._evaluator.evaluate(data, left_s, caller), receive)


class _Together:
    """Decides together what comes in one turn of the event loop.

    That costs less than one by one. Above all it keeps answers back until all of a turn are
    there: each wakes Envoy's thread, which on one core stops ours in the middle of its work.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._waiting: list[tuple[tuple[bytes, Caller | None], asyncio.Future[bytes | None]]] = []

    async def evaluate(self, data: bytes, caller: Caller | None) -> bytes | None:
        """Decide a request; None if that takes waiting."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes | None] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._decide)
        self._waiting.append(((data, caller), answer))
        return await answer

    def _decide(self) -> None:
        now, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._decide)
        answers = self._evaluator.try_evaluate([asked for asked, _ in now])
        for (_, waiting), answer in zip(now, answers, strict=True):
            if waiting.done():
                continue
            if isinstance(answer, Exception):
                waiting.set_exception(answer)
            else:
                waiting.set_result(answer)


class _OfCaller:
    """Answers messages of a stream for somebody who is known."""

    def __init__(self, evaluator: Evaluator, callers: Callers, caller: Caller) -> None:
        self._evaluator = evaluator
        self._callers = callers
        self._caller = caller

    def evaluate_streamed_at_once(self, several: Sequence[bytes]) -> AtOnce:
        """Answer the first messages; none if the first of them takes waiting."""
        self._callers.check_still(self._caller)
        return self._evaluator.evaluate_streamed_at_once(several, self._caller)

    async def evaluate_streamed(self, data: bytes, time_left_s: float) -> bytes:
        """Answer one message."""
        self._callers.check_still(self._caller)
        return await self._evaluator.evaluate_streamed(data, time_left_s, self._caller)


# So many decisions take a few milliseconds, and others should get a turn.
_AT_ONCE = 64

_START: dict[str, Any] = {"headers": _HEADERS, "trailers": True}


async def _rest(start: bytes, receive: Receive, max_size: int, within_s: float) -> bytes:
    """Collect a body that comes in several parts.

    Raises:
        DeadlinePassed: it took too long.
        FrameRefused, MessageTooLarge: it is not one message of at most ``max_size`` bytes.
    """
    body = bytearray(start)
    try:
        async with asyncio.timeout(within_s):
            is_whole = False
            while not is_whole:
                check_length(body, max_size)
                if len(body) > max_size + PREFIX_BYTES:
                    break
                part, is_whole = await next_part(receive)
                body += part
    except TimeoutError:
        raise DeadlinePassed from None
    return bytes(body)


async def _identified(callers: Callers, scope: Scope) -> Caller:
    """Return who calls.

    Raises:
        CredentialsRefused: nobody who can prove it.
        NotAllowed: somebody who may ask for no decisions at all.
    """
    shown = [(n.decode(), v.decode("latin-1")) for n, v in scope["headers"] if n in _PROOFS]
    caller = await callers.identify(*credentials_in(shown, is_behind_envoy=True))
    check_any(caller, RPCS[scope["path"]])
    return caller


def _metadata(scope: Scope) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]


def _failure(error: Exception) -> tuple[grpc.StatusCode, Headers]:
    if isinstance(error, FrameRefused):
        return error.code, status_headers(error.code, str(error))
    status = to_status(error)
    trailers = status_headers(status.code, status.details, status.trailing_metadata or ())
    return status.code, trailers
