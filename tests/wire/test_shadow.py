"""Measuring a candidate, on a real node with a rollout under way."""

from __future__ import annotations

import asyncio
import time

import pytest

import placet
from placet import Canary, ChangeSet, Policy
from placet.v1 import evaluate_service_pb2
from placet_server.api.requests import read_reported
from placet_server.app import Node
from placet_server.rollouts.shadow import ShadowMeter
from placet_server.testing import running_server
from tests.wire.service import TENANT, request


def _watching(node: Node) -> ShadowMeter:
    """Return a meter that nothing runs yet."""
    meter = ShadowMeter(
        active=node.active,
        read=read_reported,
        describe=lambda _: {},
        per_second=100,
        monotonic=time.monotonic,
    )
    meter.watch()
    return meter


async def test_a_request_that_cannot_be_measured_is_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It ended the measuring, and with it all that drives rollouts, without a word."""
    allow = Policy(id="all", cedar="permit(principal, action, resource);")
    stop = Policy(id="stop", cedar="forbid(principal, action, resource);")
    async with (
        running_server() as node,
        placet.aio.Client(node.address, tenant=TENANT) as client,
    ):
        await client.publish(ChangeSet(policies=[allow]))
        plan = Canary(shadow_percent=100)
        await client.start_rollout(ChangeSet(policies=[stop]), plan=plan)
        meter = _watching(node)
        running = asyncio.create_task(meter.run())
        try:
            empty = evaluate_service_pb2.EvaluateRequest()
            meter.offer(TENANT, [empty, request("User::alice")])
            async with asyncio.timeout(10):
                while not any(step.decisions for step in meter.steps().values()):  # noqa: ASYNC110
                    await asyncio.sleep(0)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

        (step,) = meter.steps().values()
    assert (1, 1, 1) == (step.decisions, step.candidate_denials, step.changed_answers)
    assert "a request could not be measured" in caplog.text


async def test_a_tenant_that_may_not_be_here_any_more_leaves_no_request_behind() -> None:
    """Neither among what waits to be measured, nor among the examples of the others' rollout."""
    allow = Policy(id="all", cedar="permit(principal, action, resource);")
    stop = Policy(id="stop", cedar="forbid(principal, action, resource);")
    async with (
        running_server() as node,
        placet.aio.Client(node.address, tenant=TENANT) as client,
    ):
        for tenant in (TENANT, "other"):
            await client.publish(ChangeSet(policies=[allow]), tenant=tenant)
        plan = Canary(shadow_percent=100)
        await client.start_rollout(ChangeSet(policies=[stop]), plan=plan, tenant=placet.PLATFORM)
        meter = _watching(node)
        running = asyncio.create_task(meter.run())
        try:
            for tenant in (TENANT, "other"):
                meter.offer(tenant, [request(tenant=tenant)])
            await _measured(meter, 2)
            (step,) = meter.steps().values()
            before = {example["tenant"] for example in step.examples}
            meter.offer(TENANT, [request()])
            meter.forget(TENANT)
            after = {example["tenant"] for example in step.examples}
            # One that was on its way when the tenant went is passed over, and the others are not.
            meter.offer("gone", [request(tenant="gone")])
            meter.watched["gone"] = 1.0
            meter.offer("gone", [request(tenant="gone")])
            meter.offer("other", [request(tenant="other")])
            await _measured(meter, 3)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    assert (before, after) == ({TENANT, "other"}, {"other"})
    assert step.decisions == 3
    assert TENANT not in meter.watched


async def _measured(meter: ShadowMeter, count: int) -> None:
    async with asyncio.timeout(10):
        while sum(step.decisions for step in meter.steps().values()) < count:  # noqa: ASYNC110
            await asyncio.sleep(0)
