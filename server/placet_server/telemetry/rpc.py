"""Metrics and spans of rpcs, by the names of gRFC A66 and of OpenTelemetry's conventions.

Knows no transport: whoever takes calls in tells of their beginning and end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter

from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from placet_server.telemetry.recorders import SIZE_BOUNDS_BYTES, Counter, Distribution, Metrics

# What is the caller's doing does not make the span of a server an error.
_SERVER_ERRORS = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
_TRACE_CONTEXT = TraceContextTextMapPropagator()


class RpcTelemetry:
    """Counts calls and, with a tracer, makes a span for each."""

    def __init__(self, metrics: Metrics, tracer: Tracer | None = None) -> None:
        self._tracer = tracer
        self._methods: dict[str, _Method] = {}
        self.started = metrics.counter(
            "grpc.server.call.started", "{call}", "Calls that came in, by method."
        )
        self.duration = metrics.distribution(
            "grpc.server.call.duration", "s", "How long calls took, by method and status."
        )
        self.received = metrics.distribution(
            "grpc.server.call.rcvd_total_compressed_message_size",
            "By",
            "Bytes of the messages of one call that came in.",
            SIZE_BOUNDS_BYTES,
        )
        self.sent = metrics.distribution(
            "grpc.server.call.sent_total_compressed_message_size",
            "By",
            "Bytes of the messages of one call that went out.",
            SIZE_BOUNDS_BYTES,
        )

    def call(self, path: str, metadata: Iterable[tuple[str, str | bytes]] = ()) -> RpcCall:
        """Begin a call.

        Args:
            path: ``/package.Service/Method`` of a method that is served.
            metadata: what the caller sent along; a ``traceparent`` in it becomes the span's parent.
        """
        method = self._methods.get(path)
        if method is None:
            method = self._methods[path] = _Method(path.removeprefix("/"), self)
        method.started.value += 1
        return RpcCall(method, self._tracer, metadata)


class _Method:
    """The recorders of one method, resolved once."""

    __slots__ = ("_by_status", "_rpcs", "name", "started")

    def __init__(self, name: str, rpcs: RpcTelemetry) -> None:
        self.name = name
        self._rpcs = rpcs
        self._by_status: dict[str, tuple[Distribution, Distribution, Distribution]] = {}
        self.started: Counter = rpcs.started.child({"grpc.method": name})

    def of(self, status: str) -> tuple[Distribution, Distribution, Distribution]:
        """Return durations, received and sent sizes of calls that ended so."""
        found = self._by_status.get(status)
        if found is None:
            attributes = {"grpc.method": self.name, "grpc.status": status}
            found = self._by_status[status] = (
                self._rpcs.duration.child(attributes),
                self._rpcs.received.child(attributes),
                self._rpcs.sent.child(attributes),
            )
        return found


class RpcCall:
    """One call, from the moment its headers came to its status."""

    __slots__ = ("_metadata", "_method", "_started_s", "_tracer", "received", "sent")

    def __init__(
        self,
        method: _Method,
        tracer: Tracer | None,
        metadata: Iterable[tuple[str, str | bytes]],
    ) -> None:
        self._started_s = perf_counter()
        self._method = method
        self._tracer = tracer
        self._metadata = metadata
        self.received = 0
        """Bytes of messages that came in so far."""
        self.sent = 0
        """Bytes of messages that went out so far."""

    @property
    def is_traced(self) -> bool:
        """Whether there is any use in a span."""
        return self._tracer is not None

    @contextmanager
    def span(self) -> Iterator[None]:
        """Have a span, the caller's child, for the length of the block."""
        assert self._tracer is not None
        carrier = {
            key: value
            for key, value in self._metadata
            if key in _TRACE_CONTEXT.fields and isinstance(value, str)
        }
        service, _, method = self._method.name.rpartition("/")
        with self._tracer.start_as_current_span(
            self._method.name,
            context=_TRACE_CONTEXT.extract(carrier),
            kind=SpanKind.SERVER,
            attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": method},
            record_exception=False,
            set_status_on_exception=False,
        ):
            yield

    def ended(self, status: str, code: int) -> None:
        """Count the call.

        Args:
            status: the canonical name, such as ``NOT_FOUND``.
            code: its number.
        """
        duration, received, sent = self._method.of(status)
        duration.record(perf_counter() - self._started_s)
        received.record(self.received)
        sent.record(self.sent)
        if self._tracer is not None:
            span = get_current_span()
            span.set_attribute("rpc.grpc.status_code", code)
            if status in _SERVER_ERRORS:
                span.set_status(Status(StatusCode.ERROR, status))
