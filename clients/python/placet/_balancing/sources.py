"""Where a fleet's endpoints come from: a list, DNS, or the topology that a server knows.

A source is followed from an event loop for as long as the client lives. One that can say nothing
new leaves what it said last standing.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import grpc
import grpc.aio

from placet import _convert as convert
from placet._backoff import Backoff
from placet._balancing.endpoints import Endpoint, Tiers, in_order, split_addresses, tiers_of
from placet._errors import PlacetError, Unavailable
from placet._placing import place_to_wire
from placet._requests import tenant_to_wire
from placet._status import from_rpc_error
from placet._topology import Place
from placet._values import refusal
from placet.v1 import topology_pb2, topology_service_pb2, topology_service_pb2_grpc

log = logging.getLogger("placet.balancing")

_SILENCE_S = 15.0
"""A route comes every 5 s at least; without one for this long another server is asked."""
_RETRIES = Backoff(first_s=0.1, most_s=5.0)
_RESOLVE_TIMEOUT_S = 5.0
_NOWHERE = "NO_REGION_ALLOWED"


class Listener(Protocol):
    """Whoever wants to know the endpoints."""

    def route(self, tiers: Tiers) -> None:
        """Take the endpoints there are now, in place of those before."""
        ...

    def no_route(self, error: PlacetError) -> None:
        """Take that there are none: there is nowhere a call may go."""
        ...

    def outage(self, error: PlacetError) -> None:
        """Take why nothing is known yet, or nothing new."""
        ...


OpenAio: TypeAlias = Callable[[Endpoint], grpc.aio.Channel]


class Source(Protocol):
    """A place to learn endpoints from."""

    async def follow(self, listener: Listener, open_aio: OpenAio) -> None:
        """Tell a listener of the endpoints, and of every change, until cancelled."""
        ...


@dataclass(frozen=True, slots=True)
class Listed:
    """Endpoints that are known beforehand."""

    tiers: Tiers

    async def follow(self, listener: Listener, open_aio: OpenAio) -> None:
        """Tell of them once."""
        listener.route(self.tiers)


@dataclass(frozen=True, slots=True)
class Dns:
    """Every address of a name is an endpoint. The name is looked up again and again.

    For credentials the servers' certificates have to be for the name.
    """

    target: str
    """``placet.internal:7717``."""
    refresh_s: float = 30.0
    """How often: what the name's records say of their age is not told by the system's resolver."""
    region: str = ""
    """The region that all of them are in."""

    def __post_init__(self) -> None:
        host, _, port = self.target.rpartition(":")
        if not host or not port.isdecimal():
            raise refusal("target", f"is `{self.target}`; write `name:port`")
        if not self.refresh_s > 0:
            raise refusal("refresh_s", f"is {self.refresh_s}; use a number of seconds above 0")


@dataclass(frozen=True, slots=True)
class DnsSource:
    """Follows a name."""

    dns: Dns
    regions: Sequence[str]
    rng: random.Random

    async def follow(self, listener: Listener, open_aio: OpenAio) -> None:
        """Look the name up again and again."""
        failures = 0
        while True:
            try:
                endpoints = await self._resolve()
            except (OSError, TimeoutError) as error:
                failures += 1
                listener.outage(
                    Unavailable(
                        f"`{self.dns.target}` cannot be looked up: {str(error) or 'no answer'}"
                    )
                )
                await asyncio.sleep(min(_RETRIES.delay_s(failures, self.rng), self.dns.refresh_s))
                continue
            failures = 0
            listener.route(in_order(endpoints, self.regions))
            # Not all clients at the same time.
            await asyncio.sleep(self.dns.refresh_s * self.rng.uniform(0.9, 1.1))

    async def _resolve(self) -> list[Endpoint]:
        host, _, port = self.dns.target.rpartition(":")
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_RESOLVE_TIMEOUT_S):
            found = await loop.getaddrinfo(
                host.strip("[]"), int(port), type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
            )
        # In an order of its own: resolvers rotate.
        addresses = sorted({_target(family, *address[:2]) for family, *_, address in found})
        return [
            Endpoint(address, region=self.dns.region, authority=self.dns.target)
            for address in addresses
        ]


def _target(family: int, host: Any, port: Any) -> str:
    return f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """The endpoints that a server's topology has for a tenant's callers at a place, watched live.

    Which regions are allowed, and in which order, is the server's to say: the nearest allowed
    one, and then its fallbacks. Without a place the tenant's home comes first.
    """

    bootstrap: str | Sequence[str]
    """Servers to ask, any one of them: ``"a:7717,b:7717"`` or a sequence. Nodes that a route
    leads to are asked as well, when none of these answers."""
    place: Place | None = None
    """Where the client is: ``InRegion("eu-west")``, ``Country("IE")`` or a ``GeoPoint``."""
    tenant: str | None = None
    """Whose callers; the client's tenant unless given."""

    def __post_init__(self) -> None:
        if not self.endpoints():
            raise refusal("bootstrap", "is empty; name a server to ask")

    def endpoints(self) -> list[Endpoint]:
        """Return the servers to ask.

        Raises:
            InvalidRequest: one of them is no address.
        """
        if isinstance(self.bootstrap, str):
            return split_addresses(self.bootstrap)
        return [Endpoint(address) for address in self.bootstrap]

    def request(self, tenant: str | None) -> topology_service_pb2.WatchRouteRequest:
        """Return what to watch as a message.

        Raises:
            InvalidRequest: no tenant is named, or the place cannot be one.
        """
        wanted = self.tenant if self.tenant is not None else tenant
        if not wanted:
            raise refusal("tenant", "is not named; a route is a tenant's")
        return topology_service_pb2.WatchRouteRequest(
            tenant=tenant_to_wire(wanted), location=place_to_wire(self.place)
        )


