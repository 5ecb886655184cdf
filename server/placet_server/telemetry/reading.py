"""How OpenTelemetry's readers get at the recorders: what is pulled and what is pushed is the same.

The specification has a *MetricProducer* for metrics that come ready made from elsewhere; the SDK
for Python has not. What it has is ``MetricReader._receive_metrics``, documented as the method to
override: every reader gets there what was collected from the instruments, before it exports it. Our
readers are the SDK's own with one step before that: histograms made of the recorders are put into
the collected data. Counters and gauges need no such step, they are observable instruments. (A
reader is handed nothing as long as there is no instrument at all; a node always has some.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExporter,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)
from prometheus_client import CollectorRegistry

from placet_server.telemetry.recorders import Histograms

REGION, NODE = "cloud.region", "service.instance.id"
"""Resource attributes that say which node it is; in Prometheus they are labels of every series."""


class _WithHistograms(MetricReader):
    """Puts a node's histograms into what a reader receives."""

    histograms: Histograms

    def _receive_metrics(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> None:
        # One of the SDK's readers comes next; only the abstract one has nothing to receive with.
        super()._receive_metrics(  # type: ignore[safe-super]
            completed(metrics_data, self.histograms), timeout_millis=timeout_millis, **kwargs
        )


def completed(collected: MetricsData, histograms: Histograms) -> MetricsData:
    """Return the collected metrics with the histograms among them."""
    resource = collected.resource_metrics[0]
    # Into the scope there is: of two with one name, the encoder for OTLP keeps the last only.
    first, *others = resource.scope_metrics
    scope = replace(first, metrics=[*first.metrics, *histograms.collect()])
    return MetricsData(resource_metrics=[replace(resource, scope_metrics=[scope, *others])])


class PrometheusReader(_WithHistograms, PrometheusMetricReader):
    """Fills a Prometheus registry whenever it is read."""

    def __init__(self, histograms: Histograms, registry: CollectorRegistry) -> None:
        super().__init__(
            scope_info_enabled=False,
            resource_attribute_filter=lambda name: name in (REGION, NODE),
            registry=registry,
        )
        self.histograms = histograms


class PushingReader(_WithHistograms, PeriodicExportingMetricReader):
    """Sends everything to an exporter, again and again, from a thread of its own."""

    def __init__(
        self, histograms: Histograms, exporter: MetricExporter, *, interval_s: float
    ) -> None:
        # Before the thread starts that reads it.
        self.histograms = histograms
        super().__init__(exporter, export_interval_millis=interval_s * 1000)


class InMemoryReader(_WithHistograms, InMemoryMetricReader):
    """Keeps what was collected last, for tests."""

    def __init__(self, histograms: Histograms) -> None:
        super().__init__()
        self.histograms = histograms
