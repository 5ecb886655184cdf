"""Nodes as TopologyService shows them: leases, settings, routes that follow, streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from placet.v1 import topology_pb2 as pb
from placet.v1 import topology_service_pb2 as service_pb
from placet_server.config import TopologyConfig
from tests.wire.details import info, violated_fields
from tests.wire.service import TENANT, TIMEOUT_S, Service, policy, running_service

_ALLOW = "permit(principal, action, resource);"
# On a busy machine; what is tested is order and outcome, not how fast.
QUIET = TopologyConfig(lease_s=5.0, probe_every_s=0, share_s=0.2)
SERVING, NOT_SERVING, LOST = (
    pb.NODE_HEALTH_SERVING,
    pb.NODE_HEALTH_NOT_SERVING,
    pb.NODE_HEALTH_LOST,
)


@pytest.fixture(name="service")
async def service_fixture() -> AsyncIterator[Service]:
    async with running_service(node="c1", region="eu-west", topology=QUIET) as service:
        await until(lambda: nodes(service), lambda found: found["c1"].health == SERVING)
        yield service


async def until(ask: Callable[[], Awaitable[Any]], holds: Callable[[Any], bool]) -> Any:
    """Ask until something holds; return what was answered."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            found = await ask()
            try:
                if holds(found):
                    return found
            except KeyError:
                pass
            await asyncio.sleep(0.02)


async def nodes(service: Service, *regions: str) -> dict[str, pb.Node]:
    request = service_pb.ListNodesRequest(regions=regions)
    response = await service.topology.ListNodes(request, timeout=TIMEOUT_S)
    return {node.id: node for node in response.nodes}


def edge(id_: str = "e1", instance: str = "first", **fields: Any) -> pb.Node:
    given = {"region": "eu-west", "role": pb.NODE_ROLE_EDGE, "address": f"{id_}.test:7717"}
    return pb.Node(id=id_, instance=instance, **{**given, **fields})


async def register(service: Service, node: pb.Node) -> service_pb.RegisterNodeResponse:
    request = service_pb.RegisterNodeRequest(node=node)
    return await service.topology.RegisterNode(request, timeout=TIMEOUT_S)


async def renew(
    service: Service, id_: str = "e1", **fields: Any
) -> service_pb.RenewNodeLeaseResponse:
    given = {"instance": "first", "health": SERVING}
    request = service_pb.RenewNodeLeaseRequest(node=id_, **{**given, **fields})
    return await service.topology.RenewNodeLease(request, timeout=TIMEOUT_S)


async def update(service: Service, id_: str = "e1", **fields: Any) -> pb.Node:
    request = service_pb.UpdateNodeRequest(node=id_, **fields)
    return (await service.topology.UpdateNode(request, timeout=TIMEOUT_S)).node


async def code_of(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), info(caught.value).reason


# ------------------------------------------------------------------------------------ leases


async def test_a_node_registers_renews_and_goes(service: Service) -> None:
    registered = await register(service, edge(weight=30, version="1.4", upstreams=["c1"]))
    renewed = await renew(
        service,
        load=pb.NodeLoad(utilization=0.5, requests_per_second=10, subscribers=2),
        revision=4,
        staleness={"nanos": 500_000_000},
    )
    node = (await nodes(service))["e1"]

    assert (5.0, NOT_SERVING) == (
        registered.lease_duration.ToTimedelta().total_seconds(),
        registered.node.health,
    )
    assert (5.0, False) == (renewed.lease_duration.ToTimedelta().total_seconds(), renewed.draining)
    assert (SERVING, 30, "1.4", 4, ["c1"]) == (
        node.health,
        node.weight,
        node.version,
        node.revision,
        list(node.upstreams),
    )
    assert (0.5, 10, 2) == (
        node.load.utilization,
        node.load.requests_per_second,
        node.load.subscribers,
    )
    lease = node.lease_expire_time.ToDatetime() - node.renew_time.ToDatetime()
    assert 5.0 == pytest.approx(lease.total_seconds(), abs=1e-3)

    request = service_pb.DeregisterNodeRequest(node="e1", instance="first")
    for _ in range(2):
        await service.topology.DeregisterNode(request, timeout=TIMEOUT_S)
    assert ["c1"] == list(await nodes(service))
    assert (grpc.StatusCode.NOT_FOUND, "LEASE_GONE") == await code_of(renew(service))


