"""A channel for asyncio that is many: each call goes to the endpoint that is best for it.

To stubs it looks like a channel of gRPC's. What a call has to do next is ``attempts``'; here it is
done. The endpoints are watched by tasks of the loop it was made in.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import grpc
import grpc.aio

from placet._balancing.attempts import Attempt, Call
from placet._balancing.balancer import Balancer
from placet._balancing.endpoints import Endpoint
from placet._balancing.links import Links
from placet._balancing.members import Fault
from placet._balancing.methods import BalancedStubs, Rpc
from placet._balancing.outcomes import Outcome, outcome_of
from placet._balancing.sources import Source
from placet._balancing.watching import Watching
from placet._calls import CLOSED
from placet._errors import Unavailable

_ROUTE_TIMEOUT_S = 10.0


class BalancedAioChannel(BalancedStubs):
    """Chooses an endpoint for each call. For one event loop, which has to run."""

    def __init__(
        self,
        balancer: Balancer,
        source: Source,
        *,
        open_aio: Callable[[Endpoint], grpc.aio.Channel],
        repeatable: frozenset[str],
        tenant: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to follow a source of endpoints, and to watch them.

        Args:
            balancer: what is known of the fleet.
            source: where its endpoints come from.
            open_aio: opens a channel, for calls and to watch.
            repeatable: paths of the rpcs that may be made twice.
            tenant: whose calls those are that do not say.
            clock: a monotonic one, in seconds.
        """
        super().__init__(
            balancer,
            Links(open_aio),
            repeatable=repeatable,
            tenant=tenant,
            clock=clock,
        )
        self._watching = Watching(balancer, source, self.links, clock=clock)
        self._starting = asyncio.get_running_loop().create_task(
            self._watching.start(), name="placet-balancing"
        )

    def _unary(self, rpc: Rpc) -> _UnaryMethod:
        return _UnaryMethod(self, rpc)

    def _stream(self, rpc: Rpc) -> _StreamMethod:
        return _StreamMethod(self, rpc)

    async def close(self) -> None:
        """End everything: what is under way fails."""
        await self._starting
        await self._watching.aclose()

    async def wait_ready(self, timeout_s: float) -> None:
        """Wait until the endpoints to be used first have been heard of, and one can serve.

        Raises:
            DeadlineExceeded: none could, in time.
        """
        await self._watching.wait_ready(timeout_s)

    async def wait_routed(self, timeout_s: float) -> None:
        """Wait until it is known which endpoints there are.

        Raises:
            DeadlineExceeded: it is not, in time.
        """
        if not self.balancer.has_route:
            await self._watching.wait_routed(timeout_s)


