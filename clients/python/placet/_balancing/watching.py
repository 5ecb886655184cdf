"""Keeps what is known of a fleet true: follows the source, and watches the endpoints' health.

Runs on an event loop, that of an asyncio client or the one in the background. What it learns goes
to the balancer; what it has to watch the balancer says.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from placet._backoff import Backoff
from placet._balancing.balancer import Balancer
from placet._balancing.endpoints import Tiers
from placet._balancing.links import Links
from placet._balancing.members import Health, Member
from placet._balancing.sources import Source
from placet._errors import DeadlineExceeded, PlacetError
from placet._status import from_rpc_error

log = logging.getLogger("placet.balancing")

_SERVICE = "placet.v1.EvaluateService"
_REOPENING = Backoff(first_s=0.05, most_s=1.0)


class Watching:
    """Watches a fleet. For one event loop."""

    def __init__(
        self,
        balancer: Balancer,
        source: Source,
        links: Links,
        *,
        clock: Callable[[], float],
        on_routed: Callable[[], None] = lambda: None,
        on_gone: Callable[[Member], None] = lambda member: None,
        on_serving: Callable[[Member], None] = lambda member: None,
    ) -> None:
        """Prepare to watch.

        Args:
            balancer: what is told, and says what is to be watched.
            source: where the endpoints come from.
            links: the channels to watch over; closed with this.
            clock: a monotonic one, in seconds.
            on_routed: called when it is known which endpoints there are.
            on_gone: called when an endpoint is used no longer.
            on_serving: called when an endpoint was found to serve.
        """
        self._balancer = balancer
        self._source = source
        self._links = links
        self._clock = clock
        self._on_routed = on_routed
        self._on_gone = on_gone
        self._on_serving = on_serving
        self._rng = random.Random()  # noqa: S311  # spreads retries
        self._changed = asyncio.Event()
        self._routed = asyncio.Event()
        self._attended = asyncio.Event()
        self._outage: PlacetError | None = None
        self._watches: dict[Member, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to watch."""
        loop = asyncio.get_running_loop()

        def changed() -> None:
            try:
                loop.call_soon_threadsafe(self._changed.set)
            except RuntimeError:
                # The loop was closed before the client.
                log.debug("nobody watches the endpoints any more")

        self._balancer.on_change = changed
        self._tasks = [
            asyncio.create_task(self._follow(), name="placet-endpoints"),
            asyncio.create_task(self._attend(), name="placet-watching"),
        ]

    async def aclose(self) -> None:
        """Watch no longer."""
        self._balancer.on_change = lambda: None
        tasks = [*self._tasks, *self._watches.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for channel in self._links.take_all():
            await channel.close()

    async def wait_routed(self, timeout_s: float) -> None:
        """Wait until it is known which endpoints there are.

        Raises:
            DeadlineExceeded: it is not, in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._routed.wait()
        except TimeoutError:
            raise DeadlineExceeded(self.why_not_routed(timeout_s)) from self._outage

    def why_not_routed(self, timeout_s: float) -> str:
        """Return a message for who waited for endpoints in vain."""
        why = f": {self._outage}" if self._outage is not None else ""
        return f"no endpoint is known after {timeout_s:g} s{why}"

    async def wait_ready(self, timeout_s: float) -> None:
        """Wait until the endpoints to be used first have been heard of, and one can serve.

        Raises:
            DeadlineExceeded: none could, in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._routed.wait()
                while not self._balancer.is_settled(self._clock()):
                    self._attended.clear()
                    await self._attended.wait()
        except TimeoutError:
            states = self._balancer.statistics(self._clock())
            listed = "; ".join(
                f"`{found.address}` is {found.state.value}"
                + (f" ({found.last_error})" if found.last_error else "")
                for found in states
            )
            raise DeadlineExceeded(
                f"no endpoint can serve after {timeout_s:g} s: "
                f"{listed or self.why_not_routed(timeout_s)}"
            ) from None

    # ------------------------------------------------------------------------ its listening

    def route(self, tiers: Tiers) -> None:
        """Take the endpoints that the source lists."""
        self._outage = None
        self._balancer.route(tiers)
        self._tell_routed()

    def no_route(self, error: PlacetError) -> None:
        """Take that calls may go nowhere."""
        self._outage = error
        self._balancer.no_route(error)
        self._tell_routed()

    def outage(self, error: PlacetError) -> None:
        """Take why nothing new is known."""
        self._outage = error

    def _tell_routed(self) -> None:
        self._routed.set()
        self._on_routed()

    async def _follow(self) -> None:
        try:
            await self._source.follow(self, self._links.open)
        except Exception:  # a mistake of ours must not end the following unseen
            log.exception("following the endpoints failed")

    async def _attend(self) -> None:
        """Watch those that are to be watched, as they change."""
        while True:
            self._changed.clear()
            try:
                await self._reconcile()
            except Exception:  # a mistake of ours must not end the watching unseen
                log.exception("attending to the endpoints failed")
            self._attended.set()
            await self._changed.wait()

    async def _reconcile(self) -> None:
        wanted = self._balancer.wanted() if self._balancer.options.watch_health else []
        for member in wanted:
            if member not in self._watches:
                self._balancer.watch_begins(member, self._clock())
                task = asyncio.create_task(self._watch(member), name="placet-health")
                self._watches[member] = task
        for member in [member for member in self._watches if member not in wanted]:
            await self._unwatch(member)
        for member in self._balancer.gone():
            await self._unwatch(member)
            self._on_gone(member)
            channel = self._links.take(member)
            if channel is not None:
                await channel.close()

    async def _unwatch(self, member: Member) -> None:
        task = self._watches.pop(member, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            self._balancer.watch_ends(member)

    async def _watch(self, member: Member) -> None:
        """Watch one endpoint's health, over one stream after the other."""
        failures = 0
        while True:
            try:
                has_said = await self._read_health(member, waits=failures > 0)
            except grpc.aio.AioRpcError as rpc_error:
                if rpc_error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    self._balancer.health(member, Health.UNWATCHED, self._clock())
                    return
                error = from_rpc_error(rpc_error)
                self._balancer.health(member, Health.AWAY, self._clock(), error)
                has_said = False
            except PlacetError as error:
                # There is no token to call with, or the certificate cannot be read.
                self._balancer.health(member, Health.AWAY, self._clock(), error)
                has_said = False
            except Exception:  # a mistake of ours must not leave the last word standing
                log.exception("watching an endpoint failed")
                self._balancer.health(member, Health.UNWATCHED, self._clock())
                has_said = False
            failures = 1 if has_said else failures + 1
            await asyncio.sleep(_REOPENING.delay_s(failures, self._rng))

    async def _read_health(self, member: Member, *, waits: bool) -> bool:
        """Read one stream to its end; return whether it said anything.

        Args:
            member: whose.
            waits: whether it waits until there is a connection, and does not fail without.
        """
        stub: Any = health_pb2_grpc.HealthStub(self._links.to(member).channel)
        call = stub.Watch(
            health_pb2.HealthCheckRequest(service=_SERVICE), wait_for_ready=waits or None
        )
        has_said = False
        try:
            while True:
                response = await call.read()
                if not isinstance(response, health_pb2.HealthCheckResponse):
                    return has_said
                has_said = True
                health = _HEALTH.get(response.status, Health.UNKNOWN)
                self._balancer.health(member, health, self._clock())
                if health is Health.SERVING:
                    self._on_serving(member)
        finally:
            call.cancel()


_HEALTH = {
    health_pb2.HealthCheckResponse.SERVING: Health.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING: Health.NOT_SERVING,
}
