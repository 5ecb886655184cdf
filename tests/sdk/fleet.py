"""Several real servers on this machine whose parts a test writes: answers, health, routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
from google.protobuf import duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

import placet
from placet.v1 import (
    decision_pb2,
    evaluate_service_pb2,
    policy_service_pb2,
    policy_service_pb2_grpc,
    topology_pb2,
    topology_service_pb2,
    topology_service_pb2_grpc,
)
from tests.sdk.scripted import Context, ScriptedServer, fail, info

Act = Callable[[Context], Awaitable[Any]]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class FleetNode(
    ScriptedServer,
    health_pb2_grpc.HealthServicer,
    policy_service_pb2_grpc.PolicyServiceServicer,
    topology_service_pb2_grpc.TopologyServiceServicer,
):
    """A server that does as it is told before each answer, and says who it is in it."""

    def __init__(self, name: str, *, has_health: bool = True) -> None:
        super().__init__()
        self.name = name
        self.has_health = has_health
        self.act: Act | None = None
        """What happens before an answer: it may hang, or end the call."""
        self.requests: list[Message] = []
        self.publishes: list[policy_service_pb2.PublishRequest] = []
        self.route: topology_pb2.Route | None = None
        self.watched_routes: list[topology_service_pb2.WatchRouteRequest] = []
        self.watchers = 0
        """How many watch its health."""
        self._unwatched = asyncio.Event()
        self._health: int = SERVING
        self._changed = asyncio.Condition()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Add what it serves to a server."""
        super().add_to(server)
        if self.has_health:
            health_pb2_grpc.add_HealthServicer_to_server(self, server)
        policy_service_pb2_grpc.add_PolicyServiceServicer_to_server(self, server)
        topology_service_pb2_grpc.add_TopologyServiceServicer_to_server(self, server)

    async def set_health(self, health: int) -> None:
        """Say how it fares."""
        async with self._changed:
            self._health = health
            self._changed.notify_all()

    async def wait_unwatched(self, *, timeout_s: float) -> None:
        """Wait until nobody watches its health."""
        async with asyncio.timeout(timeout_s):
            await self._unwatched.wait()

    async def set_route(self, route: topology_pb2.Route) -> None:
        """Say where callers may go."""
        async with self._changed:
            self.route = route
            self._changed.notify_all()

    async def Watch(self, request: Any, context: Context) -> AsyncIterator[Any]:
        said: int | None = None
        self.watchers += 1
        self._unwatched.clear()
        try:
            while True:
                async with self._changed:
                    while said == self._health:
                        await self._changed.wait()
                    said = self._health
                yield health_pb2.HealthCheckResponse(status=said)
        finally:
            self.watchers -= 1
            if not self.watchers:
                self._unwatched.set()

    async def Check(self, request: Any, context: Context) -> Any:
        return health_pb2.HealthCheckResponse(status=self._health)

    async def WatchRoute(
        self, request: topology_service_pb2.WatchRouteRequest, context: Context
    ) -> AsyncIterator[topology_service_pb2.WatchRouteResponse]:
        self.watched_routes.append(request)
        if self.act is not None:
            await self.act(context)
        said: topology_pb2.Route | None = None
        while True:
            async with self._changed:
                while said == self.route:
                    await self._changed.wait()
                said = self.route
            yield topology_service_pb2.WatchRouteResponse(route=said)

    async def Evaluate(
        self, request: evaluate_service_pb2.EvaluateRequest, context: Context
    ) -> evaluate_service_pb2.EvaluateResponse:
        await self._take(request, context)
        decision = decision_pb2.Decision(
            outcome=decision_pb2.OUTCOME_ALLOW, decision_id="scripted", node=self.name
        )
        return evaluate_service_pb2.EvaluateResponse(decision=decision)

    async def Search(
        self, request: evaluate_service_pb2.SearchRequest, context: Context
    ) -> evaluate_service_pb2.SearchResponse:
        await self._take(request, context)
        page = int(request.page_token.rpartition("-")[2] or 0)
        hit = evaluate_service_pb2.SearchHit()
        hit.uid.type, hit.uid.id = "Node", self.name
        hit.outcome = decision_pb2.OUTCOME_ALLOW
        return evaluate_service_pb2.SearchResponse(
            hits=[hit], next_page_token=f"{self.name}-{page + 1}" if page < 5 else ""
        )

    async def Publish(
        self, request: policy_service_pb2.PublishRequest, context: Context
    ) -> policy_service_pb2.PublishResponse:
        self.publishes.append(request)
        await self._take(request, context)
        return policy_service_pb2.PublishResponse(revision=7)

    async def _take(self, request: Message, context: Context) -> None:
        self.requests.append(request)
        if self.act is not None:
            await self.act(context)


@asynccontextmanager
async def fleet(count: int = 3, *, has_health: bool = True) -> AsyncIterator[list[FleetNode]]:
    """Run so many servers, `node-0` and so on, for the length of the block."""
    async with AsyncExitStack() as stack:
        nodes = [
            # What it does not serve is unimplemented.
            FleetNode(f"node-{number}", has_health=has_health)  # type: ignore[abstract]
            for number in range(count)
        ]
        for node in nodes:
            await node.start()
            stack.push_async_callback(node.kill)
        yield nodes


def addresses(nodes: Sequence[FleetNode]) -> str:
    return ",".join(node.address for node in nodes)


def in_regions(**nodes: Sequence[FleetNode]) -> list[placet.Endpoint]:
    """Return endpoints, each in the region it is named by."""
    return [
        placet.Endpoint(node.address, region=region.replace("_", "-"))
        for region, its in nodes.items()
        for node in its
    ]


def route(**nodes: Sequence[FleetNode]) -> topology_pb2.Route:
    """Write a route through regions in an order."""
    return topology_pb2.Route(
        tenant="acme",
        regions=[
            topology_pb2.RouteRegion(
                region=region.replace("_", "-"),
                endpoints=[
                    topology_pb2.Endpoint(node=node.name, address=node.address, weight=100)
                    for node in its
                ],
            )
            for region, its in nodes.items()
        ],
    )


def refuses(code: grpc.StatusCode, reason: str, *details: Message) -> Act:
    """Refuse every call."""
    return fail(code, reason.lower(), info(reason), *details)


def overloaded() -> Act:
    """Refuse as a node does that has too much to do."""
    delay = duration_pb2.Duration()
    delay.FromTimedelta(timedelta(seconds=1))
    retry = error_details_pb2.RetryInfo(retry_delay=delay)
    return refuses(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", retry)


def elsewhere(led_to: topology_pb2.Route) -> Act:
    """Refuse as a node does that may not serve the tenant."""
    refusal = topology_pb2.ResidencyRefusal(region="us-east", route=led_to)
    return refuses(grpc.StatusCode.FAILED_PRECONDITION, "WRONG_REGION", refusal)


async def hang(context: Context) -> None:
    """Answer nothing."""
    await asyncio.Event().wait()