async def test_a_silent_node_is_lost_and_out_of_routes() -> None:
    async with running_service(region="eu-west") as service:
        await service.publish(policy("p", _ALLOW))
        await register(service, edge())
        await renew(service)
        assert "e1" in [node for node, *_ in await endpoints(service)]
        lost = await until(lambda: nodes(service), lambda found: found["e1"].health == LOST)
        assert "its lease lapsed" in lost["e1"].health_reason
        assert "e1" not in [node for node, *_ in await endpoints(service)]
        assert (grpc.StatusCode.NOT_FOUND, "LEASE_GONE") == await code_of(renew(service))


async def test_a_node_that_keeps_its_lease_but_cannot_be_reached_is_out_of_routes() -> None:
    topology = TopologyConfig(lease_s=30)
    async with running_service(region="eu-west", topology=topology) as service:
        await service.publish(policy("p", _ALLOW))
        # Another that answers, so that it is not this node's network that is to blame.
        async with running_service(node="other") as other:
            for node in (edge(address="127.0.0.1:1"), edge("e2", address=other.node.address)):
                await register(service, node)
                await renew(service, node.id)
            found = await until(
                lambda: nodes(service), lambda found: found["e1"].health == NOT_SERVING
            )
            assert "it cannot be reached" == found["e1"].health_reason
            assert {"e2", "test-node"} == {node for node, *_ in await endpoints(service)}
            # What hangs is found out as well, and comes back with the first answer.
            await update(other, "other", draining=True)
            await until(lambda: nodes(service), lambda found: found["e2"].health == NOT_SERVING)
            await update(other, "other", draining=False)
            await until(lambda: nodes(service), lambda found: found["e2"].health == SERVING)


async def test_an_id_has_one_process(service: Service) -> None:
    await register(service, edge())
    assert (grpc.StatusCode.ALREADY_EXISTS, "NODE_ID_TAKEN") == await code_of(
        register(service, edge(instance="second"))
    )
    assert (grpc.StatusCode.ALREADY_EXISTS, "NODE_ID_TAKEN") == await code_of(
        register(service, edge("c1"))
    )
    assert (grpc.StatusCode.FAILED_PRECONDITION, "UPSTREAM_LOOP") == await code_of(
        register(service, edge("e2", upstreams=["e2.test:7717"]))
    )
    assert (grpc.StatusCode.NOT_FOUND, "REGION_UNKNOWN") == await code_of(
        register(service, edge("e2", region="mars"))
    )


@pytest.mark.parametrize(
    ("fields", "violated"),
    [
        ({"id": ""}, "node.id"),
        ({"id": "a b"}, "node.id"),
        ({"instance": ""}, "node.instance"),
        ({"region": ""}, "node.region"),
        ({"role": pb.NODE_ROLE_UNSPECIFIED}, "node.role"),
        ({"address": "no-port"}, "node.address"),
        ({"weight": 1001}, "node.weight"),
        ({"weight": -1}, "node.weight"),
        ({"upstreams": ["x"] * 17}, "node.upstreams"),
        ({"upstreams": [""]}, "node.upstreams[0]"),
        ({"version": "v" * 65}, "node.version"),
    ],
)
async def test_a_registration_that_says_nonsense_is_refused(
    service: Service, fields: dict[str, Any], violated: str
) -> None:
    message = edge()
    message.MergeFrom(pb.Node(**fields))
    for name, value in fields.items():
        if not value:
            message.ClearField(name)  # type: ignore[arg-type]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await register(service, message)
    assert violated in violated_fields(caught.value)


@pytest.mark.parametrize(
    ("fields", "violated"),
    [
        ({"health": LOST}, "health"),
        ({"health": pb.NODE_HEALTH_UNSPECIFIED}, "health"),
        ({"health_reason": "x" * 1025}, "health_reason"),
        ({"load": pb.NodeLoad(utilization=1.1)}, "load.utilization"),
        ({"load": pb.NodeLoad(utilization=float("nan"))}, "load.utilization"),
        ({"load": pb.NodeLoad(requests_per_second=float("inf"))}, "load.requests_per_second"),
        ({"load": pb.NodeLoad(subscribers=-1)}, "load.subscribers"),
        ({"revision": -1}, "revision"),
        ({"staleness": {"seconds": -1}}, "staleness"),
    ],
)
async def test_a_renewal_that_says_nonsense_is_refused(
    service: Service, fields: dict[str, Any], violated: str
) -> None:
    await register(service, edge())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await renew(service, **fields)
    assert {violated} == violated_fields(caught.value)


