"""Sends records to a collector, as OpenTelemetry log records. Needs the extra `otlp`."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, set_span_in_context

from placet_server.telemetry.decision_log.records import Document
from placet_server.telemetry.decision_log.sinks import SinkFailed

_SCOPE = InstrumentationScope("placet.decision_log")
_TIMEOUT_S = 10.0


class OtlpSink:
    """One log record for each decision: its record is the body."""

    def __init__(self, resource: Resource, *, endpoint: str) -> None:
        self._resource = resource
        self._exporter = OTLPLogExporter(endpoint=endpoint or None, timeout=_TIMEOUT_S)

    def write(self, lines: Sequence[bytes]) -> None:
        """Send the lines, with the exporter's own retries."""
        records = [self._record(line) for line in lines]
        if self._exporter.export(records) is not LogRecordExportResult.SUCCESS:
            raise SinkFailed("the collector does not take decisions")

    def close(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()

    def _record(self, line: bytes) -> ReadableLogRecord:
        document = json.loads(line)
        moment = datetime.datetime.fromisoformat(document["time"])
        nanoseconds = int(moment.timestamp() * 1e9)
        return ReadableLogRecord(
            log_record=LogRecord(
                timestamp=nanoseconds,
                observed_timestamp=nanoseconds,
                context=_context(document),
                severity_number=SeverityNumber.INFO,
                severity_text="INFO",
                body=document,
                attributes={
                    "placet.tenant": document["tenant"],
                    "placet.outcome": document["outcome"],
                    "placet.decision_id": document["decision_id"],
                },
                event_name="placet.decision",
            ),
            resource=self._resource,
            instrumentation_scope=_SCOPE,
        )


def _context(document: Document) -> Context:
    """Return the context of the call that was decided."""
    span = SpanContext(
        trace_id=int(document["trace_id"] or "0", 16),
        span_id=int(document["span_id"] or "0", 16),
        is_remote=True,
    )
    return set_span_in_context(NonRecordingSpan(span), Context())
