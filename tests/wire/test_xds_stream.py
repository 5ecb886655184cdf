"""Streams of the aggregated discovery service, to the server's own process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from placet.v1 import node_service_pb2, policy_pb2, policy_service_pb2
from placet.v1 import topology_pb2 as pb
from placet_server.api import discovery
from placet_server.config import TopologyConfig, XdsConfig
from placet_server.xds.resources import Type
from tests.faults.ports import free_port
from tests.identities import Issuer, bearer, entry, identity_config
from tests.waiting import until_it
from tests.wire.ads import METHOD, EndedWell, missing_in, nodes_in, streaming
from tests.wire.details import info
from tests.wire.service import (
    TENANT,
    TIMEOUT_S,
    Connection,
    Service,
    policy,
    running_edge_service,
    running_service,
)
from tests.wire.test_topology_nodes import edge, register, renew, update

_ALLOW = policy("p", "permit(principal, action, resource);")
# What is tested is what comes, not how soon.
_QUIET = TopologyConfig(lease_s=5.0, probe_every_s=0, share_s=0.2)
_NODES = "acme.tenant.placet/nodes"
_Code = grpc.StatusCode


@pytest.fixture(name="service")
async def service_fixture() -> AsyncIterator[Service]:
    async with running_service(node="c1", region="eu-west", topology=_QUIET) as service:
        await service.publish(_ALLOW)
        yield service


async def clients(service: Connection) -> list[node_service_pb2.XdsClient]:
    request = node_service_pb2.ListXdsClientsRequest()
    return list((await service.nodes.ListXdsClients(request, timeout=TIMEOUT_S)).clients)


# ------------------------------------------------------------------------------- what is sent


async def test_nodes_that_come_and_go_are_told_of_at_once(service: Service) -> None:
    async with streaming(service.channel) as stream:
        await stream.get(Type.ENDPOINTS, _NODES)
        await register(service, edge(address="192.0.2.1:7717"))
        await renew(service)
        seen = [[service.node.address, "192.0.2.1:7717"]]
        assert seen == nodes_in(await stream.get(Type.ENDPOINTS, _NODES))

        await update(service, draining=True)
        assert [[service.node.address]] == nodes_in(await stream.get(Type.ENDPOINTS, _NODES))


async def test_a_lease_that_lapses_is_told_of_at_once() -> None:
    brief = TopologyConfig(lease_s=0.3, probe_every_s=0)
    async with running_service(node="c1", region="eu-west", topology=brief) as service:
        await service.publish(_ALLOW)
        await register(service, edge(address="192.0.2.1:7717"))
        await renew(service)
        async with streaming(service.channel) as stream:
            found = nodes_in(await stream.get(Type.ENDPOINTS, _NODES))
            while found != [[service.node.address]]:
                found = nodes_in(await stream.get(Type.ENDPOINTS, _NODES))


async def test_a_tenant_that_moves_takes_its_callers_along(service: Service) -> None:
    for number, region in enumerate(("us-east", "apac-southeast"), 1):
        await register(service, edge(f"e{number}", region=region, address=f"192.0.2.{number}:1"))
        await renew(service, f"e{number}")
    async with streaming(service.channel, locality={"region": "us-east"}) as stream:
        assert 3 == len(nodes_in(await stream.get(Type.ENDPOINTS, _NODES)))
        await service.place(pb.RESIDENCY_RULE_NO_US)
        found = nodes_in(await stream.get(Type.ENDPOINTS, _NODES))
        assert [[service.node.address], ["192.0.2.2:1"]] == found
        await service.place(pb.RESIDENCY_RULE_EU_ONLY)
        assert [[service.node.address]] == nodes_in(await stream.get(Type.ENDPOINTS, _NODES))


async def test_a_tenant_is_there_once_something_is_published_for_it(service: Service) -> None:
    name = "new.tenant.placet"
    async with streaming(service.channel) as stream:
        response = await stream.get(Type.LISTENER, name)
        assert "`new` is not known" in missing_in(response)[name]
        await stream.ask(Type.LISTENER, name)
        await service.publish(_ALLOW, tenant="new")
        response = await stream.read()
        assert (1, {}) == (len(response.resources), missing_in(response))


async def test_an_edge_tells_what_its_control_node_tells(service: Service) -> None:
    async with (
        running_edge_service(service.node.address, node="e1", region="us-east") as edge_,
        streaming(service.channel, locality={"region": "eu-west"}) as at_control,
        streaming(edge_.channel, locality={"region": "eu-west"}) as at_edge,
    ):
        wanted = [[service.node.address], [edge_.node.address]]
        for stream in (at_control, at_edge):
            found = nodes_in(await stream.get(Type.ENDPOINTS, "EU_ONLY.residency.placet/nodes"))
            assert wanted[:1] == found
            response = await stream.get(Type.ENDPOINTS, "ANY.residency.placet/nodes")
            while nodes_in(response) != wanted:
                response = await stream.get(Type.ENDPOINTS, "ANY.residency.placet/nodes")


# ------------------------------------------------------------------------------ what it shows


async def test_who_is_connected_is_listed_with_what_they_refuse(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    metadata = {
        "placet.tenant": TENANT,
        "placet.residency": "NO_US",
        "placet.balancing": "random",
    }
    assert [] == await clients(service)
    said: dict[str, Any] = {
        "id_": "orders-1",
        "user_agent_name": "gRPC Go",
        "user_agent_version": "1.72.0",
    }
    async with streaming(
        service.channel, metadata, locality={"region": "eu-west"}, **said
    ) as stream:
        response = await stream.get(Type.CLUSTER, "placet/nodes")
        with caplog.at_level(logging.ERROR):
            await stream.ask(Type.CLUSTER, "placet/nodes", error="no such policy")
            await stream.get(Type.LISTENER, "placet")
        await stream.ask(Type.LISTENER, "placet")

        async def has_answered() -> bool:
            (client,) = await clients(service)
            return bool(client.subscriptions[-1].accepted_version)

        await until_it(has_answered)
        (client,) = await clients(service)
        assert ("orders-1", node_service_pb2.XDS_LIBRARY_GO, "gRPC Go", "1.72.0", "eu-west") == (
            client.id,
            client.library,
            client.user_agent,
            client.version,
            client.region,
        )
        assert (TENANT, pb.RESIDENCY_RULE_NO_US, "random") == (
            client.tenant,
            client.residency,
            client.balancing,
        )
        clusters, listeners = client.subscriptions
        assert ("", "no such policy", response.version_info) == (
            clusters.accepted_version,
            clusters.refusal.message,
            clusters.refusal.version,
        )
        assert ["placet"] == list(listeners.names)
        assert listeners.sent_version == listeners.accepted_version != ""
        assert not listeners.HasField("refusal")

        # Who comes again with the same is not told of again.
        async with streaming(service.channel, metadata, **said) as again:
            await again.get(Type.CLUSTER, "placet/nodes")
            await again.ask(Type.CLUSTER, "placet/nodes", error="no such policy")
            await again.get(Type.LISTENER, "placet")
            assert ["orders-1", "orders-1"] == [one.id for one in await clients(service)]

    told = [record for record in caplog.records if "refuses" in record.message]
    assert ["no such policy"] == [record.__dict__["reason"] for record in told]

    async def is_gone() -> bool:
        return not await clients(service)

    await until_it(is_gone)


# ---------------------------------------------------------------------------------- how it ends


async def test_streams_end_when_the_node_stops() -> None:
    async with (
        running_service(node="c1", region="eu-west", topology=_QUIET) as service,
        streaming(service.channel) as stream,
    ):
        await stream.get(Type.ENDPOINTS, "placet/nodes")
        await stream.ask(Type.ENDPOINTS, "placet/nodes")
        stopping = asyncio.create_task(service.node.drain())
        error = await stream.failed()
        await stopping
    assert (_Code.UNAVAILABLE, "DRAINING") == (error.code(), info(error).reason)


async def test_a_client_that_has_nothing_more_to_ask_ends_well(service: Service) -> None:
    async with streaming(service.channel) as stream:
        await stream.get(Type.LISTENER, "placet")
        await stream.done()
        with pytest.raises(EndedWell):
            await stream.read()


async def test_a_node_that_knows_of_nobody_sends_clients_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(discovery, "_INFORMED_S", 0.05)
    async with (
        running_edge_service(f"127.0.0.1:{free_port()}", node="e1") as edge_,
        streaming(edge_.channel) as stream,
    ):
        await stream.ask(Type.LISTENER, "placet")
        error = await stream.failed()
    assert (_Code.UNAVAILABLE, "NODE_NOT_READY") == (error.code(), info(error).reason)


async def test_there_are_only_so_many() -> None:
    async with (
        running_service(node="c1", xds=XdsConfig(max_clients=1)) as service,
        streaming(service.channel) as first,
    ):
        await first.get(Type.LISTENER, "placet")
        async with streaming(service.channel) as second:
            await second.ask(Type.LISTENER, "placet")
            error = await second.failed()
    assert (_Code.RESOURCE_EXHAUSTED, "TOO_MANY_XDS_CLIENTS") == (error.code(), info(error).reason)


@pytest.mark.parametrize(
    ("metadata", "names", "reason"),
    [
        ({"placet.residency": "EU"}, ["placet"], "XDS_CLIENT_REFUSED"),
        ({}, ["a"] * 501, "XDS_REQUEST_REFUSED"),
    ],
)
async def test_what_cannot_be_answered_is_refused(
    service: Service, metadata: dict[str, str], names: list[str], reason: str
) -> None:
    async with streaming(service.channel, metadata) as stream:
        await stream.ask(Type.LISTENER, *names)
        error = await stream.failed()
    assert (_Code.INVALID_ARGUMENT, reason) == (error.code(), info(error).reason)


async def test_a_stream_that_asks_for_nothing_is_refused(service: Service) -> None:
    async with streaming(service.channel) as stream:
        await stream.done()
        error = await stream.failed()
    assert (_Code.INVALID_ARGUMENT, "XDS_REQUEST_REFUSED") == (error.code(), info(error).reason)


async def test_what_cannot_be_read_is_refused(service: Service) -> None:
    channel: Any = service.channel
    call = channel.stream_stream(METHOD)(iter([b"\xff"]), timeout=TIMEOUT_S)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert "MESSAGE_UNREADABLE" == info(caught.value).reason


async def test_the_incremental_variant_is_not_served(service: Service) -> None:
    method = METHOD.replace("Stream", "Delta")
    channel: Any = service.channel
    call = channel.stream_stream(method)(iter([b""]), timeout=TIMEOUT_S)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert _Code.UNIMPLEMENTED is caught.value.code()


# ------------------------------------------------------------------------------------ identity


async def test_a_client_is_told_of_the_tenants_it_has_business_with(tmp_path: Path) -> None:
    issuer = Issuer()
    root = entry("publish", "operate", names=["root"], tenants=["*"], platform=True)
    mine = entry("decide", names=["alice"], tenants=[TENANT])
    identity = identity_config(tmp_path, f"{root}\n{mine}", issuer.jwks)
    async with running_service(identity=identity, topology=_QUIET) as service:
        by_root = bearer(issuer.token("root"))
        for tenant in (TENANT, "other"):
            await service.policy.Publish(_publish(tenant), metadata=by_root, timeout=TIMEOUT_S)

        alice = bearer(issuer.token("alice"))
        async with streaming(service.channel, calling=alice) as stream:
            response = await stream.get(
                Type.LISTENER, "acme.tenant.placet", "other.tenant.placet", "placet"
            )
            assert 2 == len(response.resources)
            assert "may not be told" in missing_in(response)["other.tenant.placet"]
        hers = {"placet.tenant": "other"}
        async with streaming(service.channel, hers, calling=alice) as stream:
            response = await stream.get(Type.CLUSTER, "placet/nodes")
            assert ([], ["placet/nodes"]) == (list(response.resources), list(missing_in(response)))

        nobody = bearer(issuer.token("mallory"))
        for calling, code in (((), _Code.UNAUTHENTICATED), (nobody, _Code.PERMISSION_DENIED)):
            async with streaming(service.channel, calling=calling) as stream:
                await stream.ask(Type.LISTENER, "placet")
                assert code is (await stream.failed()).code()

        listing = node_service_pb2.ListXdsClientsRequest()
        await service.nodes.ListXdsClients(listing, metadata=by_root, timeout=TIMEOUT_S)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.nodes.ListXdsClients(listing, metadata=alice, timeout=TIMEOUT_S)
        assert _Code.PERMISSION_DENIED is caught.value.code()


async def test_a_silent_stream_ends_when_its_caller_may_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "_LOOKED_AFTER_S", 0.02)
    issuer = Issuer()
    access = entry("decide", names=["alice"], tenants=[TENANT])
    identity = identity_config(tmp_path, access, issuer.jwks)
    alice = bearer(issuer.token("alice"))
    async with (
        running_service(identity=identity, topology=_QUIET) as service,
        streaming(service.channel, calling=alice) as stream,
    ):
        await stream.get(Type.LISTENER, "placet")
        await stream.ask(Type.LISTENER, "placet")
        new = tmp_path / "access.new"
        new.write_text(entry("decide", names=["alice"], tenants=["other"]))
        new.rename(tmp_path / "access.toml")
        error = await stream.failed()
    assert (_Code.UNAVAILABLE, "CALLER_CHANGED") == (error.code(), info(error).reason)


def _publish(tenant: str) -> policy_service_pb2.PublishRequest:
    return policy_service_pb2.PublishRequest(
        tenant=tenant, change_set=policy_pb2.ChangeSet(policies=[_ALLOW])
    )
