"""TopologyService: what regions there are, where tenants are placed, where callers go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from placet.v1 import topology_pb2 as pb
from placet.v1 import topology_service_pb2 as service_pb
from placet_engine.changes import ChangeSet, Commit, Edit
from placet_engine.items import NO_REVISION, TOPOLOGY, Policy
from placet_engine.placement.regions import DEFAULT_REGIONS
from placet_server.config import TopologyConfig
from placet_server.errors import WrongRegion
from placet_server.store.contract import CommitInfo
from tests.wire.details import details, info, violated_fields
from tests.wire.service import (
    TENANT,
    TIMEOUT_S,
    Service,
    policy,
    request,
    running_service,
)

_ALLOW = "permit(principal, action, resource);"
_EU = pb.RESIDENCY_RULE_EU_ONLY


@pytest.fixture(name="service")
async def service_fixture() -> AsyncIterator[Service]:
    async with running_service(region="eu-west") as service:
        yield service


async def _route(service: Service, tenant: str = TENANT, **place: Any) -> list[tuple[str, str]]:
    location = pb.Location(**place) if place else None
    request = service_pb.GetRouteRequest(tenant=tenant, location=location)
    response = await service.topology.GetRoute(request, timeout=TIMEOUT_S)
    assert response.route.tenant == tenant
    return [
        (one.region, pb.RouteReason.Name(one.reason).removeprefix("ROUTE_REASON_"))
        for one in response.route.regions
    ]


async def _get(service: Service, tenant: str = TENANT) -> pb.Tenant:
    request = service_pb.GetTenantRequest(tenant=tenant)
    return (await service.topology.GetTenant(request, timeout=TIMEOUT_S)).tenant


async def _put(service: Service, **placed: Any) -> pb.Tenant:
    request = service_pb.PutTenantRequest(tenant=pb.Tenant(**{"name": TENANT} | placed))
    return (await service.topology.PutTenant(request, timeout=TIMEOUT_S)).tenant


# ---------------------------------------------------------------------------------- regions


async def test_the_regions_that_ship_are_listed_in_order_of_name(service: Service) -> None:
    response = await service.topology.ListRegions(
        service_pb.ListRegionsRequest(), timeout=TIMEOUT_S
    )

    by_name = {region.name: region for region in response.regions}
    assert list(by_name) == sorted(region.name for region in DEFAULT_REGIONS)
    ireland = by_name["eu-west"]
    assert (ireland.title, ireland.jurisdiction, list(ireland.regulations)) == (
        "Ireland",
        "EU",
        ["GDPR"],
    )
    assert (ireland.location.latitude, ireland.location.longitude) == (53.35, -6.26)


async def test_a_node_in_no_region_lists_its_own() -> None:
    async with running_service() as service:
        response = await service.topology.ListRegions(
            service_pb.ListRegionsRequest(), timeout=TIMEOUT_S
        )

    (local,) = [region for region in response.regions if region.name == "local"]
    assert (local.jurisdiction, local.HasField("location")) == ("", False)
    assert len(response.regions) == 7


# ------------------------------------------------------------------------------- placements


async def test_a_tenant_is_placed_read_and_listed(service: Service) -> None:
    await service.publish(policy("p", _ALLOW))
    await service.publish(policy("p", _ALLOW), tenant="other")
    before = await _get(service)

    placed = await _put(
        service,
        residency=_EU,
        home_region="eu-central",
        affinity_regions=["eu-west", "eu-central"],
    )

    assert before == pb.Tenant(name=TENANT, residency=pb.RESIDENCY_RULE_ANY)
    assert (placed.residency, placed.home_region, list(placed.affinity_regions)) == (
        _EU,
        "eu-central",
        ["eu-west", "eu-central"],
    )
    assert placed.etag
    assert placed.HasField("update_time")
    assert await _get(service) == placed
    first = await service.topology.ListTenants(
        service_pb.ListTenantsRequest(page_size=1), timeout=TIMEOUT_S
    )
    second = await service.topology.ListTenants(
        service_pb.ListTenantsRequest(page_size=1, page_token=first.next_page_token),
        timeout=TIMEOUT_S,
    )
    assert [*first.tenants, *second.tenants] == [
        placed,
        pb.Tenant(name="other", residency=pb.RESIDENCY_RULE_ANY),
    ]
    assert not second.next_page_token


async def test_who_was_never_placed_and_has_nothing_is_not_known(service: Service) -> None:
    for ask in (_get, _route):
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await ask(service, "nobody")
        assert info(unknown.value).reason == "TENANT_UNKNOWN"


async def test_a_placement_outlasts_the_server(tmp_path: Path) -> None:
    async with running_service(path=tmp_path / "placet.db", region="eu-west") as service:
        placed = await _put(service, residency=_EU, home_region="eu-west")
    async with running_service(path=tmp_path / "placet.db", region="eu-west") as service:
        assert await _get(service) == placed


async def test_a_placement_is_compared_before_it_is_set(service: Service) -> None:
    first = await _put(service, residency=_EU)
    assert await _put(service, residency=_EU) == first, "the same content again"
    for etag in ("", "999"):
        with pytest.raises(grpc.aio.AioRpcError) as lost:
            await _put(service, residency=pb.RESIDENCY_RULE_NO_US, etag=etag)
        assert lost.value.code() is grpc.StatusCode.ABORTED
        assert info(lost.value).reason == "TENANT_CHANGED"
    await _put(service, name="other", residency=_EU)

    second = await _put(service, residency=pb.RESIDENCY_RULE_NO_US, etag=first.etag)

    assert second.etag != first.etag
    assert second.residency == pb.RESIDENCY_RULE_NO_US


@pytest.mark.parametrize(
    "placed", [{"home_region": "us-east"}, {"affinity_regions": ["eu-west", "us-west"]}]
)
async def test_a_rule_has_to_allow_the_regions_named_with_it(
    service: Service, placed: dict[str, Any]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _put(service, residency=_EU, **placed)

    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert info(refused.value).reason == "PLACEMENT_REFUSED"
    assert "does not allow `us-" in (refused.value.details() or "")
    assert "name one of `eu-central`, `eu-west`" in (refused.value.details() or "")


async def test_regions_that_are_not_there_are_refused(service: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _put(service, residency=_EU, home_region="eu-north")

    assert info(refused.value).reason == "REGION_UNKNOWN"
    assert refused.value.details() == (
        "there is no region `eu-north`; there are apac-northeast, apac-southeast, eu-central, "
        "eu-west, us-east, us-west"
    )


@pytest.mark.parametrize(
    ("placed", "field"),
    [
        ({"name": ""}, "tenant.name"),
        ({"name": ".topology"}, "tenant.name"),
        # Nobody lifts a rule by leaving it out.
        ({"residency": 0}, "tenant.residency"),
        ({"residency": 99}, "tenant.residency"),
        ({"home_region": "-"}, "tenant.home_region"),
        ({"affinity_regions": ["eu-west", ""]}, "tenant.affinity_regions[1]"),
        ({"affinity_regions": ["eu-west"] * 17}, "tenant.affinity_regions"),
    ],
)
async def test_bad_placements_are_told_by_field(
    service: Service, placed: dict[str, Any], field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _put(service, **{"residency": _EU} | placed)

    assert violated_fields(refused.value) == {field}


async def test_a_control_plane_that_holds_a_tenant_is_not_forbidden_it() -> None:
    async with running_service(region="us-east") as service:
        published = await service.publish(policy("p", _ALLOW))
        with pytest.raises(grpc.aio.AioRpcError) as held:
            await _put(service, residency=_EU)
        after = await _get(service)

    assert held.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert info(held.value).reason == "TENANT_HELD"
    assert dict(info(held.value).metadata) == {"tenant": TENANT}
    assert "its store holds 1 items of tenant `acme`" in (held.value.details() or "")
    assert "placet bundle export" in (held.value.details() or "")
    assert after.residency == pb.RESIDENCY_RULE_ANY
    assert published.revision == 1


async def test_a_node_without_a_region_may_only_hold_who_may_be_anywhere() -> None:
    async with running_service() as service:
        await service.publish(policy("p", _ALLOW))
        with pytest.raises(grpc.aio.AioRpcError) as held:
            await _put(service, residency=pb.RESIDENCY_RULE_NO_US)

    assert info(held.value).reason == "TENANT_HELD"


async def test_what_was_published_while_a_tenant_was_forbidden_is_seen_and_nothing_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its publish had been let in before the placement was there."""
    async with running_service(region="us-east") as service:
        store = service.node.store
        append = store.append

        async def late(owner: str, edits: Any, **rest: Any) -> Commit:
            commit = await append(owner, edits, **rest)
            if owner == TOPOLOGY and not await store.history(TENANT, limit=1):
                body = Policy(id="p", cedar=_ALLOW)
                info_ = CommitInfo(time=commit.time)
                await append(TENANT, [Edit(body.key, body)], expected=NO_REVISION, info=info_)
            return commit

        monkeypatch.setattr(store, "append", late)
        with pytest.raises(grpc.aio.AioRpcError) as held:
            await _put(service, residency=_EU)
        await service.node.active.wait_for(await store.head(), TIMEOUT_S)
        after = await _get(service)
        answer = await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)

    assert info(held.value).reason == "TENANT_HELD"
    assert after.residency == pb.RESIDENCY_RULE_ANY
    assert answer.decision.revision == 2


