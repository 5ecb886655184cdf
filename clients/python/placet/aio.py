"""The client for asyncio: ``placet.aio.Client``, with the methods of ``placet.Client``.

What they do, take and raise is said there. ``evaluate_stream``, ``search``, ``list_items``,
``history``, ``list_rollouts``, ``tenants`` and what begins with ``watch_`` are async iterators;
everything that acts is awaited.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from functools import cached_property
from types import TracebackType
from typing import Self, cast
from weakref import WeakSet

import grpc
import grpc.aio

from placet import _convert as convert
from placet import _requests as building
from placet._balancing.aio_channel import BalancedAioChannel
from placet._balancing.endpoints import EndpointStatistics
from placet._balancing.options import Balancing
from placet._callers import caller_metadata
from placet._calls import Defaults, call_aio, pages_aio
from placet._channel import ChannelOptions, Destination, Dialing, Target
from placet._credentials import Credentials
from placet._decisions import Decision, Explanation, SearchHit
from placet._enforcing import AsyncEnforcement
from placet._errors import DeadlineExceeded, DecisionError
from placet._freshness import StateChange
from placet._managing import AsyncManagement
from placet._mirror import ITEMS
from placet._opening import opener, subscribe_request
from placet._operating import AsyncOperations
from placet._overseeing import AsyncOversight
from placet._placing import AsyncPlacements
from placet._policies import Item, ItemKind
from placet._requests import (
    ActionLike,
    AnyOf,
    BatchSemantics,
    Request,
    ResourceLike,
    SubjectLike,
)
from placet._rolling import AsyncRollouts
from placet._streaming import builder, evaluate_in_tasks
from placet._subscription import FollowOptions, Subscription
from placet._values import Attributes, Entity
from placet.v1 import (
    evaluate_service_pb2,
    evaluate_service_pb2_grpc,
    node_service_pb2_grpc,
    policy_service_pb2_grpc,
    rollout_service_pb2_grpc,
    topology_service_pb2_grpc,
)

__all__ = ["Client", "Subscription"]


class Client(
    AsyncEnforcement,
    AsyncManagement,
    AsyncOperations,
    AsyncOversight,
    AsyncPlacements,
    AsyncRollouts,
):
    """Asks a Placet server for decisions, and manages policies there. For one event loop."""

    def __init__(
        self,
        target: Target,
        *,
        tenant: str | None = None,
        timeout_s: float = 1.0,
        management_timeout_s: float = 30.0,
        actor: str = "",
        groups: Iterable[str] = (),
        balancing: Balancing | None = None,
        credentials: grpc.ChannelCredentials | Credentials | None = None,
        options: ChannelOptions = (),
    ) -> None:
        """Prepare to talk to a server; the first call connects. See ``placet.Client``."""
        self._defaults = Defaults(
            tenant=tenant, timeout_s=timeout_s, management_timeout_s=management_timeout_s
        )
        dialing = Dialing(credentials, tuple(options), caller_metadata(actor, groups))
        self._destination = Destination(target, dialing, balancing=balancing, tenant=tenant)
        self._subscriptions: WeakSet[Subscription[Item]] = WeakSet()

    # A channel belongs to the event loop it was opened in, and clients may be made outside
    # of any: hence the opening at first use.

    @cached_property
    def _balanced(self) -> BalancedAioChannel | None:
        return self._destination.open_balanced_aio() if self._destination.is_balanced else None

    @cached_property
    def _channel(self) -> grpc.aio.Channel:
        if self._balanced is not None:
            return cast("grpc.aio.Channel", self._balanced)
        return self._destination.open_aio()

    @cached_property
    def _deciding(self) -> evaluate_service_pb2_grpc.EvaluateServiceAsyncStub:
        return evaluate_service_pb2_grpc.EvaluateServiceStub(self._channel)

    @cached_property
    def _managing(self) -> policy_service_pb2_grpc.PolicyServiceAsyncStub:
        return policy_service_pb2_grpc.PolicyServiceStub(self._channel)

    @cached_property
    def _operating(self) -> node_service_pb2_grpc.NodeServiceAsyncStub:
        return node_service_pb2_grpc.NodeServiceStub(self._channel)

    @cached_property
    def _rolling(self) -> rollout_service_pb2_grpc.RolloutServiceAsyncStub:
        return rollout_service_pb2_grpc.RolloutServiceStub(self._channel)

    @cached_property
    def _placing(self) -> topology_service_pb2_grpc.TopologyServiceAsyncStub:
        return topology_service_pb2_grpc.TopologyServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the subscriptions, and the connection."""
        # Closing a channel does not end its streams.
        for subscription in tuple(self._subscriptions):
            await subscription.aclose()
        # Whoever was asked for statistics only has made one too.
        if {"_channel", "_balanced"} & self.__dict__.keys():
            await self._channel.close()

    def endpoints(self) -> tuple[EndpointStatistics, ...]:
        """Return what can be seen of each endpoint; nothing where there is one plain target."""
        # Before the first call there may be no event loop to watch from.
        balanced = self.__dict__.get("_balanced")
        return balanced.statistics() if balanced is not None else ()

    async def wait_ready(self, *, timeout_s: float = 10.0) -> None:
        """Connect now, and wait until a server can answer."""
        if self._balanced is not None:
            await self._balanced.wait_ready(timeout_s)
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._channel.channel_ready()
        except TimeoutError as error:
            raise DeadlineExceeded(f"no server can be reached after {timeout_s:g} s") from error

    async def evaluate(
        self,
        subject: SubjectLike,
        action: ActionLike,
        resource: ResourceLike,
        context: Attributes | None = None,
        *,
        tenant: str | None = None,
        entities: Iterable[Entity] = (),
        permit: str = "",
        min_revision: int = 0,
        timeout_s: float | None = None,
    ) -> Decision:
        """Ask whether a subject may do an action on a resource."""
        request = building.evaluate_request(
            self._defaults.tenant_or(tenant),
            subject,
            action,
            resource,
            context,
            entities=entities,
            permit=permit,
            min_revision=min_revision,
        )
        response = await call_aio(
            self._deciding.Evaluate, request, self._defaults.deciding_s(timeout_s)
        )
        return convert.decision(response.decision)

    async def evaluate_batch(
        self,
        items: Iterable[Request],
        *,
        subject: SubjectLike | None = None,
        action: ActionLike | None = None,
        resource: ResourceLike | None = None,
        context: Attributes | None = None,
        entities: Iterable[Entity] = (),
        semantics: BatchSemantics = BatchSemantics.EXECUTE_ALL,
        tenant: str | None = None,
        min_revision: int = 0,
        timeout_s: float | None = None,
    ) -> list[Decision | DecisionError]:
        """Ask up to 1,000 questions at once, decided by one revision."""
        request = building.batch_request(
            self._defaults.tenant_or(tenant),
            items,
            subject=subject,
            action=action,
            resource=resource,
            context=context,
            entities=entities,
            semantics=semantics,
            min_revision=min_revision,
        )
        response = await call_aio(
            self._deciding.EvaluateBatch, request, self._defaults.deciding_s(timeout_s)
        )
        return convert.results(response.results)

    def evaluate_stream(
        self,
        requests: AsyncIterable[tuple[str, Request]] | Iterable[tuple[str, Request]],
        *,
        tenant: str | None = None,
        min_revision: int = 0,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[tuple[str, Decision | DecisionError], None]:
        """Ask over one call, and get answers as they are decided, in any order."""
        return evaluate_in_tasks(
            self._deciding.EvaluateStream,
            requests,
            builder(self._defaults.tenant_or(tenant), min_revision=min_revision),
            timeout_s=self._defaults.deciding_s(timeout_s),
        )

    async def explain(
        self,
        subject: SubjectLike,
        action: ActionLike,
        resource: ResourceLike,
        context: Attributes | None = None,
        *,
        tenant: str | None = None,
        entities: Iterable[Entity] = (),
        permit: str = "",
        min_revision: int = 0,
        timeout_s: float | None = None,
    ) -> Explanation:
        """Ask, and get the work behind the decision: for people, not for enforcement."""
        request = building.evaluate_request(
            self._defaults.tenant_or(tenant),
            subject,
            action,
            resource,
            context,
            entities=entities,
            permit=permit,
            min_revision=min_revision,
        )
        response = await call_aio(
            self._deciding.Explain,
            evaluate_service_pb2.ExplainRequest(request=request),
            self._defaults.deciding_s(timeout_s),
        )
        return convert.explanation(response)

    async def search(
        self,
        subject: SubjectLike | AnyOf,
        action: ActionLike | AnyOf,
        resource: ResourceLike | AnyOf,
        context: Attributes | None = None,
        *,
        tenant: str | None = None,
        entities: Iterable[Entity] = (),
        min_revision: int = 0,
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> AsyncIterator[SearchHit]:
        """List the stored subjects, resources or actions for which the request is allowed."""
        request = building.search_request(
            self._defaults.tenant_or(tenant),
            subject,
            action,
            resource,
            context,
            entities=entities,
            min_revision=min_revision,
            page_size=page_size,
        )
        async for page in pages_aio(
            self._deciding.Search, request, self._defaults.deciding_s(timeout_s)
        ):
            for hit in page.hits:
                yield convert.search_hit(hit)

    def subscribe(
        self,
        *,
        tenant: str | None = None,
        policy_ids: Iterable[str] = (),
        kinds: Iterable[ItemKind] = (),
        subscriber: str = "",
        region: str = "",
        stale_after_s: float = 15.0,
        on_state_change: Callable[[StateChange], None] | None = None,
    ) -> Subscription[Item]:
        """Follow a tenant's policies as they change; use what is returned in ``async with``."""
        request = subscribe_request(
            self._defaults.tenant_or(tenant),
            policy_ids=policy_ids,
            kinds=kinds,
            subscriber=subscriber,
            region=region,
        )
        options = FollowOptions(stale_after_s=stale_after_s, on_state_change=on_state_change)
        subscription = Subscription(
            opener(self._channel, request),
            ITEMS,
            options,
            has_others=self._destination.is_balanced,
        )
        self._subscriptions.add(subscription)
        return subscription
