"""Metrics of a policy's way from publish to enforced."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from placet_server.telemetry.recorders import Metrics


class PropagationTelemetry:
    """Times publishes, and the way of commits to this node."""

    def __init__(
        self, metrics: Metrics | None = None, now: Callable[[], datetime.datetime] | None = None
    ) -> None:
        metrics = metrics or Metrics()
        self._now = now or (lambda: datetime.datetime.now(datetime.UTC))
        self._publishes = metrics.distribution(
            "placet.publish.duration",
            "s",
            "From a change set's arrival to this node deciding by it, by how it ended.",
        )
        self._propagation = metrics.distribution(
            "placet.propagation.duration",
            "s",
            "From a commit's time, by the clock of the node that made it, to this node deciding "
            "by it.",
        ).child()
        self._failures = metrics.counter(
            "placet.propagation.failures",
            "{failure}",
            "Times this node could not follow the store and tried again.",
        ).child()

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Time one publish."""
        start_s, result = perf_counter(), "failed"
        try:
            yield
            result = "published"
        finally:
            self._publishes.child({"result": result}).record(perf_counter() - start_s)

    def activated(self, committed_at: datetime.datetime) -> None:
        """Note that this node now decides by a commit made then."""
        self._propagation.record(max((self._now() - committed_at).total_seconds(), 0.0))

    def failed(self) -> None:
        """Note that this node could not follow the store."""
        self._failures.add()
