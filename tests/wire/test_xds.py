"""The control plane as gRPC's own Python client has it: `xds:///placet` and nothing of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from placet.v1 import topology_pb2 as pb
from tests.stock_client import bootstrap, stock_client
from tests.wire.service import Service, policy, running_edge_service, running_service

_ALLOW = "permit(principal, action, resource);"


@pytest.fixture(name="control")
async def control_fixture() -> AsyncIterator[Service]:
    async with running_service(node="c1", region="eu-central") as service:
        await service.publish(policy("p", _ALLOW))
        yield service


@pytest.fixture(name="edge")
async def edge_fixture(control: Service) -> AsyncIterator[Service]:
    async with running_edge_service(control.node.address, node="e1", region="us-east") as edge:
        yield edge


async def test_a_stock_client_is_answered_by_the_nearest_node(
    control: Service, edge: Service
) -> None:
    here = bootstrap(control.node.address, locality={"region": "us-west"})
    async with stock_client(here) as client:
        assert {"e1"} == set(await client.nodes())


async def test_a_client_that_is_bound_gets_no_node_that_is_forbidden(
    control: Service, edge: Service
) -> None:
    await control.place(pb.RESIDENCY_RULE_EU_ONLY)
    there = bootstrap(control.node.address, locality={"region": "us-east"})
    async with stock_client(there) as client:
        assert {"c1"} == set(await client.nodes("xds:///acme.tenant.placet"))
        assert {"c1"} == set(await client.nodes("xds:///EU_ONLY.residency.placet"))
        refused = (await client.call("xds:///APAC_ONLY.residency.placet"))[0]
        assert refused["code"] == "UNAVAILABLE"
