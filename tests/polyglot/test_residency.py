"""A client that is bound to a region's rule, and a node where its tenant may not be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import placet
from placet import ResidencyRule
from tests.faults.test_failover import Served, fleet
from tests.polyglot.languages import Built
from tests.polyglot.scenes import TENANT, loads

pytestmark = pytest.mark.polyglot

REGIONS = ("eu-west", "eu-central", "us-east")


async def place(node: Served, rule: ResidencyRule) -> None:
    async with placet.aio.Client(node.address) as client:
        placed = await client.get_tenant(tenant=TENANT)
        await client.put_tenant(replace(placed, residency=rule))


@pytest.mark.parametrize("target", ["xds:///placet", "xds:///acme.tenant.placet"])
async def test_a_bound_client_never_comes_to_a_forbidden_region(
    built: Built, target: str, tmp_path: Path
) -> None:
    """It is nearest to that region, and all others are lost."""
    async with fleet(tmp_path, 3, regions=REGIONS) as nodes:
        await place(nodes[0], ResidencyRule.EU_ONLY)
        said = {"region": "us-east", "tenant": TENANT}
        control = [node.address for node in (nodes[0], nodes[2])]
        async with loads(built, target, folder=tmp_path, servers=control, **said) as both:
            for load in both:
                await load.until_answered_by("node-0")
            await nodes[0].end()
            for load in both:
                await load.until_answered_by("node-1")
                done = await load.end()
                # A call that came there would have been refused.
                assert not load.failures_of(done), (load.name, done, load.failures)
                assert "node-2" not in done["nodes"]


async def test_a_tenant_that_moves_takes_its_clients_along(built: Built, tmp_path: Path) -> None:
    """From the first answer where it may be now, none comes from where it may not any more."""
    async with fleet(tmp_path, 3, regions=REGIONS) as nodes:
        said = {"region": "us-east", "tenant": TENANT}
        control = [nodes[0].address]
        target = "xds:///placet"
        async with loads(built, target, folder=tmp_path, servers=control, **said) as both:
            for load in both:
                await load.until_answered_by("node-2")
            before = [len(load.ticks) for load in both]
            await place(nodes[0], ResidencyRule.EU_ONLY)
            for load in both:
                await load.until_answered_by("node-0")
            for load, since in zip(both, before, strict=True):
                done = await load.end()
                # What was on its way to where it was allowed is refused there, and not answered; a
                # machine that is busy may refuse some for that.
                refused = {"FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"}
                assert refused >= load.failures_of(done), (load.name, load.failures)
                told = [tick["nodes"].keys() for tick in load.ticks[since:]]
                moved = next(at for at, by in enumerate(told) if "node-0" in by)
                assert all("node-2" not in by for by in told[moved + 1 :]), (load.name, told)