async def test_a_publish_that_was_let_in_before_the_placement_stores_nothing(
    service: Service,
) -> None:
    await _put(service, residency=pb.RESIDENCY_RULE_US_ONLY)
    change_set = ChangeSet(upserts=(Policy(id="p", cedar=_ALLOW),))

    with pytest.raises(WrongRegion):
        await service.node.publisher.publish(TENANT, change_set, timeout_s=TIMEOUT_S)

    assert set(await service.node.store.owners()) == {TOPOLOGY}


# ----------------------------------------------------------------------------------- routes


async def test_routes_lead_to_the_nearest_allowed_region_and_then_the_others(
    service: Service,
) -> None:
    await service.place(_EU, home_region="eu-central")

    assert await _route(service, country="JP") == [
        ("eu-central", "NEAREST"),
        ("eu-west", "FALLBACK"),
    ]
    assert await _route(service, point=pb.GeoPoint(latitude=51.5, longitude=-0.1)) == [
        ("eu-west", "NEAREST"),
        ("eu-central", "FALLBACK"),
    ]
    assert await _route(service, region="us-east") == [
        ("eu-west", "NEAREST"),
        ("eu-central", "FALLBACK"),
    ]
    assert await _route(service) == [("eu-central", "HOME"), ("eu-west", "FALLBACK")]
    assert (await _route(service, point=pb.GeoPoint()))[0][0] == "eu-central", "off Ghana"


