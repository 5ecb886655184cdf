from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable

import grpc
import pytest

from placet_server.app import running_node
from placet_server.config import Config, ConfigError, ServerConfig, StoreConfig, TelemetryConfig
from tests.telemetry.scraping import SCRAPED, TIMEOUT_S, samples, value
from tests.wire.service import TENANT, policy, request, running_service

ALLOW = "permit(principal, action, resource);"
EVALUATE = "placet.v1.EvaluateService/Evaluate"


async def talk(address: str, data: bytes) -> bytes:
    """Send bytes to the endpoint and return all it answers."""
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(TIMEOUT_S):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(data)
        try:
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()


async def test_calls_are_counted_by_method_and_status() -> None:
    async with running_service(telemetry=SCRAPED) as service:
        await service.publish(policy("p", ALLOW))
        first = request()
        await service.evaluate.Evaluate(first, timeout=TIMEOUT_S)
        await service.evaluate.Evaluate(first, timeout=TIMEOUT_S)
        with pytest.raises(grpc.aio.AioRpcError):
            await service.evaluate.Evaluate(request(tenant="nobody"), timeout=TIMEOUT_S)
        with pytest.raises(grpc.aio.AioRpcError):
            await service.evaluate.Evaluate(request(tenant=""), timeout=TIMEOUT_S)
        duration, calls = "grpc_server_call_duration_seconds_count", {"grpc_method": EVALUATE}
        received = await value(
            service.node,
            "grpc_server_call_rcvd_total_compressed_message_size_bytes_sum",
            grpc_status="OK",
            **calls,
        )
        sent = await value(
            service.node,
            "grpc_server_call_sent_total_compressed_message_size_bytes_sum",
            grpc_status="OK",
            **calls,
        )
        by_status = {
            found["grpc_status"]: float(found["value"])
            for found in await samples(service.node, duration, **calls)
        }
        started = await value(service.node, "grpc_server_call_started_total", **calls)

    assert by_status == {"OK": 2.0, "NOT_FOUND": 1.0, "INVALID_ARGUMENT": 1.0}
    assert started == 4
    assert received == 2 * first.ByteSize()
    assert sent > 0


async def test_streams_count_all_their_messages() -> None:
    from placet.v1 import evaluate_service_pb2

    async with running_service(telemetry=SCRAPED) as service:
        await service.publish(policy("p", ALLOW))
        asked = [
            evaluate_service_pb2.EvaluateStreamRequest(correlation_id=str(number), request=question)
            for number, question in enumerate((request(), request(), request(tenant="nobody")))
        ]
        answers = [
            answer
            async for answer in service.evaluate.EvaluateStream(iter(asked), timeout=TIMEOUT_S)
        ]
        of = {"grpc_method": "placet.v1.EvaluateService/EvaluateStream", "grpc_status": "OK"}
        received = await value(
            service.node, "grpc_server_call_rcvd_total_compressed_message_size_bytes_sum", **of
        )
        sent = await value(
            service.node, "grpc_server_call_sent_total_compressed_message_size_bytes_sum", **of
        )
        errors = await value(service.node, "placet_decision_errors_total", reason="TENANT_UNKNOWN")

    assert received == sum(message.ByteSize() for message in asked)
    assert sent == sum(answer.ByteSize() for answer in answers)
    assert errors == 1


async def test_a_cancelled_call_is_counted_as_that() -> None:
    async with running_service(telemetry=SCRAPED) as service:
        await service.publish(policy("p", ALLOW))
        from placet.v1 import subscribe_service_pb2

        call = service.subscribe.Subscribe(
            subscribe_service_pb2.SubscribeRequest(tenant=TENANT), timeout=TIMEOUT_S
        )
        await call.read()
        open_streams = await value(service.node, "placet_subscribers")
        call.cancel()
        await eventually(
            lambda: value(
                service.node,
                "grpc_server_call_duration_seconds_count",
                grpc_method="placet.v1.SubscribeService/Subscribe",
                grpc_status="CANCELLED",
            ),
            1.0,
        )

    assert open_streams == 1


async def eventually(read: Callable[[], Awaitable[float]], expected: float) -> None:
    """Read again and again until it is as expected."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while (found := await read()) != expected:
        assert time.monotonic() < deadline_s, f"still {found}"


async def test_the_node_is_on_every_series() -> None:
    async with running_service(telemetry=SCRAPED) as service:
        await service.publish(policy("p", ALLOW))
        await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)
        await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)
        names = {
            "placet_revision": 1.0,
            "placet_tenants": 1.0,
            "placet_decisions_total": 2.0,
            "placet_cache_hits_total": 1.0,
            "placet_cache_misses_total": 1.0,
            # By what it looks at, and as it came.
            "placet_cache_entries": 2.0,
            "placet_subscribers": 0.0,
            "placet_build_info": 1.0,
            "placet_propagation_duration_seconds_count": 1.0,
            "placet_publish_duration_seconds_count": 1.0,
        }
        labels = {"service_instance_id": "test-node", "cloud_region": "local"}
        found = {name: await value(service.node, name, **labels) for name in names}

    assert found == names


async def test_a_node_that_nobody_scrapes_has_no_endpoint() -> None:
    async with running_service() as service:
        telemetry = service.node.telemetry

    assert telemetry.prometheus_address == ""
    assert (telemetry.rpc, telemetry.decisions, telemetry.decision_log) == (None, None, None)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"GET /metrics?a=b HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 404 Not Found"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 Method Not Allowed"),
        (b"\r\n\r\n", b"HTTP/1.1 404 Not Found"),
        (b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 4000 + b"\r\n", b""),
    ],
)
async def test_the_endpoint_answers_one_question(sent: bytes, status: bytes) -> None:
    async with running_service(telemetry=SCRAPED) as service:
        answer = await talk(service.node.telemetry.prometheus_address, sent)

    assert answer.split(b"\r\n")[0] == status


async def test_a_connection_that_says_nothing_holds_nobody_up() -> None:
    async with running_service(telemetry=SCRAPED) as service:
        host, _, port = service.node.telemetry.prometheus_address.rpartition(":")
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
        revision = await value(service.node, "placet_revision")
        silent += [await asyncio.open_connection(host, int(port)) for _ in range(13)]
        one_too_many = await asyncio.open_connection(host, int(port))
        answer = await asyncio.wait_for(one_too_many[0].read(), TIMEOUT_S)
        for _, writer in (*silent, one_too_many):
            writer.close()

    assert (revision, answer) == (0, b"")


def config(**telemetry: str) -> Config:
    return Config(
        server=ServerConfig(listen="127.0.0.1:0"),
        store=StoreConfig(kind="memory"),
        telemetry=TelemetryConfig(**telemetry),  # type: ignore[arg-type]
    )


async def refusal(wanted: Config) -> str:
    with pytest.raises(ConfigError) as caught:
        async with running_node(wanted):
            pass
    return str(caught.value)


async def test_what_others_can_reach_is_refused() -> None:
    said = await refusal(config(prometheus_listen="0.0.0.0:0"))

    assert said.startswith("`0.0.0.0:0` can be reached by others")


async def test_a_taken_port_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = await refusal(config(prometheus_listen=address))

    assert said.startswith(f"cannot listen on `{address}` for Prometheus")


async def test_traces_need_somewhere_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)

    said = await refusal(Config(telemetry=TelemetryConfig(traces=True)))

    assert said == "telemetry.traces has nowhere to go; set telemetry.otlp_endpoint"
