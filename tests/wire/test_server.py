"""What a server offers besides its own services, and how it stops."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from placet.v1.evaluate_service_pb2_grpc import EvaluateServiceStub
from placet_engine.changes import ChangeSet
from placet_engine.items import Policy
from placet_server.api.server import PLACET_SERVICES
from placet_server.app import running_node
from placet_server.config import Config, ConfigError, ServerConfig, StoreConfig
from placet_server.listening import AddressUnavailable
from tests.wire.service import (
    TIMEOUT_S,
    Service,
    connected,
    policy,
    request,
    running_service,
)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def _health(service: Service) -> Any:
    """Return a stub whose stubs leave its methods out."""
    return health_pb2_grpc.HealthStub(service.channel)


async def test_health_is_told_for_the_server_and_for_each_service() -> None:
    async with running_service() as service:
        stub = _health(service)
        answers = [
            await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=TIMEOUT_S)
            for name in ("", *PLACET_SERVICES)
        ]

    assert [answer.status for answer in answers] == [SERVING] * (1 + len(PLACET_SERVICES))


async def test_a_health_watcher_that_leaves_takes_nobody_along() -> None:
    async with running_service() as service:
        watches = [
            _health(service).Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
            for _ in range(2)
        ]
        leaving, staying = [aiter(watch) for watch in watches]
        assert (await anext(leaving)).status == (await anext(staying)).status == SERVING
        watches[0].cancel()
        # Another call on the connection: when it is answered, the server knows of the leaving.
        await _health(service).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)

        draining = asyncio.create_task(service.node.drain())
        assert (await anext(staying)).status == NOT_SERVING
        watches[1].cancel()
        await draining


async def test_a_client_may_ping_often_to_find_out_that_a_node_hangs() -> None:
    """The option that allows it went by a name gRPC does not know, and nobody heard of it.

    A silent stream that was watched over by pings was then ended after the third.
    """
    options = [
        ("grpc.keepalive_time_ms", 250),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    async with (
        running_service() as service,
        grpc.aio.insecure_channel(service.node.address, options) as channel,
    ):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await watch.read()


async def _reflected(
    service: Service, *asked: reflection_pb2.ServerReflectionRequest, version: str = "v1"
) -> list[reflection_pb2.ServerReflectionResponse]:
    call = service.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )(iter(asked), timeout=TIMEOUT_S)
    return [answer async for answer in call]


def _symbol(name: str) -> reflection_pb2.ServerReflectionRequest:
    return reflection_pb2.ServerReflectionRequest(file_containing_symbol=name)


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_and_describes_under_both_names(version: str) -> None:
    async with running_service() as service:
        listed, *described = await _reflected(
            service,
            reflection_pb2.ServerReflectionRequest(list_services=""),
            *map(_symbol, (*PLACET_SERVICES, f"grpc.reflection.{version}.ServerReflection")),
            version=version,
        )

    names = {entry.name for entry in listed.list_services_response.service}
    assert names > {*PLACET_SERVICES, f"grpc.reflection.{version}.ServerReflection"}
    assert all(
        answer.WhichOneof("message_response") == "file_descriptor_response" for answer in described
    )


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_knows_every_kind_of_symbol(version: str) -> None:
    """Methods were not found: Python's pool of descriptors, which grpcio asks, leaves them out."""
    symbols = {
        "placet.v1.EvaluateService.Evaluate": "placet/v1/evaluate_service.proto",
        "placet.v1.EvaluateRequest.tenant": "placet/v1/evaluate_service.proto",
        "placet.v1.Outcome": "placet/v1/decision.proto",
        "grpc.health.v1.Health.Watch": "grpc_health/v1/health.proto",
        "google.rpc.RetryInfo": "google/rpc/error_details.proto",
    }
    async with running_service() as service:
        found = await _reflected(service, *map(_symbol, symbols), version=version)
        (missing,) = await _reflected(
            service, _symbol("placet.v1.EvaluateService.Guess"), version=version
        )

    for answer, path in zip(found, symbols.values(), strict=True):
        assert path in {file.name for file in _files(answer)}
    assert grpc.StatusCode.NOT_FOUND.value[0] == missing.error_response.error_code


def _files(
    answer: reflection_pb2.ServerReflectionResponse,
) -> list[descriptor_pb2.FileDescriptorProto]:
    return [
        descriptor_pb2.FileDescriptorProto.FromString(data)
        for data in answer.file_descriptor_response.file_descriptor_proto
    ]