@pytest.mark.parametrize(
    ("place", "field", "said"),
    [
        ({"country": "UK"}, "location.country", "did you mean `GB`"),
        ({"country": ""}, "location.country", "such as `IE`"),
        ({"point": pb.GeoPoint(latitude=91)}, "location.point", "`latitude` is 91"),
        ({"region": "no region"}, "location.region", "use 1 to 64 letters"),
    ],
)
async def test_places_that_are_none_are_told(
    service: Service, place: dict[str, Any], field: str, said: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _route(service, **place)

    assert violated_fields(refused.value) == {field}
    assert said in str(refused.value)


async def test_a_caller_in_a_region_that_is_not_there_is_told_which_are(service: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _route(service, region="mars")

    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert info(refused.value).reason == "REGION_UNKNOWN"


async def test_regions_come_from_a_file_and_lead_to_other_control_planes(tmp_path: Path) -> None:
    file = tmp_path / "regions.toml"
    file.write_text(
        """
        [va]
        jurisdiction = "US"
        latitude = 39.0
        longitude = -77.5

        [dublin]
        title = "Dublin"
        jurisdiction = "EU"
        latitude = 53.35
        longitude = -6.26
        endpoints = ["eu1.example.net:7443", "eu2.example.net:7443"]
        """
    )
    async with running_service(region="va", topology=TopologyConfig(file=str(file))) as service:
        await service.place(_EU)
        request = service_pb.GetRouteRequest(tenant=TENANT)
        route = (await service.topology.GetRoute(request, timeout=TIMEOUT_S)).route
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.publish(policy("p", _ALLOW))
        await service.place(pb.RESIDENCY_RULE_APAC_ONLY)
        with pytest.raises(grpc.aio.AioRpcError) as nowhere:
            await service.topology.GetRoute(request, timeout=TIMEOUT_S)
        with pytest.raises(grpc.aio.AioRpcError) as lost:
            await service.publish(policy("p", _ALLOW))

    (dublin,) = route.regions
    assert [endpoint.address for endpoint in dublin.endpoints] == [
        "eu1.example.net:7443",
        "eu2.example.net:7443",
    ]
    (refusal,) = details(refused.value, pb.ResidencyRefusal)
    assert (refusal.region, [one.region for one in refusal.route.regions]) == ("va", ["dublin"])
    assert list(refusal.route.regions[0].endpoints) == list(dublin.endpoints)
    assert nowhere.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert info(nowhere.value).reason == "NO_REGION_ALLOWED"
    (refusal,) = details(lost.value, pb.ResidencyRefusal)
    assert not refusal.HasField("route")