async def test_nodes_are_listed_in_pages(service: Service) -> None:
    for number in range(5):
        region = "us-east" if number % 2 else "eu-west"
        await register(service, edge(f"e{number}", region=region))
    found: list[str] = []
    request = service_pb.ListNodesRequest(page_size=2)
    while True:
        page = await service.topology.ListNodes(request, timeout=TIMEOUT_S)
        found += [node.id for node in page.nodes]
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert ["c1", "e0", "e2", "e4", "e1", "e3"] == found
    assert ["e1", "e3"] == list(await nodes(service, "us-east"))


# ---------------------------------------------------------------------------------- settings


async def test_settings_outlast_the_node_and_are_compared_and_set(service: Service) -> None:
    await register(service, edge(weight=30))
    await renew(service)
    drained = await update(service, draining=True, etag="0")
    again = await update(service, draining=True, etag="0")
    assert (True, 30, drained.etag) == (again.draining, again.weight, again.etag)
    assert (await renew(service)).draining

    assert (grpc.StatusCode.ABORTED, "NODE_CHANGED") == await code_of(
        update(service, weight=5, etag="0")
    )
    weighed = await update(service, weight=5, etag=drained.etag)
    assert (True, 5) == (weighed.draining, weighed.weight)

    request = service_pb.DeregisterNodeRequest(node="e1", instance="first")
    await service.topology.DeregisterNode(request, timeout=TIMEOUT_S)
    assert (grpc.StatusCode.NOT_FOUND, "NODE_UNKNOWN") == await code_of(update(service, weight=6))
    back = await register(service, edge(instance="second", weight=70))
    assert (True, 5, weighed.etag) == (back.node.draining, back.node.weight, back.node.etag)
    assert not (await update(service, draining=False)).draining


@pytest.mark.parametrize("fields", [{}, {"weight": 0}, {"weight": 1001}, {"weight": 1, "node": ""}])
async def test_an_update_that_says_nonsense_is_refused(
    service: Service, fields: dict[str, Any]
) -> None:
    request = service_pb.UpdateNodeRequest(**{"node": "c1", **fields})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.topology.UpdateNode(request, timeout=TIMEOUT_S)
    assert grpc.StatusCode.INVALID_ARGUMENT is caught.value.code()


async def test_settings_survive_placements_that_are_written_meanwhile(service: Service) -> None:
    await register(service, edge())
    placed = [
        service.topology.PutTenant(
            service_pb.PutTenantRequest(
                tenant=pb.Tenant(name=f"t{n}", residency=pb.RESIDENCY_RULE_EU_ONLY)
            ),
            timeout=TIMEOUT_S,
        )
        for n in range(3)
    ]
    await asyncio.gather(*placed, *(update(service, weight=n) for n in range(1, 4)))
    assert (await nodes(service))["e1"].weight in (1, 2, 3)


async def test_a_drained_node_sends_callers_elsewhere_and_answers_all_the_same(
    service: Service,
) -> None:
    await service.publish(policy("p", _ALLOW))
    check: Any = service.channel.unary_unary("/grpc.health.v1.Health/Check")
    assert b"\x08\x01" == await check(b"", timeout=TIMEOUT_S)
    await update(service, "c1", draining=True)
    await until(lambda: check(b"", timeout=TIMEOUT_S), lambda answer: answer == b"\x08\x02")
    await service.publish(policy("p2", _ALLOW))
    await update(service, "c1", draining=False)
    await until(lambda: check(b"", timeout=TIMEOUT_S), lambda answer: answer == b"\x08\x01")


# ------------------------------------------------------------------------------------ routes


async def endpoints(service: Service) -> list[tuple[str, str, int, float]]:
    request = service_pb.GetRouteRequest(tenant=TENANT)
    response = await service.topology.GetRoute(request, timeout=TIMEOUT_S)
    return [
        (one.node, one.address.partition(":")[0], one.weight, one.utilization)
        for region in response.route.regions
        if region.region == "eu-west"
        for one in region.endpoints
    ]


async def test_routes_have_the_nodes_that_take_calls(service: Service) -> None:
    await service.publish(policy("p", _ALLOW))
    this = ("c1", "127.0.0.1", 100, 0.0)
    await register(service, edge(weight=30))
    assert [this] == await endpoints(service), "it has not said yet how it fares"
    await renew(service, load=pb.NodeLoad(utilization=0.52))
    assert ("e1", "e1.test", 30, 0.5) in await until(
        lambda: endpoints(service), lambda found: found[-1:] == [("e1", "e1.test", 30, 0.5)]
    )
    await update(service, draining=True)
    assert [this] == await endpoints(service)
    await update(service, draining=False)
    await renew(service, health=NOT_SERVING, health_reason="no disk")
    assert [this] == await endpoints(service)
    assert "no disk" == (await nodes(service))["e1"].health_reason
    await register(service, edge("e2", address=""))
    await renew(service, "e2")
    assert [this] == await endpoints(service)


