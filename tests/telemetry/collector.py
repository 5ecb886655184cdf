"""An OpenTelemetry collector that keeps what it is sent, over real gRPC."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

PATIENCE_S = 20.0


class Collector(
    logs_service_pb2_grpc.LogsServiceServicer,
    metrics_service_pb2_grpc.MetricsServiceServicer,
    trace_service_pb2_grpc.TraceServiceServicer,
):
    """What came in, one signal beside the other."""

    def __init__(self) -> None:
        self.address = ""
        self._changed = threading.Condition()
        self._received: list[Any] = []

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:
        with self._changed:
            self._received.append(request)
            self._changed.notify_all()
        return {
            logs_service_pb2.ExportLogsServiceRequest: logs_service_pb2.ExportLogsServiceResponse,
            metrics_service_pb2.ExportMetricsServiceRequest: (
                metrics_service_pb2.ExportMetricsServiceResponse
            ),
            trace_service_pb2.ExportTraceServiceRequest: (
                trace_service_pb2.ExportTraceServiceResponse
            ),
        }[type(request)]()

    def wait_for(self, holds: Callable[[Collector], bool]) -> None:
        """Wait until what came in is as it should be."""
        with self._changed:
            assert self._changed.wait_for(lambda: holds(self), PATIENCE_S)

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for request in self._of(trace_service_pb2.ExportTraceServiceRequest)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def records(self) -> list[Any]:
        return [
            record
            for request in self._of(logs_service_pb2.ExportLogsServiceRequest)
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    def metrics(self, name: str) -> list[Any]:
        """Return every state of a metric that came in, the newest last."""
        return [
            metric
            for request in self._of(metrics_service_pb2.ExportMetricsServiceRequest)
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
        ]

    def _of(self, kind: type) -> list[Any]:
        return [request for request in self._received if isinstance(request, kind)]


def attributes(holder: Any) -> dict[str, Any]:
    """Return attributes as Python has them."""
    return {
        found.key: getattr(found.value, found.value.WhichOneof("value"))
        for found in holder.attributes
    }


@contextmanager
def running_collector() -> Iterator[Collector]:
    """Run a collector on a free port for the length of the block."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(4))
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(  # type: ignore[no-untyped-call]
        collector, server
    )
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(  # type: ignore[no-untyped-call]
        collector, server
    )
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(  # type: ignore[no-untyped-call]
        collector, server
    )
    collector.address = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(None).wait(PATIENCE_S)
