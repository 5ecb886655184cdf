"""Many requests over one call, answered as they are decided.

Each side has its own pace: requests are sent while answers are read, and the
answers wait in a bounded queue. The two functions below do the same, one with
threads and one with tasks; what they have to know is shared.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import grpc
import grpc.aio

from placet import _convert as convert
from placet._calls import CLOSED
from placet._decisions import Decision
from placet._errors import (
    DeadlineExceeded,
    DecisionError,
    Internal,
    InvalidRequest,
    PlacetError,
    Unavailable,
)
from placet._requests import Request, whole_request
from placet._status import from_rpc_error
from placet._values import text_to_wire
from placet.v1 import evaluate_service_pb2 as pb

Answer: TypeAlias = tuple[str, Decision | DecisionError]
Build: TypeAlias = Callable[[str, Request], pb.EvaluateStreamRequest]

# As many as the server works on at a time.
_MAX_WAITING_ANSWERS = 1024


class _Call(Protocol):
    """What gRPC returns for a stream, for which it has no public name."""

    def __iter__(self) -> Iterator[pb.EvaluateStreamResponse]: ...

    def cancel(self) -> bool: ...


def builder(tenant: str | None, *, min_revision: int) -> Build:
    """Return what makes messages of requests, for one tenant."""

    def build(correlation_id: str, request: Request) -> pb.EvaluateStreamRequest:
        return pb.EvaluateStreamRequest(
            correlation_id=text_to_wire(correlation_id, "correlation_id"),
            request=whole_request(tenant, request, min_revision=min_revision),
        )

    return build


def evaluate_in_threads(
    open_call: Callable[[Iterator[pb.EvaluateStreamRequest]], _Call],
    requests: Iterable[tuple[str, Request]],
    build: Build,
    *,
    timeout_s: float,
) -> Generator[Answer, None, None]:
    """Send requests and yield answers; gRPC's thread reads the iterable."""
    in_flight = _InFlight()
    answers: queue.Queue[Answer | _End] = queue.Queue(_MAX_WAITING_ANSWERS)
    is_closed = threading.Event()

    def offer(answer: Answer | _End) -> None:
        # Whoever blocks in `put` when the reader leaves is freed by its draining.
        if not is_closed.is_set():
            answers.put(answer)

    def outgoing() -> Iterator[pb.EvaluateStreamRequest]:
        try:
            for correlation_id, request in requests:
                if is_closed.is_set():
                    return
                message = _built(build, correlation_id, request)
                if isinstance(message, DecisionError):
                    offer((correlation_id, message))
                    continue
                in_flight.send(correlation_id)
                yield message
            in_flight.is_complete = True
        except Exception as error:  # noqa: BLE001  # the caller's iterable; the caller gets it
            offer(_End(error))

    def read() -> None:
        try:
            for response in call:
                offer(in_flight.take(response))
            offer(_End(in_flight.loss()))
        except grpc.RpcError as error:
            offer(_End(from_rpc_error(error)))
        except Internal as error:
            offer(_End(error))

    try:
        call = open_call(outgoing())
    except CLOSED as error:
        raise Unavailable(f"the client is closed: {error}") from error
    threading.Thread(target=read, name="placet-answers", daemon=True).start()
    try:
        while True:
            try:
                answer = answers.get(timeout=timeout_s)
            except queue.Empty:
                in_flight.check_progress(timeout_s)
                continue
            if isinstance(answer, _End):
                if answer.error is not None:
                    raise answer.error
                return
            yield answer
    finally:
        is_closed.set()
        call.cancel()
        while not answers.empty():
            answers.get_nowait()


