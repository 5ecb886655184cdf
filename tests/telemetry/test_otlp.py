from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    use_span,
)

import placet.aio
from placet_server.config import TelemetryConfig
from tests.telemetry.collector import Collector, attributes, running_collector
from tests.telemetry.scraping import TIMEOUT_S, value
from tests.wire.service import policy, request, running_service

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ALLOW = "permit(principal, action, resource);"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


def config(collector: Collector, **fields: Any) -> TelemetryConfig:
    return TelemetryConfig(otlp_endpoint=collector.address, otlp_interval_s=0.1, **fields)


async def test_the_collector_gets_the_numbers_that_prometheus_reads(collector: Collector) -> None:
    telemetry = config(collector, prometheus_listen="127.0.0.1:0")
    async with running_service(telemetry=telemetry) as service:
        await service.publish(policy("p", ALLOW))
        for _ in range(3):
            await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)
        scraped = (
            await value(service.node, "placet_decisions_total"),
            await value(service.node, "placet_decision_duration_seconds_count"),
        )

    decisions = collector.metrics("placet.decisions")[-1].sum
    durations = collector.metrics("placet.decision.duration")[-1].histogram
    assert scraped == (3.0, 3.0)
    assert sum(point.as_double or point.as_int for point in decisions.data_points) == 3
    assert sum(point.count for point in durations.data_points) == 3
    assert decisions.is_monotonic


async def test_metrics_are_pushed_while_the_server_runs(collector: Collector) -> None:
    async with running_service(telemetry=config(collector)):
        await asyncio.to_thread(
            collector.wait_for, lambda found: len(found.metrics("placet.revision")) >= 2
        )


async def test_a_call_is_a_span_below_its_callers(collector: Collector) -> None:
    telemetry = config(collector, traces=True, trace_ratio=0.0)
    async with running_service(telemetry=telemetry) as service:
        await service.publish(policy("p", ALLOW))
        traceparent = ("traceparent", f"00-{TRACE}-{PARENT}-01")
        await service.evaluate.Evaluate(request(), metadata=[traceparent], timeout=TIMEOUT_S)
        # Its caller does not sample, and neither does one in none.
        not_sampled = ("traceparent", f"00-{TRACE}-{PARENT}-00")
        await service.evaluate.Evaluate(request(), metadata=[not_sampled], timeout=TIMEOUT_S)
        await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)

    [span] = collector.spans
    assert (span.name, span.trace_id.hex(), span.parent_span_id.hex()) == (
        "placet.v1.EvaluateService/Evaluate",
        TRACE,
        PARENT,
    )
    assert attributes(span) == {
        "rpc.system": "grpc",
        "rpc.service": "placet.v1.EvaluateService",
        "rpc.method": "Evaluate",
        "rpc.grpc.status_code": 0,
        "placet.tenant": "acme",
        "placet.outcome": "ALLOW",
        "placet.revision": 1,
        "placet.cached": False,
    }


async def test_calls_that_fail_are_spans_with_their_status(collector: Collector) -> None:
    telemetry = config(collector, traces=True, trace_ratio=1.0)
    async with running_service(telemetry=telemetry) as service:
        with pytest.raises(grpc.aio.AioRpcError):
            await service.evaluate.Evaluate(request(tenant="nobody"), timeout=TIMEOUT_S)

    [span] = collector.spans
    assert attributes(span)["rpc.grpc.status_code"] == grpc.StatusCode.NOT_FOUND.value[0]
    # An unknown tenant is the caller's doing.
    assert span.status.code == 0


async def test_decisions_are_log_records_within_their_trace(collector: Collector) -> None:
    telemetry = config(collector, traces=True, trace_ratio=1.0, decision_log="otlp")
    async with running_service(telemetry=telemetry) as service:
        await service.publish(policy("p", ALLOW))
        answer = await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)

    [record] = collector.records
    [span] = [span for span in collector.spans if span.name.endswith("/Evaluate")]
    body = {field.key: field.value for field in record.body.kvlist_value.values}
    assert record.event_name == "placet.decision"
    assert (record.trace_id, record.span_id) == (span.trace_id, span.span_id)
    assert body["decision_id"].string_value == answer.decision.decision_id
    assert body["trace_id"].string_value == span.trace_id.hex()


@pytest.mark.parametrize("state", ["", "vendor=x"])
async def test_the_sdk_passes_its_callers_trace_on(collector: Collector, state: str) -> None:
    context = SpanContext(
        trace_id=int(TRACE, 16),
        span_id=int(PARENT, 16),
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        trace_state=TraceState.from_header([state]),
    )
    telemetry = config(collector, traces=True, trace_ratio=0.0)
    async with running_service(telemetry=telemetry) as service:
        await service.publish(policy("p", ALLOW))
        async with placet.aio.Client(service.node.address, tenant="acme") as client:
            with use_span(NonRecordingSpan(context)):
                await client.evaluate(("User", "alice"), "view", ("Document", "one"))
            await client.evaluate(("User", "alice"), "view", ("Document", "one"))

    [span] = collector.spans
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert span.trace_state == state
