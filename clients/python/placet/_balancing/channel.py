"""A channel for threads that is many: each call goes to the endpoint that is best for it.

To stubs it looks like a channel of gRPC's. What a call has to do next is ``attempts``'; here it is
done. The endpoints are watched from the event loop that this package keeps in the background.
"""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from placet._balancing.attempts import Attempt, Call
from placet._balancing.balancer import Balancer
from placet._balancing.endpoints import Endpoint
from placet._balancing.links import Links
from placet._balancing.members import Fault, Member
from placet._balancing.methods import BalancedStubs, Rpc
from placet._balancing.outcomes import Outcome, outcome_of
from placet._balancing.sources import Source
from placet._balancing.watching import Watching
from placet._errors import DeadlineExceeded, PlacetError
from placet._loop_thread import LoopThread, background_loop

_WARM_TIMEOUT_S = 2.0


class BalancedChannel(BalancedStubs):
    """Chooses an endpoint for each call. Thread-safe."""

    def __init__(
        self,
        balancer: Balancer,
        source: Source,
        *,
        open_channel: Callable[[Endpoint], grpc.Channel],
        open_aio: Callable[[Endpoint], grpc.aio.Channel],
        repeatable: frozenset[str],
        tenant: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to follow a source of endpoints, and to watch them.

        Args:
            balancer: what is known of the fleet.
            source: where its endpoints come from.
            open_channel: opens a channel for calls.
            open_aio: opens one to watch an endpoint over.
            repeatable: paths of the rpcs that may be made twice.
            tenant: whose calls those are that do not say.
            clock: a monotonic one, in seconds.
        """
        super().__init__(
            balancer,
            Links(open_channel),
            repeatable=repeatable,
            tenant=tenant,
            clock=clock,
        )
        self._warming: set[Any] = set()
        self._routed = threading.Event()
        watched = Links(open_aio)
        self._watching = Watching(
            balancer,
            source,
            watched,
            clock=clock,
            on_routed=self._routed.set,
            on_gone=_closer(self.links),
            on_serving=_warmer(self.links, self._warming),
        )
        self._loop: LoopThread = background_loop()
        self._loop.run(self._watching.start())
        # A client that is dropped without being closed must not be watched for for ever.
        # Garbage may be collected by the loop's own thread, which cannot wait for itself.
        self._abandon = weakref.finalize(self, _abandon, self._loop, self._watching)
        self._abandon.atexit = False

    def _unary(self, rpc: Rpc) -> _UnaryMethod:
        return _UnaryMethod(self, rpc)

    def _stream(self, rpc: Rpc) -> _StreamMethod:
        return _StreamMethod(self, rpc)

    def close(self) -> None:
        """End everything: what is under way fails."""
        if self._abandon.detach() is not None:
            self._loop.run(self._watching.aclose())
        for channel in self.links.take_all():
            channel.close()

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the endpoints to be used first have been heard of, and one can serve.

        Raises:
            DeadlineExceeded: none could, in time.
        """
        self._loop.run(self._watching.wait_ready(timeout_s))

    def wait_routed(self, timeout_s: float) -> None:
        """Wait until it is known which endpoints there are.

        Raises:
            DeadlineExceeded: it is not, in time.
        """
        if not self.balancer.has_route and not self._routed.wait(timeout_s):
            raise DeadlineExceeded(self._watching.why_not_routed(timeout_s))


def _closer(links: Links) -> Callable[[Member], None]:
    def close(member: Member) -> None:
        channel = links.take(member)
        if channel is not None:
            channel.close()

    return close


def _warmer(links: Links, warming: set[Any]) -> Callable[[Member], None]:
    """Return what connects the channel for calls to an endpoint that was found to serve."""

    def warm(member: Member) -> None:
        try:
            stub: Any = health_pb2_grpc.HealthStub(links.to(member).channel)
            check = stub.Check.future(health_pb2.HealthCheckRequest(), timeout=_WARM_TIMEOUT_S)
        except (ValueError, PlacetError):
            # It was closed meanwhile, or there is nothing to call with: calls will say so.
            return
        warming.add(check)
        check.add_done_callback(warming.discard)

    return warm


def _abandon(loop: LoopThread, watching: Watching) -> None:
    loop.begin(watching.aclose())


class _UnaryMethod:
    """An rpc, at whichever endpoint is best."""

    def __init__(self, channel: BalancedChannel, rpc: Rpc) -> None:
        self._channel = channel
        self._rpc = rpc
        self._is_hedged = channel.is_hedged(rpc)

    def __call__(self, request: Any, *, timeout: float, metadata: Any = ()) -> Any:
        call = self._channel.begin(self._rpc, request, timeout)
        self._channel.wait_routed(timeout)
        make = self._race if self._is_hedged else self._try_in_turn
        return make(call, request, metadata)

    def _try_in_turn(self, call: Call, request: Any, metadata: Any) -> Any:
        channel = self._channel
        while True:
            attempt = call.begin(channel.clock())
            try:
                method = channel.at(attempt.member, self._rpc)
                response = method(request, timeout=attempt.timeout_s, metadata=metadata)
            except grpc.RpcError as error:
                pause_s = call.failed(attempt, outcome_of(error), channel.clock())
                if pause_s is None:
                    raise
                if pause_s:
                    time.sleep(pause_s)
            except BaseException:
                call.dropped(attempt)
                raise
            else:
                call.answered(attempt, channel.clock())
                channel.holders.note(response, attempt.member.endpoint.address)
                return response

    def _race(self, call: Call, request: Any, metadata: Any) -> Any:
        """Ask, ask another too when it takes long, and take the first answer."""
        channel = self._channel
        running: dict[Any, Attempt] = {}
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def start(attempt: Attempt) -> None:
            try:
                method = channel.at(attempt.member, self._rpc)
                made = method.future(request, timeout=attempt.timeout_s, metadata=metadata)
            except BaseException:
                call.dropped(attempt)
                raise
            running[made] = attempt
            made.add_done_callback(ended.put)

        def next_ended(hedge_s: float | None) -> Any | None:
            try:
                return ended.get(timeout=hedge_s)
            except queue.Empty:
                return None

        hedge_s = call.hedge_delay_s()
        is_won = False
        try:
            start(call.begin(channel.clock(), is_hedged=True))
            while True:
                made = next_ended(hedge_s)
                if made is None:
                    beside = call.hedge(channel.clock(), running.values())
                    hedge_s = hedge_s if beside is not None else None
                    if beside is not None:
                        start(beside)
                    continue
                attempt = running.pop(made)
                try:
                    response = made.result()
                except grpc.RpcError as error:
                    pause_s = call.failed(attempt, outcome_of(error), channel.clock())
                    if pause_s is None and not running:
                        raise
                    if pause_s is not None:
                        if not running:
                            time.sleep(pause_s)
                        start(call.begin(channel.clock(), is_hedged=True))
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


class _StreamMethod:
    """An rpc that answers with a stream, at whichever endpoint is best when it begins."""

    def __init__(self, channel: BalancedChannel, rpc: Rpc) -> None:
        self._channel = channel
        self._rpc = rpc

    def __call__(
        self, request: Any, *, timeout: float | None = None, metadata: Any = ()
    ) -> PinnedStream:
        self._channel.wait_routed(timeout if timeout is not None else _ROUTE_TIMEOUT_S)
        return PinnedStream(self._channel, self._rpc, request, timeout, metadata)


_ROUTE_TIMEOUT_S = 10.0


class PinnedStream:
    """A stream of answers, from one endpoint.

    One that fails before it says anything is opened at another, where its request is one message.
    """

    def __init__(
        self,
        channel: BalancedChannel,
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
        self._lock = threading.Lock()
        self._open()

    def __iter__(self) -> Iterator[Any]:
        while True:
            try:
                for response in self._stream:
                    if self._may_reopen:
                        self._may_reopen = False
                        self._channel.balancer.heard(self._attempt.member, self._channel.clock())
                    yield response
            except grpc.RpcError as error:
                if not self._goes_on(outcome_of(error)):
                    raise
            else:
                self._settle()
                return

    def cancel(self) -> bool:
        """End the stream."""
        self._is_cancelled = True
        self._settle()
        return bool(self._stream.cancel())

    def _open(self) -> None:
        self._attempt = self._call.begin(self._channel.clock())
        try:
            method = self._channel.at(self._attempt.member, self._rpc)
            timeout_s = self._attempt.timeout_s if self._timeout_s is not None else None
            self._stream = method(self._request, timeout=timeout_s, metadata=self._metadata)
        except BaseException:
            self._settle()
            raise

    def _goes_on(self, outcome: Outcome) -> bool:
        """Note an error; return whether the stream was opened elsewhere instead."""
        with self._lock:
            if self._is_over:
                return False
            self._is_over = True
        if outcome.fault is Fault.SILENT:
            # It had its time: how long a stream may last says nothing of the endpoint.
            self._call.dropped(self._attempt)
            return False
        if not self._may_reopen:
            self._call.ended(self._attempt, outcome, self._channel.clock())
            return False
        pause_s = self._call.failed(self._attempt, outcome, self._channel.clock())
        if pause_s is None:
            return False
        time.sleep(pause_s)
        self._is_over = False
        self._open()
        if self._is_cancelled:
            # While there was nothing to cancel. What was begun says so when it is read.
            self._stream.cancel()
        return True

    def _settle(self) -> None:
        """Note, once, that it is over without any fault."""
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
        self._call.dropped(self._attempt)
