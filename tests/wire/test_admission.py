"""Calls for which there is no room, over real gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

import placet.aio
from placet.v1 import evaluate_service_pb2 as evaluate_pb2
from placet.v1 import policy_service_pb2
from placet_server.admission.control import AdmissionControl, Limits, Reason
from placet_server.api.admitting import AdmissionInterceptor
from placet_server.api.probe import Prober
from placet_server.config import LimitsConfig
from placet_server.errors import DeadlinePassed
from tests.wire.details import details, info
from tests.wire.service import TENANT, TIMEOUT_S, Service, policy, request, running_service

# Reached only when something is wrong: a busy machine may take its time.
_PATIENCE_S = 60.0

_EVERYTHING = policy("p", "permit(principal, action, resource);")


@asynccontextmanager
async def _service(*tenants: str, limits: LimitsConfig) -> AsyncIterator[Service]:
    async with running_service(limits=limits) as service:
        for tenant in tenants or (TENANT,):
            await service.publish(_EVERYTHING, tenant=tenant)
        yield service


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while not holds():  # noqa: ASYNC110  # what happens in the server gives no event
            await asyncio.sleep(0)


@asynccontextmanager
async def _full(service: Service) -> AsyncIterator[None]:
    """Have one call in work: it waits for a revision that does not come."""
    call = service.evaluate.Evaluate(request(min_revision=99), timeout=TIMEOUT_S)
    await _until(lambda: service.node.admission.statistics().in_work == 1)
    try:
        yield
    finally:
        call.cancel()


async def test_a_refusal_says_why_and_when_to_come_back() -> None:
    async with _service(limits=LimitsConfig(max_calls=1)) as service, _full(service):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)

    (retry,) = details(refused.value, error_details_pb2.RetryInfo)
    assert grpc.StatusCode.RESOURCE_EXHAUSTED is refused.value.code()
    assert ("OVERLOADED", "placet.dev") == (
        info(refused.value).reason,
        info(refused.value).domain,
    )
    assert 0.2 <= retry.retry_delay.ToTimedelta().total_seconds() <= 0.31
    assert "try again in" in (refused.value.details() or "")


async def test_the_sdk_says_when_to_come_back() -> None:
    async with (
        _service(limits=LimitsConfig(max_calls=1)) as service,
        placet.aio.Client(service.node.address, tenant=TENANT) as client,
        _full(service),
    ):
        with pytest.raises(placet.ResourceExhausted) as refused:
            await client.evaluate(("User", "alice"), "view", ("Document", "one"))

    assert "OVERLOADED" == refused.value.reason
    assert refused.value.retry_after is not None
    assert 0.2 <= refused.value.retry_after.total_seconds() <= 0.31


async def test_health_and_management_are_answered_when_decisions_are_refused() -> None:
    async with _service(limits=LimitsConfig(max_calls=1)) as service, _full(service):
        stub: Any = health_pb2_grpc.HealthStub(service.channel)
        health = await stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        listed = await service.policy.List(
            policy_service_pb2.ListRequest(tenant=TENANT), timeout=TIMEOUT_S
        )

    assert health_pb2.HealthCheckResponse.SERVING == health.status
    assert 1 == len(listed.items)


def _stall(seconds: float) -> None:
    """Keep the event loop from doing anything."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


async def test_a_call_whose_deadline_has_passed_is_no_work() -> None:
    async with _service(limits=LimitsConfig()) as service:
        admission = service.node.admission
        await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)
        before = admission.statistics().admitted
        calls = [service.evaluate.Evaluate(request(), timeout=0.05) for _ in range(20)]
        _stall(0.2)
        answers = await asyncio.gather(*calls, return_exceptions=True)
        await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)

    codes = {answer.code() for answer in answers if isinstance(answer, grpc.aio.AioRpcError)}
    assert {grpc.StatusCode.DEADLINE_EXCEEDED} == codes
    assert before + 1 == admission.statistics().admitted


class _TooLate:
    """The context of a call that gRPC did not cancel although its deadline has passed."""

    def time_remaining(self) -> float:
        return 0.0


async def test_a_call_that_is_late_is_counted_and_takes_nothing_of_its_tenant() -> None:
    control = AdmissionControl(Limits(tenant_decisions_per_second=1), time.monotonic)
    interceptor: Any = AdmissionInterceptor(control, Prober(control))

    async def next_one(details: object) -> object:
        async def late(request: object, context: object) -> None:
            raise DeadlinePassed

        return grpc.unary_unary_rpc_method_handler(late)

    details = SimpleNamespace(method="/placet.v1.EvaluateService/Evaluate", invocation_metadata=())
    handler = await interceptor.intercept_service(next_one, details)
    for _ in range(3):
        with pytest.raises(DeadlinePassed):
            await handler.unary_unary(request(), _TooLate())

    assert (3, 0, 0) == (
        control.statistics().expired,
        control.statistics().admitted,
        control.statistics().tenants,
    )


