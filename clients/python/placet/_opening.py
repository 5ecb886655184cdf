"""Opening streams of a policy set: what is asked for, and over which connection."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import grpc
import grpc.aio

from placet._channel import Destination
from placet._following import OpenStream, Stream
from placet._mirror import ItemReader, ItemT
from placet._policies import ItemKind
from placet._publishing import kind_to_wire
from placet._requests import tenant_to_wire
from placet._subscription import FollowOptions, Subscription
from placet._values import text_to_wire
from placet.v1 import subscribe_service_pb2, subscribe_service_pb2_grpc


def subscribe_request(
    tenant: str | None,
    *,
    policy_ids: Iterable[str] = (),
    kinds: Iterable[ItemKind] = (),
    subscriber: str = "",
    region: str = "",
) -> subscribe_service_pb2.SubscribeRequest:
    """Return what to follow as a message."""
    kinds_ = [kind_to_wire(kind) for kind in kinds]
    return subscribe_service_pb2.SubscribeRequest(
        tenant=tenant_to_wire(tenant),
        filter=subscribe_service_pb2.SubscribeFilter(
            policy_ids=[text_to_wire(id_, "policy_ids") for id_ in policy_ids], kinds=kinds_
        ),
        subscriber=text_to_wire(subscriber, "subscriber"),
        region=text_to_wire(region, "region"),
    )


def opener(
    channel: grpc.aio.Channel, request: subscribe_service_pb2.SubscribeRequest
) -> OpenStream:
    """Return what opens streams for a request on a channel."""
    stub = subscribe_service_pb2_grpc.SubscribeServiceStub(channel)

    def open_stream(cursor: bytes) -> Stream:
        resumed = subscribe_service_pb2.SubscribeRequest()
        resumed.CopyFrom(request)
        resumed.cursor = cursor
        # No deadline: silence ends the stream, not time.
        return stub.Subscribe(resumed)

    return open_stream


@asynccontextmanager
async def following(
    destination: Destination,
    request: subscribe_service_pb2.SubscribeRequest,
    reader: ItemReader[ItemT],
    options: FollowOptions,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Subscription[ItemT]]:
    """Follow a policy set over a connection of its own, closed at the end."""
    channel = destination.open_aio()
    try:
        async with Subscription(
            opener(channel, request),
            reader,
            options,
            has_others=destination.is_balanced,
            clock=clock,
        ) as subscription:
            yield subscription
    finally:
        await channel.close()