@dataclass(slots=True)
class TopologySource:
    """Follows a route, at one server after the other."""

    bootstrap: Sequence[Endpoint]
    request: topology_service_pb2.WatchRouteRequest
    rng: random.Random
    known: Sequence[Endpoint] = ()
    """Those of the last route."""

    async def follow(self, listener: Listener, open_aio: OpenAio) -> None:
        """Watch the route at whoever answers."""
        failures = 0
        while True:
            for endpoint in self._servers():
                has_said = await self._watch(endpoint, listener, open_aio)
                failures = 1 if has_said else failures + 1
                await asyncio.sleep(_RETRIES.delay_s(failures, self.rng))
                if has_said:
                    break

    def _servers(self) -> list[Endpoint]:
        """Return who can be asked: those that were named in any order, and then the others."""
        named = list(self.bootstrap)
        self.rng.shuffle(named)
        addresses = {endpoint.address for endpoint in named}
        return named + [other for other in self.known if other.address not in addresses]

    async def _watch(self, endpoint: Endpoint, listener: Listener, open_aio: OpenAio) -> bool:
        """Watch at one server until that ends; return whether it said anything."""
        channel: grpc.aio.Channel | None = None
        has_said = False
        try:
            channel = open_aio(endpoint)
            stub: Any = topology_service_pb2_grpc.TopologyServiceStub(channel)
            watch = stub.WatchRoute(self.request)
            while True:
                async with asyncio.timeout(_SILENCE_S):
                    response = await watch.read()
                if not isinstance(response, topology_service_pb2.WatchRouteResponse):
                    return has_said
                has_said = True
                self._take(response.route, listener)
        except TimeoutError:
            listener.outage(Unavailable(f"`{endpoint.address}` says nothing of the route"))
        except grpc.aio.AioRpcError as rpc_error:
            error = from_rpc_error(rpc_error)
            log.info(
                "watching the route broke off",
                extra={"address": endpoint.address, "error": str(error)},
            )
            if error.reason == _NOWHERE:
                # Then the last route leads where the tenant may not be any more.
                self.known = ()
                listener.no_route(error)
            else:
                listener.outage(error)
        except PlacetError as error:
            # There is no token to call with, or the certificate cannot be read.
            listener.outage(error)
        finally:
            if channel is not None:
                await channel.close()
        return has_said

    def _take(self, route: topology_pb2.Route, listener: Listener) -> None:
        """Take a route. One without any node says that the server knows of none.

        It may have started a moment ago, and be wrong: then those known before are held on to, as
        far as they are in regions that are still allowed.
        """
        tiers = tiers_of(convert.route(route))
        if not any(tiers):
            regions = [region.region for region in route.regions]
            tiers = in_order(self.known, regions) if regions else []
        if any(tiers):
            self.known = [endpoint for tier in tiers for endpoint in tier]
            listener.route(tiers)
            return
        none = Unavailable("no node takes calls in any region that is allowed")
        if self.known:
            self.known = ()
            listener.no_route(none)
        else:
            listener.outage(none)
