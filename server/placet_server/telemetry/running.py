"""Puts a node's telemetry together, and takes it apart at the end."""

from __future__ import annotations

import asyncio
import datetime
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Tracer
from prometheus_client import CollectorRegistry

from placet_server.config import ConfigError, TelemetryConfig
from placet_server.telemetry.decision_log.log import DecisionLog
from placet_server.telemetry.decision_log.opening import running_decision_log
from placet_server.telemetry.decision_log.records import AskedRequest
from placet_server.telemetry.decisions import DecisionTelemetry
from placet_server.telemetry.endpoint import MetricsEndpoint
from placet_server.telemetry.process import measure_loop_lag, observe_process
from placet_server.telemetry.propagation import PropagationTelemetry
from placet_server.telemetry.reading import NODE, REGION, PrometheusReader, PushingReader
from placet_server.telemetry.recorders import Histograms, Metrics
from placet_server.telemetry.rpc import RpcTelemetry

log = logging.getLogger(__name__)

_SCOPE = "placet"
_SHUTDOWN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTelemetry:
    """What the parts of a node report to. What is None is told nothing, and costs nothing."""

    metrics: Metrics
    propagation: PropagationTelemetry
    rpc: RpcTelemetry | None
    decisions: DecisionTelemetry | None
    decision_log: DecisionLog | None
    prometheus_address: str
    """Where Prometheus may scrape, ``host:port``. Empty: nowhere."""


@asynccontextmanager
async def running_telemetry(
    config: TelemetryConfig,
    *,
    node: str,
    region: str,
    read_request: Callable[[object], AskedRequest],
    now: Callable[[], datetime.datetime],
) -> AsyncIterator[NodeTelemetry]:
    """Run a node's telemetry for the length of the block; at its end, flush it.

    Args:
        config: what is wanted.
        node: name of the node.
        region: its region.
        read_request: makes the JSON form of requests that the decision log is offered.
        now: the time of day, as commits are stamped with it.

    Raises:
        ConfigError: what is wanted cannot be had.
    """
    pushes = _pushes(config)
    is_measured = pushes or bool(config.prometheus_listen)
    resource = Resource.create(
        {"service.name": "placet", "service.version": placet_version(), NODE: node, REGION: region}
    )
    registry = CollectorRegistry()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        metrics, tracer = Metrics(), None
        if is_measured:
            metrics = await enter(_running_metrics(config, resource, registry, pushes))
            await enter(_measuring_process(metrics, node, region))
        if config.traces:
            tracer = await enter(_running_tracer(config, resource))
        decisions = DecisionTelemetry(
            metrics, max_tenants=config.max_tenants, is_traced=tracer is not None
        )
        identity = {"node": node, "region": region}
        yield NodeTelemetry(
            metrics=metrics,
            propagation=PropagationTelemetry(metrics, now),
            rpc=RpcTelemetry(metrics, tracer) if is_measured else None,
            decisions=decisions if is_measured else None,
            decision_log=await enter(
                running_decision_log(config, metrics, resource, read=read_request, **identity)
            ),
            prometheus_address=await enter(_running_endpoint(config, registry)),
        )


def _pushes(config: TelemetryConfig) -> bool:
    """Return whether there is a collector to push to."""
    pushes = bool(config.otlp_endpoint or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"))
    if not pushes and (config.traces or config.decision_log == "otlp"):
        wanted = "traces" if config.traces else "decision_log"
        raise ConfigError(f"telemetry.{wanted} has nowhere to go; set telemetry.otlp_endpoint")
    return pushes


@asynccontextmanager
async def _running_metrics(
    config: TelemetryConfig, resource: Resource, registry: CollectorRegistry, pushes: bool
) -> AsyncIterator[Metrics]:
    histograms = Histograms()
    readers: list[MetricReader] = []
    if config.prometheus_listen:
        readers.append(PrometheusReader(histograms, registry))
    if pushes:
        _need_otlp()
        from placet_server.telemetry.otlp import metric_exporter

        exporter = metric_exporter(config.otlp_endpoint)
        readers.append(PushingReader(histograms, exporter, interval_s=config.otlp_interval_s))
    provider = MeterProvider(readers, resource, shutdown_on_exit=False)
    try:
        yield Metrics(provider.get_meter(_SCOPE), histograms)
    finally:
        # Pushes once more, which may take as long as the exporter tries.
        await asyncio.to_thread(provider.shutdown, timeout_millis=_SHUTDOWN_S * 1000)


@asynccontextmanager
async def _running_tracer(config: TelemetryConfig, resource: Resource) -> AsyncIterator[Tracer]:
    _need_otlp()
    from placet_server.telemetry.otlp import span_exporter

    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(config.trace_ratio)),
        resource=resource,
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(span_exporter(config.otlp_endpoint)))
    try:
        yield provider.get_tracer(_SCOPE)
    finally:
        await asyncio.to_thread(provider.shutdown)


@asynccontextmanager
async def _measuring_process(metrics: Metrics, node: str, region: str) -> AsyncIterator[None]:
    build = {"version": placet_version(), "node": node, "region": region}
    metrics.observe(
        "placet.build.info", "", "Always 1; says what runs where.", lambda: [(1, build)]
    )
    observe_process(metrics)
    task = asyncio.create_task(measure_loop_lag(metrics), name="event-loop-lag")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _running_endpoint(
    config: TelemetryConfig, registry: CollectorRegistry
) -> AsyncIterator[str]:
    if not config.prometheus_listen:
        yield ""
        return
    endpoint = MetricsEndpoint(registry)
    try:
        port = await endpoint.start(config.prometheus_listen)
        address = f"{config.prometheus_listen.rpartition(':')[0]}:{port}"
        log.info("metrics can be scraped", extra={"url": f"http://{address}/metrics"})
        yield address
    finally:
        await endpoint.aclose()


def placet_version() -> str:
    """Return which version of Placet this is."""
    try:
        return version("placet")
    except PackageNotFoundError:
        # Run from its source.
        return "unknown"


def _need_otlp() -> None:
    try:
        import opentelemetry.exporter.otlp.proto.grpc  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "pushing telemetry needs what is not installed; pip install 'placet[otlp]'"
        ) from error
