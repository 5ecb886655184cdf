"""The ways a decision can be asked for, so that tests can ask each the same.

All go over real gRPC to a running node, but for `local`, which decides in
this process by policies that came over it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import placet
from placet.local.aio import LocalEvaluator
from placet_engine import model
from placet_engine.changes import ChangeSet
from placet_engine.items import PLATFORM, Content, Policy
from placet_server.app import Node
from placet_server.testing import running_server

TIMEOUT_S = 30.0

Answer = placet.Decision | str
"""A decision without what differs from call to call, or why there is none."""

Asking = Callable[["Ways", Sequence[placet.Request]], Awaitable[list[Answer]]]


@dataclass(frozen=True, slots=True)
class Ways:
    """A tenant on a running node, and what asks it."""

    node: Node
    client: placet.aio.Client
    local: LocalEvaluator

    async def unary(self, requests: Sequence[placet.Request]) -> list[Answer]:
        """Ask one by one."""
        return [await _answer(_asked(self.client, request)) for request in requests]

    async def batch(self, requests: Sequence[placet.Request]) -> list[Answer]:
        """Ask all at once."""
        results = await self.client.evaluate_batch(requests, timeout_s=TIMEOUT_S)
        return [bare(result) for result in results]

    async def stream(self, requests: Sequence[placet.Request]) -> list[Answer]:
        """Ask on one stream."""
        numbered = ((str(number), request) for number, request in enumerate(requests))
        answers = {}
        async for number, result in self.client.evaluate_stream(numbered):
            answers[int(number)] = bare(result)
        return [answers[number] for number in range(len(requests))]

    async def locally(self, requests: Sequence[placet.Request]) -> list[Answer]:
        """Decide in this process."""
        return [await _answer(_asked(self.local, request)) for request in requests]

    async def cached(self, requests: Sequence[placet.Request]) -> list[Answer]:
        """Ask twice; the second answer has to come from the cache."""
        await self.unary(requests)
        answers: list[Answer] = []
        for request in requests:
            try:
                decision = await _asked(self.client, request)
            except placet.PlacetError as error:
                answers.append(error.reason)
            else:
                assert decision.cached
                answers.append(bare(decision))
        return answers


WAYS: Mapping[str, Asking] = {
    "unary": Ways.unary,
    "batch": Ways.batch,
    "stream": Ways.stream,
    "local": Ways.locally,
    "cached": Ways.cached,
}


@asynccontextmanager
async def running_ways(
    tenant: str, own: Iterable[Content], platform: Iterable[Content] = ()
) -> AsyncIterator[Ways]:
    """Run a node, publish for a tenant and the platform, and get ready to ask."""
    async with running_server() as node, follow_ways(node, tenant, own, platform) as ways:
        yield ways


@asynccontextmanager
async def follow_ways(
    node: Node,
    tenant: str,
    own: Iterable[Content],
    platform: Iterable[Content] = (),
    *,
    at: Node | None = None,
) -> AsyncIterator[Ways]:
    """Publish on a running node, and get ready to ask it, or another that follows it."""
    owners = ((PLATFORM, tuple(platform)), (tenant, tuple(own)), ("bystander", _BYSTANDERS))
    for owner, bodies in owners:
        if bodies:
            await node.publisher.publish(owner, ChangeSet(upserts=bodies), timeout_s=TIMEOUT_S)
    asked = at or node
    await asked.active.wait_for(node.active.revision, TIMEOUT_S)
    async with (
        placet.aio.Client(asked.address, tenant=tenant, timeout_s=TIMEOUT_S) as client,
        LocalEvaluator(asked.address, tenant=tenant) as local,
    ):
        await local.wait_ready(timeout_s=TIMEOUT_S)
        yield Ways(asked, client, local)


# Moves the store's revision away from the tenant's, which is the one that decides.
_BYSTANDERS = (Policy(id="p", cedar="permit(principal, action, resource);"),)


async def _answer(asking: Awaitable[placet.Decision]) -> Answer:
    try:
        return bare(await asking)
    except placet.PlacetError as error:
        return error.reason


def bare(result: placet.Decision | placet.DecisionError) -> Answer:
    """Return an answer without what differs from call to call."""
    if isinstance(result, placet.DecisionError):
        return result.reason
    return replace(result, decision_id="", staleness=timedelta(), cached=False, node="", region="")


async def _asked(
    decider: placet.aio.Client | LocalEvaluator, request: placet.Request
) -> placet.Decision:
    assert request.subject is not None
    assert request.action is not None
    assert request.resource is not None
    return await decider.evaluate(
        request.subject,
        request.action,
        request.resource,
        request.context,
        entities=request.entities,
    )


# -------------------------------------------------------- the engine's words in the SDK's


def to_sdk(request: model.Request) -> placet.Request:
    """Return a request of the engine as a caller would write it."""
    return placet.Request(
        subject=placet.EntityRef(request.subject.type, request.subject.id),
        action=placet.Action(request.action.id, request.action.type),
        resource=placet.EntityRef(request.resource.type, request.resource.id),
        context=_values(request.context),
        entities=tuple(
            placet.Entity(
                uid=placet.EntityRef(entity.uid.type, entity.uid.id),
                attributes=_values(entity.attributes),
                parents=tuple(placet.EntityRef(uid.type, uid.id) for uid in entity.parents),
                tags=_values(entity.tags),
            )
            for entity in request.entities
        ),
    )


def _values(attributes: model.Attributes) -> dict[str, placet.Value]:
    return {name: _value(value) for name, value in attributes.items()}


def _value(value: model.Value) -> placet.Value:
    match value:
        case {"__entity": {"type": str(kind), "id": str(id_)}}:
            return placet.EntityRef(kind, id_)
        case {"__extn": {"fn": str(function), "arg": str(argument)}}:
            return placet.Extension(function, argument)
        case Mapping():
            return _values(value)
        case list() | tuple():
            return [_value(element) for element in value]
        case _:
            return value
