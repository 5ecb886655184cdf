"""Subscriptions of each language whose server dies: they go on where they were."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

import placet
from tests.faults.test_failover import ALLOW, TENANT, Served, answering, fleet
from tests.polyglot.drivers import driving
from tests.polyglot.languages import Built
from tests.polyglot.scenes import SOON_S, bootstrap_file

pytestmark = pytest.mark.polyglot


async def publish(node: Served, policy_id: str) -> int:
    async with placet.aio.Client(node.address, tenant=TENANT) as client:
        policy = placet.Policy(id=policy_id, cedar=ALLOW)
        return (await client.publish(placet.ChangeSet(policies=[policy]))).revision


async def test_a_subscription_goes_on_when_its_server_comes_back(
    built: Built, tmp_path: Path
) -> None:
    async with fleet(tmp_path, 2) as nodes:
        arguments = ("subscribe", "--target", nodes[1].address, "--tenant", TENANT)
        async with driving(built.command, *arguments, name=built.name) as driver:
            snapshot = await driver.event("snapshot", timeout_s=SOON_S)
            assert ["all"] == snapshot["policies"]
            await nodes[1].signal(signal.SIGKILL)
            missed = await publish(nodes[0], "missed")
            await nodes[1].start()
            seen = [await driver.event("resumed", "delta", "snapshot", "reset") for _ in range(2)]
            last = await publish(nodes[0], "last")
            seen.append(await driver.event("delta", "snapshot", "reset"))
            await driver.finish()

    assert ["resumed", "delta", "delta"] == [event["event"] for event in seen]
    assert [missed, last] == [event["revision"] for event in seen[1:]]
    assert [["missed"], ["last"]] == [event["upserts"] for event in seen[1:]]


async def test_a_subscription_goes_on_at_another_node(built: Built, tmp_path: Path) -> None:
    """Each node dies once, so that the subscription's does, whichever that is."""
    async with fleet(tmp_path) as nodes:
        environment = bootstrap_file(tmp_path, [node.address for node in nodes])
        arguments = ("subscribe", "--target", "xds:///placet", "--tenant", TENANT)
        seen: list[dict[str, Any]] = []
        revisions: list[int] = []
        async with driving(
            built.command, *arguments, name=built.name, environment=environment
        ) as driver:
            await driver.event("snapshot", timeout_s=SOON_S)
            for number, node in enumerate(nodes):
                other = nodes[number - 1]
                await node.signal(signal.SIGKILL)
                revisions.append(await publish(other, f"number/{number}"))
                while (
                    not seen
                    or seen[-1]["event"] != "delta"
                    or (seen[-1]["revision"] != revisions[-1])
                ):
                    seen.append(await driver.event("resumed", "delta", "snapshot", "reset"))
                await node.start()
                await answering(node)
            await driver.finish()

    events = [event["event"] for event in seen]
    assert {"resumed", "delta"} == set(events), events
    assert revisions == [event["revision"] for event in seen if event["event"] == "delta"]