async def test_reflection_has_the_comments_of_the_protos_and_is_else_what_is_served() -> None:
    async with running_service() as service:
        answers = await _reflected(service, *map(_symbol, PLACET_SERVICES))

    described = {file.name: file for answer in answers for file in _files(answer)}
    comments = {
        comment.leading_comments.strip().partition("\n")[0]
        for file in described.values()
        for comment in file.source_code_info.location
    }
    assert {"Evaluate decides one request.", "Whose policies decide. Required."} < comments
    for name, file in described.items():
        served = descriptor_pb2.FileDescriptorProto()
        descriptor_pool.Default().FindFileByName(name).CopyToProto(served)
        file.ClearField("source_code_info")
        assert served == file


async def test_channelz_shows_the_server() -> None:
    async with running_service() as service:
        stub: Any = channelz_pb2_grpc.ChannelzStub(service.channel)  # type: ignore[arg-type]
        answer = await stub.GetServers(channelz_pb2.GetServersRequest(), timeout=TIMEOUT_S)

    assert len(answer.server) >= 1


async def test_channelz_shows_who_is_connected_page_by_page() -> None:
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(running_service())
        for _ in range(20):
            other = await stack.enter_async_context(connected(service.node.address))
            await other.channel.channel_ready()
        stub: Any = channelz_pb2_grpc.ChannelzStub(service.channel)  # type: ignore[arg-type]
        servers = await stub.GetServers(channelz_pb2.GetServersRequest(), timeout=TIMEOUT_S)
        (server,) = (server for server in servers.server if server.listen_socket)
        names: list[str] = []
        pages, next_socket, is_last = 0, 0, False
        while not is_last:
            page = await stub.GetServerSockets(
                channelz_pb2.GetServerSocketsRequest(
                    server_id=server.ref.server_id, start_socket_id=next_socket, max_results=5
                ),
                timeout=TIMEOUT_S,
            )
            names += (socket.name for socket in page.socket_ref)
            next_socket, is_last = page.socket_ref[-1].socket_id + 1, page.end
            pages += 1

    assert pages >= 5
    assert len(names) == len(set(names)) >= 21
    assert all(name.startswith("chttp2 ipv4:127.0.0.1:") for name in names)


async def test_draining_finishes_calls_under_way_and_takes_no_new_ones() -> None:
    async with running_service(drain_s=5.0) as service:
        await service.publish(policy("p", "permit(principal, action, resource);"))
        # A call that waits for a revision which is published while draining.
        waiting = asyncio.ensure_future(
            service.evaluate.Evaluate(request(min_revision=2), timeout=TIMEOUT_S)
        )
        watch = _health(service).Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        statuses = aiter(watch)
        assert (await anext(statuses)).status == SERVING
        other = grpc.aio.insecure_channel(service.node.address)
        await other.channel_ready()

        draining = asyncio.create_task(service.node.drain())
        assert (await anext(statuses)).status == NOT_SERVING
        watch.cancel()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await EvaluateServiceStub(other).Evaluate(request(), timeout=TIMEOUT_S)
        await service.node.publisher.publish("acme", _one_more(), timeout_s=TIMEOUT_S)
        answer = await waiting
        await draining
        await other.close()

    assert answer.decision.revision == 2
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def _one_more() -> ChangeSet:
    return ChangeSet(upserts=(Policy(id="q", cedar="permit(principal, action, resource);"),))


async def test_a_taken_port_is_a_clear_error() -> None:
    async with running_service() as service:
        config = Config(
            server=ServerConfig(listen=service.node.address), store=StoreConfig(kind="memory")
        )
        with pytest.raises(AddressUnavailable, match="cannot listen on"):
            async with running_node(config):
                pass


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "example.org:7717"])
async def test_an_address_others_can_reach_needs_a_flag(listen: str) -> None:
    config = Config(server=ServerConfig(listen=listen), store=StoreConfig(kind="memory"))
    with pytest.raises(ConfigError, match="allow_insecure"):
        async with running_node(config):
            pass


async def test_a_passed_deadline_is_deadline_exceeded_and_not_an_answer() -> None:
    async with running_service() as service:
        await service.publish(policy("p", "permit(principal, action, resource);"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.evaluate.Evaluate(request(min_revision=99), timeout=0.05)

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
