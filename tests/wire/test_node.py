"""NodeService as its callers see it: the statistics are what requests did."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest

from placet.v1 import evaluate_service_pb2 as evaluate_pb2
from placet.v1 import node_service_pb2 as node_pb2
from placet_engine.cache import ENTRY_BYTES, DecisionCache
from placet_server.api.node import NodeService
from placet_server.config import CacheConfig
from placet_server.decisions.decider import Decided
from placet_server.policies.active import ActivePolicies
from placet_server.testing import ManualClock
from tests.wire.details import info, violated_fields
from tests.wire.service import TENANT, TIMEOUT_S, Service, policy, request, running_service

START = datetime.datetime(2026, 5, 1, 12, tzinfo=datetime.UTC)
CACHE = CacheConfig(max_bytes=1_000_000, ttl_s=90.0)

_MFA = policy(
    "mfa",
    """
    permit(principal, action, resource)
    when { context.mfa || (context has level && context.level > 2) };
    """,
)


@pytest.fixture(name="clock")
def clock_fixture() -> ManualClock:
    return ManualClock(START)


@pytest.fixture(name="service")
async def service_fixture(clock: ManualClock) -> AsyncIterator[Service]:
    async with running_service(clock=clock, cache=CACHE) as service:
        for tenant in (TENANT, "other", "silent"):
            await service.publish(_MFA, tenant=tenant)
        yield service


async def _ask(service: Service, **context: Any) -> bool:
    """Ask for a decision; return whether it came from the cache."""
    answer = await service.evaluate.Evaluate(request(context=context), timeout=TIMEOUT_S)
    return answer.decision.cached


async def _ask_for(service: Service, tenant: str, *levels: int) -> None:
    for level in levels:
        message = request(tenant=tenant, context={"mfa": False, "level": level})
        await service.evaluate.Evaluate(message, timeout=TIMEOUT_S)


async def _statistics(service: Service, **fields: Any) -> node_pb2.GetCacheStatisticsResponse:
    return await service.nodes.GetCacheStatistics(
        node_pb2.GetCacheStatisticsRequest(**fields), timeout=TIMEOUT_S
    )


def _counts(statistics: node_pb2.CacheStatistics) -> tuple[int, int, int, int]:
    """Return misses, hits, exact hits and entries."""
    return (statistics.misses, statistics.hits, statistics.exact_hits, statistics.entries)


async def test_a_node_nobody_asked_says_what_it_is_and_counts_nothing(service: Service) -> None:
    answer = await _statistics(service)

    assert ("test-node", "local") == (answer.node, answer.region)
    assert (1_000_000, 90) == (answer.max_bytes, answer.ttl.ToTimedelta().total_seconds())
    assert START == answer.start_time.ToDatetime(datetime.UTC)
    assert answer.HasField("total")
    assert node_pb2.CacheStatistics() == answer.total
    assert ([], 0) == (list(answer.tenants), answer.tenant_count)


async def test_each_request_is_counted_as_what_it_was(service: Service) -> None:
    assert not await _ask(service, mfa=True, trace="a")
    assert (1, 0, 0, 1) == _counts((await _statistics(service)).total)

    # What policies read of it came before: answered, and the request itself remembered.
    assert await _ask(service, mfa=True, trace="b")
    assert (1, 1, 0, 2) == _counts((await _statistics(service)).total)

    assert await _ask(service, mfa=True, trace="b")
    assert (1, 2, 1, 2) == _counts((await _statistics(service)).total)

    assert not await _ask(service, mfa=False, trace="b")
    total = (await _statistics(service)).total
    assert (2, 2, 1, 3) == _counts(total)
    assert total.entries * ENTRY_BYTES < total.bytes < CACHE.max_bytes


async def test_items_of_a_batch_count_like_requests(service: Service) -> None:
    items = [
        evaluate_pb2.BatchItem(resource=evaluate_pb2.Resource(type="Document", id=id_))
        for id_ in ("one", "two", "three")
    ]
    common = request(context={"mfa": True})
    batch = evaluate_pb2.EvaluateBatchRequest(
        tenant=TENANT,
        subject=common.subject,
        action=common.action,
        context=common.context,
        items=items,
    )
    first = await service.evaluate.EvaluateBatch(batch, timeout=TIMEOUT_S)
    misses = (await _statistics(service)).total.misses
    second = await service.evaluate.EvaluateBatch(batch, timeout=TIMEOUT_S)
    total = (await _statistics(service)).total

    cached = [
        sum(result.decision.cached for result in response.results) for response in (first, second)
    ]
    assert [0, 3] == cached
    assert misses == total.misses
    assert 3 == total.hits


async def test_what_passes_the_cache_by_is_not_counted(service: Service) -> None:
    await service.evaluate.Explain(
        evaluate_pb2.ExplainRequest(request=request()), timeout=TIMEOUT_S
    )
    with pytest.raises(grpc.aio.AioRpcError):
        await service.evaluate.Evaluate(request("User::"), timeout=TIMEOUT_S)

    assert node_pb2.CacheStatistics() == (await _statistics(service)).total


async def test_tenants_are_told_apart_those_with_most_bytes_first(service: Service) -> None:
    await _ask_for(service, TENANT, 1)
    await _ask_for(service, "other", 1, 2, 3, 3)

    answer = await _statistics(service)

    assert ["other", TENANT] == [part.tenant for part in answer.tenants]
    other, mine = (part.statistics for part in answer.tenants)
    assert (3, 1, 0) == (other.misses, other.hits, other.exact_hits)
    assert (1, 0, 0, 1) == _counts(mine)
    assert answer.total.bytes == other.bytes + mine.bytes
    assert (4, 1, 2) == (answer.total.misses, answer.total.hits, answer.tenant_count)


async def test_equal_tenants_are_in_order_of_name(service: Service) -> None:
    for tenant in ("other", TENANT):
        await _ask_for(service, tenant, 1)

    answer = await _statistics(service)

    assert [TENANT, "other"] == [part.tenant for part in answer.tenants]


@pytest.mark.parametrize(("max_tenants", "listed"), [(0, []), (1, ["other"]), (1000, None)])
async def test_as_many_tenants_are_listed_as_asked_for(
    service: Service, max_tenants: int, listed: list[str] | None
) -> None:
    await _ask_for(service, TENANT, 1)
    await _ask_for(service, "other", 1, 2)

    answer = await _statistics(service, max_tenants=max_tenants)

    expected = ["other", TENANT] if listed is None else listed
    assert expected == [part.tenant for part in answer.tenants]
    assert (3, 2) == (answer.total.misses, answer.tenant_count)


async def test_twenty_tenants_are_listed_unless_asked_otherwise(service: Service) -> None:
    for number in range(21):
        await service.publish(_MFA, tenant=f"t{number}")
        await _ask_for(service, f"t{number}", 1)

    answer = await _statistics(service)

    assert (20, 21, 21) == (len(answer.tenants), answer.tenant_count, answer.total.misses)


async def test_counting_many_tenants_lets_others_in_between() -> None:
    cache: DecisionCache[Decided] = DecisionCache(max_bytes=1, ttl_s=1.0, monotonic=lambda: 0.0)
    for number in range(1000):
        cache.of(f"t{number}").misses = 1
    clock = ManualClock(START)
    nodes = NodeService(
        cache=cache,
        active=ActivePolicies(clock),
        plane=cast("Any", None),
        node="n",
        region="r",
        start_time=START,
    )
    request_ = node_pb2.GetCacheStatisticsRequest(max_tenants=1000)
    counting = asyncio.ensure_future(nodes.GetCacheStatistics(request_, cast("Any", None)))

    turns = 0
    while not counting.done():
        await asyncio.sleep(0)
        turns += 1
        # One that comes meanwhile is no trouble.
        cache.of("new")

    assert turns >= 5
    assert (1000, 1000) == (counting.result().total.misses, len(counting.result().tenants))


async def test_one_tenant_is_listed_when_it_is_named(service: Service) -> None:
    await _ask_for(service, TENANT, 1)
    await _ask_for(service, "other", 1, 2)

    mine = await _statistics(service, tenant=TENANT)
    silent = await _statistics(service, tenant="silent", max_tenants=0)

    assert [(TENANT, 1)] == [(part.tenant, part.statistics.misses) for part in mine.tenants]
    assert 3 == mine.total.misses
    assert [("silent", node_pb2.CacheStatistics())] == [
        (part.tenant, part.statistics) for part in silent.tenants
    ]
    # To be asked about is not to be asked.
    assert 2 == silent.tenant_count


async def test_what_is_too_old_is_no_entry_any_more(service: Service, clock: ManualClock) -> None:
    await _ask(service, mfa=True)
    clock.advance(CACHE.ttl_s + 1)

    total = (await _statistics(service)).total

    assert (1, 0, 0, 0) == _counts(total)
    assert (0, 0) == (total.bytes, total.evictions)


@pytest.mark.parametrize(
    ("fields", "violated"),
    [
        ({"max_tenants": -1}, "max_tenants"),
        ({"max_tenants": 1001}, "max_tenants"),
        ({"tenant": "a b"}, "tenant"),
    ],
)
async def test_bad_input_is_refused(
    service: Service, fields: dict[str, Any], violated: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _statistics(service, **fields)

    assert grpc.StatusCode.INVALID_ARGUMENT is caught.value.code()
    assert {violated} == violated_fields(caught.value)


async def test_a_tenant_nobody_published_for_is_not_found(service: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _statistics(service, tenant="nobody")

    assert grpc.StatusCode.NOT_FOUND is caught.value.code()
    assert "TENANT_UNKNOWN" == info(caught.value).reason
