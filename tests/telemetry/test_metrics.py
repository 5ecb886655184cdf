from __future__ import annotations

import datetime
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from placet_engine.model import Cause, Outcome
from placet_server.telemetry.decisions import DecisionTelemetry
from placet_server.telemetry.propagation import PropagationTelemetry
from placet_server.telemetry.reading import InMemoryReader, PrometheusReader
from placet_server.telemetry.recorders import Histograms, Metrics


class Collected:
    """Metrics, and two readers that see the same numbers."""

    def __init__(self) -> None:
        histograms = Histograms()
        self._registry = CollectorRegistry()
        self._memory = InMemoryReader(histograms)
        provider = MeterProvider(
            [self._memory, PrometheusReader(histograms, self._registry)],
            Resource({}),
            shutdown_on_exit=False,
        )
        self.metrics = Metrics(provider.get_meter("placet"), histograms)
        self.metrics.observe("placet.always", "", "As every node has one.", lambda: 1)

    def points(self, name: str) -> list[Any]:
        """Return the data points of a metric, as a push exporter gets them."""
        data = self._memory.get_metrics_data()
        assert data is not None
        return [
            point
            for scope in data.resource_metrics[0].scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def values(self, name: str) -> dict[tuple[str, ...], float]:
        """Return a counter's or gauge's values by the values of their attributes."""
        return {
            tuple(str(value) for _, value in sorted(point.attributes.items())): point.value
            for point in self.points(name)
        }

    def samples(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the samples Prometheus gets, by the values of their labels."""
        text = generate_latest(self._registry).decode()
        return {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        }


@pytest.fixture
def collected() -> Collected:
    return Collected()


def test_a_counter_is_the_same_number_for_push_and_pull(collected: Collected) -> None:
    calls = collected.metrics.counter("placet.calls", "{call}", "Calls.").child({"kind": "a"})
    calls.add()
    calls.add(2)

    assert collected.values("placet.calls") == {("a",): 3}
    assert collected.samples("placet_calls_total") == {("a",): 3.0}


def test_values_on_a_bound_belong_below_it(collected: Collected) -> None:
    times = collected.metrics.distribution("placet.time", "s", "Times.", (0.1, 1, 10)).child()
    for value in (0.1, 0.5, 1, 1.5, 100):
        times.record(value)

    [point] = collected.points("placet.time")

    assert list(point.bucket_counts) == [1, 2, 1, 1]
    assert (point.count, point.sum, point.min, point.max) == (5, 103.1, 0.1, 100)
    assert collected.samples("placet_time_seconds_bucket") == {
        ("0.1",): 1.0,
        ("1.0",): 3.0,
        ("10.0",): 4.0,
        ("+Inf",): 5.0,
    }


def test_what_is_observed_is_read_when_it_is_collected(collected: Collected) -> None:
    entries = [1]
    collected.metrics.observe("placet.entries", "{entry}", "Entries.", lambda: len(entries))

    before = collected.values("placet.entries")
    entries.append(2)

    assert before == {(): 1}
    assert collected.values("placet.entries") == {(): 2}


def test_decisions_are_counted_by_what_they_are(collected: Collected) -> None:
    decisions = DecisionTelemetry(collected.metrics)
    decisions.record("acme", Outcome.ALLOW, Cause.PERMITTED, False, 0.001)
    decisions.record("acme", Outcome.ALLOW, Cause.PERMITTED, True, 0.000002)
    decisions.record("acme", Outcome.ALLOW, Cause.PERMITTED, True, 0.000002)
    decisions.record("acme", Outcome.REQUIRES_APPROVAL, Cause.APPROVAL_NEEDED, False, 0.001)
    decisions.record("other", Outcome.DENY, Cause.FORBID_ERROR, False, 0.001)
    decisions.error("TENANT_UNKNOWN")

    assert collected.samples("placet_decisions_total") == {
        ("false", "PERMITTED", "ALLOW", "acme"): 1.0,
        ("true", "PERMITTED", "ALLOW", "acme"): 2.0,
        ("false", "APPROVAL_NEEDED", "REQUIRES_APPROVAL", "acme"): 1.0,
        ("false", "FORBID_ERROR", "DENY", "other"): 1.0,
    }
    assert collected.samples("placet_decision_duration_seconds_count") == {
        ("false",): 3.0,
        ("true",): 2.0,
    }
    assert collected.values("placet.decision.errors") == {("TENANT_UNKNOWN",): 1}


def test_tenants_past_the_limit_are_counted_together(collected: Collected) -> None:
    decisions = DecisionTelemetry(collected.metrics, max_tenants=2)
    for tenant in ("a", "b", "c", "d", "a"):
        decisions.record(tenant, Outcome.DENY, Cause.NO_PERMIT, False, 0.001)

    by_tenant = {key[-1]: value for key, value in collected.values("placet.decisions").items()}

    assert by_tenant == {"a": 2, "b": 1, "_other": 2}


def test_as_many_tenants_as_can_be_configured_fit_into_one_metric(collected: Collected) -> None:
    """The SDK lumps together what is past 2,000 points of a metric."""
    decisions = DecisionTelemetry(collected.metrics, max_tenants=150)
    pairs = [
        (Outcome.ALLOW, Cause.PERMITTED),
        (Outcome.ALLOW, Cause.APPROVED),
        (Outcome.DENY, Cause.NO_PERMIT),
        (Outcome.DENY, Cause.FORBIDDEN),
        (Outcome.DENY, Cause.FORBID_ERROR),
        (Outcome.REQUIRES_APPROVAL, Cause.APPROVAL_NEEDED),
    ]
    for number in range(200):
        for outcome, cause in pairs:
            for cached in (False, True):
                decisions.record(f"t{number}", outcome, cause, cached, 0.001)

    counts = collected.values("placet.decisions")

    assert len(counts) == 151 * 12
    assert sum(counts.values()) == 200 * 12


def test_publishes_are_timed_by_how_they_end(collected: Collected) -> None:
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    propagation = PropagationTelemetry(collected.metrics, lambda: now)
    with propagation.publishing():
        pass
    with pytest.raises(ValueError, match="on purpose"), propagation.publishing():
        raise ValueError("on purpose")
    propagation.activated(now - datetime.timedelta(seconds=3))
    # The clock of the other machine is ahead.
    propagation.activated(now + datetime.timedelta(seconds=3))

    assert collected.samples("placet_publish_duration_seconds_count") == {
        ("published",): 1.0,
        ("failed",): 1.0,
    }
    assert collected.samples("placet_propagation_duration_seconds_sum") == {(): 3.0}