class _UnaryMethod:
    """An rpc, at whichever endpoint is best."""

    def __init__(self, channel: BalancedAioChannel, rpc: Rpc) -> None:
        self._channel = channel
        self._rpc = rpc
        self._is_hedged = channel.is_hedged(rpc)

    def __call__(
        self, request: Any, *, timeout: float, metadata: Any = ()
    ) -> Coroutine[Any, Any, Any]:
        return self._call(request, timeout, metadata)

    async def _call(self, request: Any, timeout_s: float, metadata: Any) -> Any:
        call = self._channel.begin(self._rpc, request, timeout_s)
        await self._channel.wait_routed(timeout_s)
        make = self._race if self._is_hedged else self._try_in_turn
        return await make(call, request, metadata)

    async def _try_in_turn(self, call: Call, request: Any, metadata: Any) -> Any:
        channel = self._channel
        while True:
            attempt = call.begin(channel.clock())
            try:
                method = channel.at(attempt.member, self._rpc)
                response = await method(request, timeout=attempt.timeout_s, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                pause_s = call.failed(attempt, outcome_of(error), channel.clock())
                if pause_s is None:
                    raise
                if pause_s:
                    await asyncio.sleep(pause_s)
            except BaseException:
                call.dropped(attempt)
                raise
            else:
                call.answered(attempt, channel.clock())
                channel.holders.note(response, attempt.member.endpoint.address)
                return response

    async def _race(self, call: Call, request: Any, metadata: Any) -> Any:
        """Ask, ask another too when it takes long, and take the first answer."""
        channel = self._channel
        running: dict[asyncio.Task[Any], Attempt] = {}

        async def ask(attempt: Attempt) -> Any:
            method = channel.at(attempt.member, self._rpc)
            return await method(request, timeout=attempt.timeout_s, metadata=metadata)

        def start(attempt: Attempt) -> None:
            running[asyncio.create_task(ask(attempt))] = attempt

        hedge_s = call.hedge_delay_s()
        is_won = False
        try:
            start(call.begin(channel.clock(), is_hedged=True))
            while True:
                ended, _ = await asyncio.wait(
                    running, timeout=hedge_s, return_when=asyncio.FIRST_COMPLETED
                )
                if not ended:
                    beside = call.hedge(channel.clock(), running.values())
                    hedge_s = hedge_s if beside is not None else None
                    if beside is not None:
                        start(beside)
                for made in ended:
                    attempt = running.pop(made)
                    try:
                        response = made.result()
                    except grpc.aio.AioRpcError as error:
                        pause_s = call.failed(attempt, outcome_of(error), channel.clock())
                        if pause_s is None and not running:
                            raise
                        if pause_s is not None:
                            await asyncio.sleep(pause_s if not running else 0)
                            start(call.begin(channel.clock(), is_hedged=True))
                    except BaseException:
                        call.dropped(attempt)
                        raise
                    else:
                        call.answered(attempt, channel.clock())
                        is_won = True
                        return response
        finally:
            for made, attempt in running.items():
                made.cancel()
                if is_won:
                    call.lost(attempt, channel.clock())
                else:
                    call.dropped(attempt)
            if running:
                await asyncio.wait(running)


class _StreamMethod:
    """An rpc that answers with a stream, at whichever endpoint is best when it begins."""

    def __init__(self, channel: BalancedAioChannel, rpc: Rpc) -> None:
        self._channel = channel
        self._rpc = rpc

    def __call__(
        self, request: Any = None, *, timeout: float | None = None, metadata: Any = ()
    ) -> PinnedAioStream:
        self._channel.links.check_open()
        return PinnedAioStream(self._channel, self._rpc, request, timeout, metadata)


class PinnedAioStream:
    """A stream of answers, from one endpoint.

    One that fails before it says anything is opened at another, where its request is one message.
    """

    def __init__(
        self,
        channel: BalancedAioChannel,
        rpc: Rpc,
        request: Any,
        timeout_s: float | None,
        metadata: Any,
    ) -> None:
        self._channel = channel
        self._rpc = rpc
        self._request = request
        self._timeout_s = timeout_s
        self._metadata = metadata
        self._call = channel.begin(rpc, request, timeout_s)
        self._may_reopen = rpc.kind == "unary_stream"
        self._is_over = self._is_cancelled = False
        self._attempt: Attempt | None = None
        self._stream: Any = None
        self._opening = asyncio.Lock()

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (response := await self.read()) is not grpc.aio.EOF:
            yield response

    async def read(self) -> Any:
        """Return the next answer, or ``grpc.aio.EOF``."""
        while True:
            stream, attempt = await self._opened()
            try:
                response = await stream.read()
            except grpc.aio.AioRpcError as error:
                if not await self._goes_on(attempt, outcome_of(error)):
                    raise
                continue
            if response is grpc.aio.EOF:
                self._settle()
            elif self._may_reopen:
                self._may_reopen = False
                self._channel.balancer.heard(attempt.member, self._channel.clock())
            return response

    async def write(self, message: Any) -> None:
        """Send a message."""
        stream, _ = await self._opened()
        await stream.write(message)

    async def done_writing(self) -> None:
        """Say that there are no more messages to send."""
        stream, _ = await self._opened()
        await stream.done_writing()

    def cancel(self) -> bool:
        """End the stream."""
        self._is_cancelled = True
        self._settle()
        return bool(self._stream is not None and self._stream.cancel())

    async def _opened(self) -> tuple[Any, Attempt]:
        async with self._opening:
            if self._stream is None or self._attempt is None:
                patience_s = self._timeout_s if self._timeout_s is not None else _ROUTE_TIMEOUT_S
                await self._channel.wait_routed(patience_s)
                self._open()
            assert self._attempt is not None
            return self._stream, self._attempt

    def _open(self) -> None:
        self._attempt = self._call.begin(self._channel.clock())
        try:
            method = self._channel.at(self._attempt.member, self._rpc)
            timeout_s = self._attempt.timeout_s if self._timeout_s is not None else None
            request = () if self._rpc.kind == "stream_stream" else (self._request,)
            self._stream = method(*request, timeout=timeout_s, metadata=self._metadata)
        except CLOSED as error:
            self._settle()
            raise Unavailable(f"the client is closed: {error}") from error

    async def _goes_on(self, attempt: Attempt, outcome: Outcome) -> bool:
        """Note an error; return whether the stream is to be opened elsewhere instead."""
        if self._is_over:
            return False
        self._is_over = True
        now_s = self._channel.clock()
        if outcome.fault is Fault.SILENT:
            # It had its time: how long a stream may last says nothing of the endpoint.
            self._call.dropped(attempt)
            return False
        if not self._may_reopen:
            self._call.ended(attempt, outcome, now_s)
            return False
        pause_s = self._call.failed(attempt, outcome, now_s)
        if pause_s is None:
            return False
        await asyncio.sleep(pause_s)
        if self._is_cancelled:
            return False
        self._is_over = False
        self._stream = self._attempt = None
        return True

    def _settle(self) -> None:
        """Note, once, that it is over without any fault."""
        if self._is_over or self._attempt is None:
            return
        self._is_over = True
        self._call.dropped(self._attempt)
