"""Measuring a candidate, on a real node with a rollout under way."""

from __future__ import annotations

import asyncio
import time

import pytest

import placet
from placet import Canary, ChangeSet, Policy
from placet.v1 import evaluate_service_pb2
from placet_server.api.requests import read_reported
from placet_server.rollouts.shadow import ShadowMeter
from placet_server.testing import running_server
from tests.wire.service import TENANT, request


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
        meter = ShadowMeter(
            active=node.active,
            read=read_reported,
            describe=lambda _: {},
            per_second=100,
            monotonic=time.monotonic,
        )
        meter.watch()
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