async def evaluate_in_tasks(
    open_call: Callable[
        [], grpc.aio.StreamStreamCall[pb.EvaluateStreamRequest, pb.EvaluateStreamResponse]
    ],
    requests: AsyncIterable[tuple[str, Request]] | Iterable[tuple[str, Request]],
    build: Build,
    *,
    timeout_s: float,
) -> AsyncGenerator[Answer, None]:
    """Send requests and yield answers, on the running loop."""
    in_flight = _InFlight()
    answers: asyncio.Queue[Answer | _End] = asyncio.Queue(_MAX_WAITING_ANSWERS)

    async def send() -> None:
        try:
            async for correlation_id, request in _each(requests):
                message = _built(build, correlation_id, request)
                if isinstance(message, DecisionError):
                    await answers.put((correlation_id, message))
                    continue
                in_flight.send(correlation_id)
                await call.write(message)
            in_flight.is_complete = True
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The call has ended; reading says why.
            return
        except Exception as error:  # noqa: BLE001  # the caller's iterable; the caller gets it
            await answers.put(_End(error))

    async def read() -> None:
        try:
            async for response in call:
                await answers.put(in_flight.take(response))
            await answers.put(_End(in_flight.loss()))
        except grpc.aio.AioRpcError as error:
            await answers.put(_End(from_rpc_error(error)))
        except PlacetError as error:
            await answers.put(_End(error))

    try:
        call = open_call()
    except CLOSED as error:
        raise Unavailable(f"the client is closed: {error}") from error
    tasks = [asyncio.create_task(send()), asyncio.create_task(read())]
    try:
        while True:
            try:
                async with asyncio.timeout(timeout_s):
                    answer = await answers.get()
            except TimeoutError:
                in_flight.check_progress(timeout_s)
                continue
            if isinstance(answer, _End):
                if answer.error is not None:
                    raise answer.error
                return
            yield answer
    finally:
        call.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@dataclass(frozen=True, slots=True)
class _End:
    """No more answers; the error that cut them short, if one did."""

    error: Exception | None


class _InFlight:
    """The requests that were sent and not answered."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._progress_at_s = time.monotonic()
        self.is_complete = False
        """Whether all requests were sent."""

    def send(self, correlation_id: str) -> None:
        if correlation_id in self._ids:
            raise InvalidRequest(
                f"correlation id `{correlation_id}` is in use by a request that is not answered "
                "yet; choose another"
            )
        if not self._ids:
            self._progress_at_s = time.monotonic()
        self._ids.add(correlation_id)

    def take(self, response: pb.EvaluateStreamResponse) -> Answer:
        """Read an answer.

        Raises:
            Internal: it answers nothing that was asked.
        """
        correlation_id = response.correlation_id
        if correlation_id not in self._ids:
            raise Internal(f"the server answered `{correlation_id}`, which nobody asked")
        self._ids.discard(correlation_id)
        self._progress_at_s = time.monotonic()
        return correlation_id, convert.result(response)

    def check_progress(self, timeout_s: float) -> None:
        """Raise DeadlineExceeded if answers are due and none came for that long."""
        if self._ids and time.monotonic() - self._progress_at_s >= timeout_s:
            raise DeadlineExceeded(
                f"{len(self._ids)} requests are unanswered, and no answer came for {timeout_s} s"
            )

    def loss(self) -> Unavailable | None:
        """Return the error for a call that ended well on the wire but not for the caller."""
        if self.is_complete and not self._ids:
            return None
        return Unavailable(f"the stream ended with {len(self._ids)} requests unanswered")


def _built(
    build: Build, correlation_id: str, request: Request
) -> pb.EvaluateStreamRequest | DecisionError:
    """Make a message, or the answer the server would give to what cannot be one."""
    try:
        return build(correlation_id, request)
    except InvalidRequest as error:
        field = error.violations[0].field if error.violations else ""
        return DecisionError(
            error.message, code="INVALID_ARGUMENT", reason=error.reason, field=field
        )


async def _each(
    requests: AsyncIterable[tuple[str, Request]] | Iterable[tuple[str, Request]],
) -> AsyncIterator[tuple[str, Request]]:
    if isinstance(requests, AsyncIterable):
        async for pair in requests:
            yield pair
    else:
        for pair in requests:
            yield pair