async def test_one_tenant_s_rate_is_not_another_s() -> None:
    limits = LimitsConfig(tenant_decisions_per_second=20)
    async with _service("flood", "small", limits=limits) as service:
        flood = asyncio.gather(
            *(
                service.evaluate.Evaluate(request(tenant="flood"), timeout=TIMEOUT_S)
                for _ in range(200)
            ),
            return_exceptions=True,
        )
        small = [
            await service.evaluate.Evaluate(request(tenant="small"), timeout=TIMEOUT_S)
            for _ in range(20)
        ]
        refused = [one for one in await flood if isinstance(one, grpc.aio.AioRpcError)]

    assert 20 == len(small)
    assert 200 - 20 - 40 < len(refused) <= 180
    assert "TENANT_LIMIT" == info(refused[0]).reason
    assert "flood" == info(refused[0]).metadata["tenant"]
    assert details(refused[0], error_details_pb2.RetryInfo)


async def test_a_flood_is_shed_and_a_small_tenant_is_not() -> None:
    limits = LimitsConfig(target_wait_s=0.002)
    async with _service("flood", "small", limits=limits) as service, _flood(service, 150):
        statistics = service.node.admission.statistics
        await _until(lambda: statistics().refused[Reason.OVERLOADED] >= 200)
        before = statistics().refused[Reason.OVERLOADED]
        # How long a call takes is the machine's affair here, whether it is taken is not.
        async with placet.aio.Client(
            service.node.address, tenant="small", timeout_s=_PATIENCE_S
        ) as client:
            answers = []
            for _ in range(30):
                # It asks for one in four: a machine that gets little done makes it no large one.
                given = statistics().admitted
                await _until(lambda given=given: statistics().admitted >= given + 3)  # type: ignore[misc]
                answers.append(
                    await client.evaluate(("User", "alice"), "view", ("Document", "one"))
                )
        shed = statistics().refused[Reason.OVERLOADED]

    assert 30 == len(answers)
    assert shed > before


@asynccontextmanager
async def _flood(service: Service, callers: int) -> AsyncIterator[None]:
    """Have callers ask again and again, however the block ends."""
    is_over = False

    async def ask_on() -> None:
        while not is_over:
            call = service.evaluate.Evaluate(request(tenant="flood"), timeout=_PATIENCE_S)
            await asyncio.gather(call, return_exceptions=True)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(callers):
            tasks.create_task(ask_on())
        try:
            yield
        finally:
            is_over = True


async def test_a_batch_costs_its_items() -> None:
    limits = LimitsConfig(tenant_decisions_per_second=10, tenant_burst_s=1)
    async with _service(limits=limits) as service:
        await service.evaluate.EvaluateBatch(
            evaluate_pb2.EvaluateBatchRequest(
                tenant=TENANT,
                subject=request().subject,
                action=request().action,
                items=[evaluate_pb2.BatchItem(resource=request().resource)] * 10,
            ),
            timeout=TIMEOUT_S,
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)

    assert "TENANT_LIMIT" == info(refused.value).reason


async def test_a_message_that_is_refused_is_an_error_in_its_place() -> None:
    limits = LimitsConfig(tenant_decisions_per_second=0.1, tenant_burst_s=20)
    async with _service(limits=limits) as service:
        stream = service.evaluate.EvaluateStream(timeout=TIMEOUT_S)
        kinds, reasons = [], []
        for number in range(4):
            await stream.write(
                evaluate_pb2.EvaluateStreamRequest(correlation_id=f"{number}", request=request())
            )
            response = await anext(aiter(stream))
            kinds.append((response.correlation_id, response.WhichOneof("result")))
            reasons.append((response.error.code, response.error.reason))
        await stream.done_writing()
        in_work = service.node.admission.statistics().in_work

    assert list(zip("0123", ("decision", "decision", "error", "error"), strict=True)) == kinds
    assert [(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], "TENANT_LIMIT")] * 2 == reasons[2:]
    assert 0 == in_work


async def test_nobody_else_can_probe() -> None:
    async with running_service() as service:
        probe: Any = service.channel.unary_unary("/placet.probe/guess")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await probe(b"", timeout=TIMEOUT_S)

    assert grpc.StatusCode.UNIMPLEMENTED is refused.value.code()


async def test_probes_measure_the_line() -> None:
    async with _service(limits=LimitsConfig(target_wait_s=TIMEOUT_S)) as service:
        waits = []
        for _ in range(20):
            await asyncio.gather(
                *(service.evaluate.Evaluate(request(), timeout=TIMEOUT_S) for _ in range(50))
            )
            waits.append(service.node.admission.statistics().wait_s)

    assert 0 < max(waits) < TIMEOUT_S