async def test_workers_that_share_an_address_are_one_endpoint(service: Service) -> None:
    await service.publish(policy("p", _ALLOW))
    for number, utilization in enumerate((0.2, 0.4, 1.0)):
        await register(service, edge(f"w.{number}", address="w.test:1"))
        health = SERVING if number < 2 else NOT_SERVING
        await renew(
            service, f"w.{number}", health=health, load=pb.NodeLoad(utilization=utilization)
        )
    assert ("w.0", "w.test", 200, 0.3) == (await endpoints(service))[-1]


# ----------------------------------------------------------------------------------- streams


@asynccontextmanager
async def watching(call: Any) -> AsyncIterator[Any]:
    try:
        yield call
    finally:
        call.cancel()


async def read(call: Any) -> Any:
    message = await asyncio.wait_for(call.read(), TIMEOUT_S)
    assert message is not grpc.aio.EOF
    return message


async def read_out(call: Any) -> None:
    while True:
        await read(call)


async def test_a_route_is_sent_again_when_nodes_come_and_go(service: Service) -> None:
    await service.publish(policy("p", _ALLOW))
    request = service_pb.WatchRouteRequest(tenant=TENANT, location=pb.Location(country="IE"))

    def names(message: service_pb.WatchRouteResponse) -> list[str]:
        first = message.route.regions[0]
        assert ("eu-west", pb.ROUTE_REASON_NEAREST) == (first.region, first.reason)
        return [one.node for one in first.endpoints]

    async with watching(service.topology.WatchRoute(request)) as call:
        assert ["c1"] == names(await read(call))
        await register(service, edge())
        await renew(service)
        assert ["c1", "e1"] == names(await read(call))
        await update(service, draining=True)
        assert ["c1"] == names(await read(call))


async def test_a_route_is_sent_again_when_the_tenant_is_placed(service: Service) -> None:
    await service.publish(policy("p", _ALLOW))
    request = service_pb.WatchRouteRequest(tenant=TENANT)
    async with watching(service.topology.WatchRoute(request)) as call:
        assert 6 == len((await read(call)).route.regions)
        tenant = pb.Tenant(name=TENANT, residency=pb.RESIDENCY_RULE_EU_ONLY)
        await service.topology.PutTenant(
            service_pb.PutTenantRequest(tenant=tenant), timeout=TIMEOUT_S
        )
        assert 2 == len((await read(call)).route.regions)


