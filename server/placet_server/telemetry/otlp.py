"""Exporters to an OpenTelemetry collector. Needs the extra `otlp`, and is imported only with it."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.trace.export import SpanExporter

_TIMEOUT_S = 5.0


def metric_exporter(endpoint: str) -> MetricExporter:
    """Return what pushes metrics. Without an endpoint, to that of OTEL_EXPORTER_OTLP_ENDPOINT."""
    return OTLPMetricExporter(endpoint=endpoint or None, timeout=_TIMEOUT_S)


def span_exporter(endpoint: str) -> SpanExporter:
    """Return what pushes spans. Without an endpoint, to that of OTEL_EXPORTER_OTLP_ENDPOINT."""
    return OTLPSpanExporter(endpoint=endpoint or None, timeout=_TIMEOUT_S)
