"""Where tenants are placed, as the SDK sees it: methods, errors, and what follows policies."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import placet
from placet import (
    ChangeSet,
    Country,
    GeoPoint,
    InRegion,
    Placement,
    Policy,
    ResidencyRule,
    RouteReason,
    State,
    StateChange,
)
from placet.local.aio import LocalEvaluator
from placet_server.app import Node
from placet_server.config import TopologyConfig
from placet_server.testing import running_server

TENANT = "acme"
ASK: Any = (("User", "ann"), "read", ("Doc", "d"))
ALLOW = Policy(id="all", cedar="permit(principal, action, resource);")
SOON_S = 10.0


@pytest.fixture(name="node")
async def node_fixture() -> AsyncIterator[Node]:
    async with running_server(region="eu-west") as node:
        yield node


@pytest.fixture(name="client")
async def client_fixture(node: Node) -> AsyncIterator[placet.aio.Client]:
    async with placet.aio.Client(node.address, tenant=TENANT, timeout_s=SOON_S) as client:
        yield client


async def _place(client: placet.aio.Client, rule: ResidencyRule) -> Placement:
    try:
        etag = (await client.get_tenant()).etag
    except placet.NotFound:
        etag = ""
    return await client.put_tenant(Placement(tenant=TENANT, residency=rule, etag=etag))


async def test_placing_and_finding_the_way(client: placet.aio.Client) -> None:
    placed = await client.put_tenant(
        Placement(
            tenant=TENANT,
            residency=ResidencyRule.EU_ONLY,
            home_region="eu-central",
            affinity_regions=("eu-central",),
        )
    )
    with pytest.raises(placet.Conflict) as lost:
        await client.put_tenant(Placement(tenant=TENANT, residency=ResidencyRule.ANY))
    with pytest.raises(placet.FailedPrecondition) as refused:
        await client.put_tenant(
            Placement(
                tenant="other", residency=ResidencyRule.EU_ONLY, affinity_regions=("us-east",)
            )
        )
    routes = {
        place: [(one.region, one.reason) for one in (await client.route(place)).regions]
        for place in (None, Country("jp"), GeoPoint(53.3, -6.3), InRegion("eu-west"))
    }
    regions = await client.regions()

    assert placed.etag
    assert placed.update_time is not None
    assert await client.get_tenant() == placed
    assert [placed] == [each async for each in client.tenants()]
    assert ("TENANT_CHANGED", "PLACEMENT_REFUSED") == (lost.value.reason, refused.value.reason)
    affinity = ("eu-central", RouteReason.AFFINITY)
    assert routes == {
        None: [affinity, ("eu-west", RouteReason.FALLBACK)],
        Country("jp"): [affinity, ("eu-west", RouteReason.FALLBACK)],
        GeoPoint(53.3, -6.3): [affinity, ("eu-west", RouteReason.NEAREST)],
        InRegion("eu-west"): [affinity, ("eu-west", RouteReason.NEAREST)],
    }
    (ireland,) = [region for region in regions if region.name == "eu-west"]
    assert ("EU", ("GDPR",), GeoPoint(53.35, -6.26)) == (
        ireland.jurisdiction,
        ireland.regulations,
        ireland.location,
    )


def test_the_same_with_threads(tmp_path: Any) -> None:
    """The methods are the same; that each calls its own rpc is seen here."""
    from tests.cli.shell import serving

    with (
        serving(tmp_path, "--store", "memory", "--region", "us-west") as (address, _),
        placet.Client(address, tenant=TENANT, timeout_s=SOON_S) as client,
    ):
        placed = client.put_tenant(Placement(tenant=TENANT, residency=ResidencyRule.EU_ONLY))
        with pytest.raises(placet.WrongRegion) as refused:
            client.evaluate(*ASK)
        with pytest.raises(placet.WrongRegion):
            client.publish(ChangeSet(policies=[ALLOW]))
        assert client.get_tenant() == placed
        assert list(client.tenants()) == [placed]
        assert len(client.regions()) == 6
        route = client.route()

    error = refused.value
    assert ("WRONG_REGION", "us-west") == (error.reason, error.region)
    assert {"tenant": TENANT, "region": "us-west"} == error.metadata
    assert error.route is not None
    assert ResidencyRule.EU_ONLY is error.route.residency
    assert ["eu-west", "eu-central"] == [one.region for one in error.route.regions]
    assert error.route.regions[0].distance_km > 7000
    assert () == error.route.addresses == route.addresses
    assert "go to `eu-west`, `eu-central`" in error.message


@pytest.mark.parametrize(
    ("placement", "said"),
    [
        (Placement(tenant="", residency=ResidencyRule.ANY), "tenant"),
        (Placement(tenant="a", residency=ResidencyRule.UNKNOWN), "residency"),
        ("acme", "placement"),
    ],
)
async def test_what_is_no_placement_is_not_sent(
    client: placet.aio.Client, placement: Any, said: str
) -> None:
    with pytest.raises(placet.InvalidRequest, match=said):
        await client.put_tenant(placement)


async def test_no_place_at_all_is_not_sent(client: placet.aio.Client) -> None:
    place: Any = "Ireland"
    with pytest.raises(placet.InvalidRequest, match="`Country`"):
        await client.route(place)


# ------------------------------------------------------------------- what follows the policies


async def test_a_local_evaluator_lets_go_of_what_may_not_be_where_it_is(
    node: Node, client: placet.aio.Client
) -> None:
    """And takes it up again by itself when it may."""
    await client.publish(ChangeSet(policies=[ALLOW]))
    forbidden = asyncio.Event()

    def note(change: StateChange) -> None:
        if change.after is State.ERROR:
            forbidden.set()

    async with LocalEvaluator(
        node.address, tenant=TENANT, region="us-east", on_state_change=note
    ) as local:
        await local.wait_ready(timeout_s=SOON_S)
        before = await local.evaluate(*ASK)
        assert local._programs is not None
        judge = weakref.ref(local._programs.judge)
        await _place(client, ResidencyRule.EU_ONLY)
        await asyncio.wait_for(forbidden.wait(), SOON_S)
        with pytest.raises(placet.RegionForbidden) as refused:
            await local.evaluate(*ASK)
        with pytest.raises(placet.RegionForbidden):
            await local.evaluate_batch([], subject=ASK[0], action=ASK[1], resource=ASK[2])
        error, staleness = local.last_error, local.staleness()
        gc.collect()
        left = judge()
        await _place(client, ResidencyRule.ANY)
        await local.wait_ready(timeout_s=SOON_S)
        after = await local.evaluate(*ASK)

    assert before.allowed
    assert after.allowed
    assert "may not go to region `us-east`" in refused.value.message
    assert isinstance(error, placet.RegionForbidden)
    assert staleness is None
    assert left is None


async def test_a_local_evaluator_in_an_allowed_region_goes_on(
    node: Node, client: placet.aio.Client
) -> None:
    await client.publish(ChangeSet(policies=[ALLOW]))
    async with LocalEvaluator(node.address, tenant=TENANT, region="eu-central") as local:
        await local.wait_ready(timeout_s=SOON_S)
        await _place(client, ResidencyRule.EU_ONLY)
        published = await client.publish(ChangeSet(policies=[Policy(id="b", cedar=ALLOW.cedar)]))
        decision = await local.evaluate(*ASK, min_revision=published.revision)

    assert decision.allowed
    assert decision.staleness < timedelta(seconds=SOON_S)


async def test_a_subscription_holds_nothing_that_may_not_be_where_it_is(
    node: Node, client: placet.aio.Client
) -> None:
    await client.publish(ChangeSet(policies=[ALLOW]))
    async with client.subscribe(region="us-east") as subscription:
        await subscription.next_event(timeout_s=SOON_S)
        await client.publish(ChangeSet(policies=[Policy(id="b", cedar=ALLOW.cedar)]))
        await _place(client, ResidencyRule.NO_US)
        await subscription.wait_for([State.ERROR], timeout_s=SOON_S)
        revision, error = subscription.revision, subscription.last_error
        with pytest.raises(TimeoutError):
            await subscription.next_event(timeout_s=0.05)
        await _place(client, ResidencyRule.ANY)
        again = await subscription.next_event(timeout_s=SOON_S)

    assert revision == 0
    assert isinstance(error, placet.RegionForbidden)
    assert isinstance(again, placet.Snapshot)
    assert {"all", "b"} == {item.key.id for item in again.items}


async def test_nobody_begins_to_follow_where_the_data_may_not_be(
    node: Node, client: placet.aio.Client
) -> None:
    await client.publish(ChangeSet(policies=[ALLOW]))
    await _place(client, ResidencyRule.EU_ONLY)
    async with client.subscribe() as subscription:
        with pytest.raises(placet.RegionForbidden, match="say your region"):
            await subscription.next_event(timeout_s=SOON_S)


# ----------------------------------------------------------------------------- going elsewhere


def _regions(folder: Path, eu_address: str) -> TopologyConfig:
    """Return regions of which one belongs to another control plane."""
    file = folder / "regions.toml"
    file.write_text(
        f"""
        [us]
        jurisdiction = "US"
        latitude = 39.0
        longitude = -77.5

        [eu]
        jurisdiction = "EU"
        latitude = 53.3
        longitude = -6.3
        endpoints = ["{eu_address}"]
        """
    )
    return TopologyConfig(file=str(file))


async def test_a_client_goes_where_a_refusal_says(tmp_path: Path) -> None:
    """A control plane in each jurisdiction, and a client that knows only the wrong one."""
    async with (
        running_server(region="eu-west") as eu,
        running_server(region="us", topology=_regions(tmp_path, eu.address)) as us,
        placet.aio.Client(eu.address, tenant=TENANT, timeout_s=SOON_S) as there,
        placet.aio.Client([us.address], tenant=TENANT, timeout_s=SOON_S) as client,
    ):
        await there.publish(ChangeSet(policies=[ALLOW]))
        await _place(client, ResidencyRule.EU_ONLY)
        decisions = [await client.evaluate(*ASK) for _ in range(2)]
        items = [item.key.id async for item in client.list_items()]
        # What is about where tenants are is still asked for where the client was sent first.
        placed = await _place(client, ResidencyRule.EU_ONLY)
        route = await client.route()

    assert all(decision.allowed and decision.region == "eu-west" for decision in decisions)
    assert ["all"] == items
    assert ResidencyRule.EU_ONLY is placed.residency
    assert (eu.address,) == route.addresses
