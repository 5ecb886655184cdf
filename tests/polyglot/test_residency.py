"""A client that is bound to a region's rule, and a node where its tenant may not be."""

from __future__ import annotations

from pathlib import Path

import pytest

import placet
from placet import ResidencyRule
from tests.faults.test_failover import Served, decided, fleet
from tests.polyglot.languages import Built
from tests.polyglot.scenes import TENANT, loads

pytestmark = pytest.mark.polyglot

REGIONS = ("eu-west", "eu-central", "us-east")


async def place(node: Served, rule: ResidencyRule) -> None:
    async with placet.aio.Client(node.address) as client:
        await client.put_tenant(placet.Placement(tenant=TENANT, residency=rule))


@pytest.mark.parametrize("target", ["xds:///placet", "xds:///acme.tenant.placet"])
async def test_a_bound_client_never_comes_to_a_forbidden_region(
    built: Built, target: str, tmp_path: Path
) -> None:
    """It is nearest to that region, and all others are lost."""
    async with fleet(tmp_path, 3, regions=REGIONS) as nodes:
        await place(nodes[0], ResidencyRule.EU_ONLY)
        before = await decided(nodes[2])
        said = {"region": "us-east", "tenant": TENANT}
        control = [node.address for node in (nodes[0], nodes[2])]
        async with loads(built, target, folder=tmp_path, servers=control, **said) as both:
            for load in both:
                await load.until_answered_by("node-0")
            await nodes[0].end()
            for load in both:
                await load.until_answered_by("node-1")
                done = await load.end()
                assert 0 == done["failed"], (load.name, done, load.failures)
        assert before == await decided(nodes[2])


async def test_a_tenant_that_moves_takes_its_clients_along(built: Built, tmp_path: Path) -> None:
    async with fleet(tmp_path, 3, regions=REGIONS) as nodes:
        await place(nodes[0], ResidencyRule.EU_ONLY)
        before = await decided(nodes[2])
        said = {"region": "eu-central", "tenant": TENANT}
        control = [nodes[0].address]
        target = "xds:///placet"
        async with loads(built, target, folder=tmp_path, servers=control, **said) as both:
            for load in both:
                await load.until_answered_by("node-1")
            assert before == await decided(nodes[2])
            await place(nodes[0], ResidencyRule.US_ONLY)
            for load in both:
                await load.until_answered_by("node-2")
            left = [await decided(node) for node in nodes[:2]]
            for load in both:
                moved = len(load.ticks)
                await load.until_answered_by("node-2")
                done = await load.end()
                assert {"node-2"} == load.nodes(since=moved).keys() | {"node-2"}
                # What was on its way to where it was allowed is refused there, and not answered.
                assert {"FAILED_PRECONDITION"} >= done["codes"].keys(), (load.name, load.failures)
        assert left == [await decided(node) for node in nodes[:2]]
