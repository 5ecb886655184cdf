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
        self._methods: dict[str, RpcMethod] = {}
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

    def method(self, path: str) -> RpcMethod:
        """Return the recorders of a method that is served, ``/package.Service/Method``."""
        found = self._methods.get(path)
        if found is None:
            found = self._methods[path] = RpcMethod(path.removeprefix("/"), self, self._tracer)
        return found


class RpcMethod:
    """One method, with its recorders resolved."""

    def __init__(self, name: str, rpcs: RpcTelemetry, tracer: Tracer | None) -> None:
        self.name = name
        self.tracer = tracer
        self._rpcs = rpcs
        self._by_status: dict[str, tuple[Distribution, Distribution, Distribution]] = {}
        self._started: Counter = rpcs.started.child({"grpc.method": name})

    def call(self) -> RpcCall:
        """Begin a call."""
        self._started.value += 1
        return RpcCall(self)

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
    """One call, from its beginning to its status."""

    __slots__ = ("_method", "_started_s", "received", "sent")

    def __init__(self, method: RpcMethod) -> None:
        self._started_s = perf_counter()
        self._method = method
        self.received = 0
        """Bytes of messages that came in so far."""
        self.sent = 0
        """Bytes of messages that went out so far."""

    @property
    def is_traced(self) -> bool:
        """Whether there is any use in a span."""
        return self._method.tracer is not None

    @contextmanager
    def span(self, metadata: Iterable[tuple[str, str | bytes]]) -> Iterator[None]:
        """Have a span for the length of the block.

        Args:
            metadata: what the caller sent along; a ``traceparent`` in it names the span's parent.
        """
        method = self._method
        assert method.tracer is not None
        carrier = {
            key: value
            for key, value in metadata
            if key in _TRACE_CONTEXT.fields and isinstance(value, str)
        }
        service, _, name = method.name.rpartition("/")
        with method.tracer.start_as_current_span(
            method.name,
            context=_TRACE_CONTEXT.extract(carrier),
            kind=SpanKind.SERVER,
            attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
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
        if self._method.tracer is not None:
            span = get_current_span()
            span.set_attribute("rpc.grpc.status_code", code)
            if status in _SERVER_ERRORS:
                span.set_status(Status(StatusCode.ERROR, status))
