"""EvaluateStream: one event of HTTP holds many messages, and they are answered in one.

Nothing here cancels what it asked the server for, nor leaves it: to a server, what was handed to
somebody who no longer listens is lost, and a mistake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol, TypeVar

from placet_server.api.deadlines import LONGEST_WAIT_S
from placet_server.api.evaluate_stream import AtOnce
from placet_server.api.messages import ONE_REQUEST_BYTES
from placet_server.errors import DeadlinePassed, SlowReader
from placet_server.front.calls import Event, Receive, Send, part_of, while_called
from placet_server.front.frames import PREFIX_BYTES, Frames, framed
from placet_server.telemetry.rpc import RpcCall

_T = TypeVar("_T")

# So many remembered decisions take two milliseconds, and others should get a turn. What is
# written at once, and waits for the caller to read, is no more than that either.
_AT_ONCE = 256
# Ahead of what is being decided no more is read than this: a message, and one that is not whole.
_MOST_AHEAD_BYTES = 2 * (ONE_REQUEST_BYTES + PREFIX_BYTES)


class StreamEvaluator(Protocol):
    """Answers messages of a stream."""

    def evaluate_streamed_at_once(self, several: Sequence[bytes]) -> AtOnce:
        """Answer the first messages; none if the first of them takes waiting."""
        ...

    async def evaluate_streamed(self, data: bytes, time_left_s: float) -> bytes:
        """Answer one message."""
        ...


class StreamCall:
    """One call of EvaluateStream, from its first message to what ends it.

    Args:
        evaluator: answers the messages.
        receive: as ASGI has it.
        send: as ASGI has it; the response was started.
        given_s: how long the caller gave the whole call, in seconds. None: any time.
        write_timeout_s: for how long the caller may read nothing.
        observed: is told how much comes and goes.
    """

    def __init__(
        self,
        evaluator: StreamEvaluator,
        receive: Receive,
        send: Send,
        *,
        given_s: float | None,
        write_timeout_s: float,
        observed: RpcCall | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._evaluator = evaluator
        self._receive = receive
        self._send = send
        self._write_timeout_s = write_timeout_s
        self._observed = observed
        self._time = loop.time
        self._frames = Frames(ONE_REQUEST_BYTES)
        self._is_whole = False
        self._asked: asyncio.Future[Event] | None = None
        self._ended: asyncio.Future[Exception] = loop.create_future()
        self._ends_at_s = None if given_s is None else loop.time() + given_s
        self._alarm = (
            None if given_s is None else loop.call_later(given_s, self.end, DeadlinePassed())
        )

    def end(self, why: Exception) -> None:
        """Have the call end with an error, as soon as what has come is answered."""
        if not self._ended.done():
            self._ended.set_result(why)

    def close(self) -> None:
        """Leave nothing behind. Has to be called."""
        if self._alarm is not None:
            self._alarm.cancel()
        if isinstance(self._asked, asyncio.Task):
            self._asked.cancel()

    async def serve(self) -> None:
        """Answer messages until the last.

        Raises:
            ConnectionResetError: the caller has gone.
            Exception: the call ends with it.
        """
        await self._write(b"")
        while True:
            messages = self._frames.take()
            if messages:
                await self._answer(messages)
            elif self._is_whole:
                return self._frames.finish()
            elif self._ended.done() and not self._has_come():
                raise self._ended.result()
            else:
                await self._read(self._ended)

    async def _read(self, *others: asyncio.Future[Any]) -> None:
        """Wait for more to come, or for one of the others."""
        if self._asked is None:
            self._asked = asyncio.ensure_future(self._receive())
        if not self._asked.done():
            await asyncio.wait((self._asked, *others), return_when=asyncio.FIRST_COMPLETED)
        if self._asked.done():
            event, self._asked = self._asked.result(), None
            part, self._is_whole = part_of(event)
            self._frames.feed(part)

    def _has_come(self) -> bool:
        return self._asked is not None and self._asked.done()

    async def _answer(self, messages: list[bytes]) -> None:
        if self._observed is not None:
            self._observed.received += sum(map(len, messages))
        place = 0
        while place < len(messages):
            now = messages[place : place + _AT_ONCE]
            answers, hold_s = self._evaluator.evaluate_streamed_at_once(now)
            place += len(answers)
            if hold_s:
                await self._write_all(answers[:-1])
                await self._while_read(asyncio.sleep(hold_s))
                answers = answers[-1:]
            await self._write_all(answers)
            if not answers:
                answer = self._evaluator.evaluate_streamed(messages[place], self._left_s())
                await self._write_all([await self._while_read(answer)])
                place += 1

    async def _while_read(self, waiting: Awaitable[_T]) -> _T:
        """Wait for something, unless the caller gives up first; meanwhile, read ahead."""
        task = asyncio.ensure_future(waiting)
        try:
            while not task.done() and not self._is_whole and len(self._frames) < _MOST_AHEAD_BYTES:
                await self._read(task)
            return await (while_called(task, self._receive) if self._is_whole else task)
        finally:
            task.cancel()

    def _left_s(self) -> float:
        """Return how long a message may take, in seconds.

        Raises:
            DeadlinePassed: no time at all.
        """
        if self._ends_at_s is None:
            return LONGEST_WAIT_S
        left_s = self._ends_at_s - self._time()
        if left_s <= 0:
            raise DeadlinePassed
        return left_s

    async def _write_all(self, answers: Sequence[bytes]) -> None:
        if answers:
            if self._observed is not None:
                self._observed.sent += sum(map(len, answers))
            await self._write(framed(answers))

    async def _write(self, body: bytes) -> None:
        """Write, and wait until it is on its way: what is not read is not added to.

        Raises:
            ConnectionResetError: the caller has gone.
            DeadlinePassed, SlowReader: it took too long.
        """
        limit_s = self._write_timeout_s
        if self._ends_at_s is not None:
            limit_s = min(limit_s, self._left_s())
        event = {"type": "http.response.body", "body": body, "more_body": True}
        written = asyncio.ensure_future(self._send(event))
        done, _ = await asyncio.wait((written,), timeout=limit_s)
        if not done:
            # It ends with the connection, and then nobody is interested in how.
            written.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            raise SlowReader(self._write_timeout_s) if self._has_time() else DeadlinePassed
        try:
            written.result()
        except OSError as error:
            raise ConnectionResetError from error

    def _has_time(self) -> bool:
        return self._ends_at_s is None or self._time() < self._ends_at_s