async def test_a_watched_route_fails_as_one_that_is_got(service: Service) -> None:
    for request, code in (
        (service_pb.WatchRouteRequest(tenant="nobody"), grpc.StatusCode.NOT_FOUND),
        (service_pb.WatchRouteRequest(), grpc.StatusCode.INVALID_ARGUMENT),
        (
            service_pb.WatchRouteRequest(tenant=TENANT, location=pb.Location(country="XX")),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
    ):
        async with watching(service.topology.WatchRoute(request)) as call:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await read(call)
            assert code is caught.value.code()


async def test_everything_is_sent_and_then_what_changes(service: Service) -> None:
    await service.topology.PutTenant(
        service_pb.PutTenantRequest(
            tenant=pb.Tenant(name="placed", residency=pb.RESIDENCY_RULE_EU_ONLY)
        ),
        timeout=TIMEOUT_S,
    )
    async with watching(service.topology.WatchTopology(service_pb.WatchTopologyRequest())) as call:
        first = await read(call)
        kinds = [change.WhichOneof("change") for change in first.changes]
        assert (6, 1, 1) == (kinds.count("region"), kinds.count("node"), kinds.count("tenant"))
        assert first.snapshot_end
        assert first.HasField("server_time")

        await register(service, edge())
        await renew(service)
        state: dict[str, int] = {}
        while state.get("e1") != SERVING:
            message = await read(call)
            assert not message.snapshot_end
            state |= {change.node.id: change.node.health for change in message.changes}

        request = service_pb.DeregisterNodeRequest(node="e1", instance="first")
        await service.topology.DeregisterNode(request, timeout=TIMEOUT_S)
        removed = ""
        while not removed:
            message = await read(call)
            removed = "".join(change.removed_node for change in message.changes)
        assert "e1" == removed


async def test_only_kinds_that_are_asked_for_are_sent(service: Service) -> None:
    request = service_pb.WatchTopologyRequest(kinds=[service_pb.TOPOLOGY_KIND_TENANT])
    async with watching(service.topology.WatchTopology(request)) as call:
        first = await read(call)
        assert ([], True) == (list(first.changes), first.snapshot_end)
        await service.topology.PutTenant(
            service_pb.PutTenantRequest(
                tenant=pb.Tenant(name="placed", residency=pb.RESIDENCY_RULE_EU_ONLY)
            ),
            timeout=TIMEOUT_S,
        )
        (change,) = (await read(call)).changes
        assert ("placed", 2, True) == (
            change.tenant.name,
            change.tenant.residency,
            bool(change.tenant.etag),
        )
        # Nothing but a sign of life, in time.
        assert [] == list((await asyncio.wait_for(call.read(), 5.5)).changes)
    async with watching(
        service.topology.WatchTopology(
            service_pb.WatchTopologyRequest(kinds=[service_pb.TopologyKind.ValueType(9)])
        )
    ) as call:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read(call)
        assert {"kinds[0]"} == violated_fields(caught.value)


async def test_many_nodes_come_in_parts(service: Service) -> None:
    for number in range(600):
        await register(service, edge(f"n{number}"))
    request = service_pb.WatchTopologyRequest(kinds=[service_pb.TOPOLOGY_KIND_NODE])
    async with watching(service.topology.WatchTopology(request)) as call:
        one, two = await read(call), await read(call)
    assert (500, 101) == (len(one.changes), len(two.changes))
    assert (False, True) == (one.snapshot_end, two.snapshot_end)


async def test_watchers_are_bounded_and_told_when_the_node_drains() -> None:
    topology = TopologyConfig(max_watchers=1)
    async with running_service(topology=topology) as service:
        everything = service_pb.WatchTopologyRequest()
        async with watching(service.topology.WatchTopology(everything)) as first:
            await read(first)
            async with watching(service.topology.WatchTopology(everything)) as second:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await read(second)
            assert grpc.StatusCode.RESOURCE_EXHAUSTED is caught.value.code()
            assert "TOO_MANY_WATCHERS" == info(caught.value).reason
            draining = asyncio.ensure_future(service.node.drain())
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await read_out(first)
            assert (grpc.StatusCode.UNAVAILABLE, "DRAINING") == (
                caught.value.code(),
                info(caught.value).reason,
            )
            await draining


# ---------------------------------------------------------------------- several control nodes


@asynccontextmanager
async def two_control_nodes(folder: Path) -> AsyncIterator[tuple[Service, Service]]:
    path = folder / "placet.db"
    async with (
        running_service(path=path, node="c1", region="eu-west", topology=QUIET) as one,
        running_service(path=path, node="c2", region="us-east", topology=QUIET) as two,
    ):
        for each in (one, two):
            await until(
                lambda each=each: nodes(each),  # type: ignore[misc]
                lambda found: {found["c1"].health, found["c2"].health} == {SERVING},
            )
        yield one, two


async def test_control_nodes_on_one_store_know_each_others_nodes(tmp_path: Path) -> None:
    async with two_control_nodes(tmp_path) as (one, two):
        await register(one, edge())
        await renew(one)
        await until(lambda: nodes(two), lambda found: found["e1"].health == SERVING)
        assert (grpc.StatusCode.ALREADY_EXISTS, "NODE_ID_TAKEN") == await code_of(
            register(two, edge(instance="second"))
        )
        # Whichever of them it renews at, and is updated at.
        await renew(two, health=NOT_SERVING)
        await until(lambda: nodes(one), lambda found: found["e1"].health == NOT_SERVING)
        await renew(one)
        await until(lambda: nodes(two), lambda found: found["e1"].health == SERVING)
        await update(two, draining=True)
        await until(lambda: nodes(one), lambda found: found["e1"].draining)
        assert (await renew(one)).draining
        request = service_pb.DeregisterNodeRequest(node="e1", instance="first")
        await two.topology.DeregisterNode(request, timeout=TIMEOUT_S)
        await until(lambda: nodes(one), lambda found: "e1" not in found)


async def test_others_know_that_a_control_node_stops_before_it_has(tmp_path: Path) -> None:
    async with two_control_nodes(tmp_path) as (one, two):
        await two.node.drain()
        await until(lambda: nodes(one), lambda found: found["c2"].draining)


async def test_a_control_node_that_stops_is_gone_at_once(tmp_path: Path) -> None:
    path = tmp_path / "placet.db"
    async with running_service(path=path, node="c1", topology=QUIET) as one:
        async with running_service(path=path, node="c2", topology=QUIET):
            await until(lambda: nodes(one), lambda found: found["c2"].health == SERVING)
        await until(lambda: nodes(one), lambda found: "c2" not in found)
