"""Recorders that cost the hot path next to nothing, read by OpenTelemetry when it collects.

A synchronous instrument of the SDK takes several microseconds a record: it hashes attributes, takes
a lock and looks at views and exemplars each time. A cached decision takes less than that as a
whole. So whoever records here asks once for the child with its attributes and then adds to plain
numbers, about 0.1 µs for a counter and 0.3 µs for a distribution.

Counters and gauges become *observable* instruments of an SDK meter, which is the public way to let
the SDK read numbers that somebody else keeps. There is no observable histogram; what becomes of
distributions is in ``telemetry.reading``.

A recorder has one writer thread and any number of readers. The event loop is the writer of all of
them but those of the decision log's threads.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from opentelemetry.metrics import CallbackOptions, Meter, NoOpMeter, Observation
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
)

Attributes: TypeAlias = Mapping[str, str | bool]
Point: TypeAlias = tuple[float, Attributes]

# Those of gRFC A66, so that dashboards made for any gRPC server fit this one.
LATENCY_BOUNDS_S: Sequence[float] = (
    *(0, 0.00001, 0.00005, 0.0001, 0.0003, 0.0006, 0.0008, 0.001, 0.002, 0.003, 0.004, 0.005),
    *(0.006, 0.008, 0.01, 0.013, 0.016, 0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13),
    *(0.16, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8, 1, 2, 5, 10, 20, 50, 100),
)
SIZE_BOUNDS_BYTES: Sequence[float] = (
    *(0, 1024, 2048, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864),
    *(268435456, 1073741824, 4294967296),
)
# A decision out of memory is far below a millisecond.
DECISION_BOUNDS_S: Sequence[float] = (
    *(0.000001, 0.0000025, 0.000005, 0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005),
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1),
)


class Counter:
    """A sum that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def add(self, amount: float = 1) -> None:
        """Add to the sum."""
        self.value += amount


class Distribution:
    """Counts of values by bucket. A bucket holds what is above its lower bound up to its upper."""

    __slots__ = ("bounds", "counts", "largest", "smallest", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(map(float, bounds))
        self.counts = [0] * (len(bounds) + 1)
        self.total: float = 0
        self.smallest = math.inf
        self.largest = -math.inf

    def record(self, value: float, count: int = 1) -> None:
        """Count a value, once or several times."""
        self.counts[bisect_left(self.bounds, value)] += count
        self.total += value * count
        if value < self.smallest:
            self.smallest = value
        if value > self.largest:
            self.largest = value


_Child = TypeVar("_Child", Counter, Distribution)


class Family(Generic[_Child]):
    """One metric: a recorder for each combination of attributes.

    Whoever makes children bounds how many: attributes come from enums, names of methods, and
    tenants up to a limit.
    """

    def __init__(self, make: Callable[[], _Child]) -> None:
        self._make: Callable[[], _Child] = make
        self._children: dict[tuple[tuple[str, str | bool], ...], _Child] = {}

    def child(self, attributes: Attributes | None = None) -> _Child:
        """Return the recorder of these attributes. Ask once, keep what you got."""
        key = tuple(sorted((attributes or {}).items()))
        found = self._children.get(key)
        if found is None:
            found = self._children[key] = self._make()
        return found

    def children(self) -> list[tuple[Attributes, _Child]]:
        """Return what there is now; may be called from any thread."""
        return [(dict(key), child) for key, child in list(self._children.items())]


@dataclass(frozen=True, slots=True)
class _Distributions:
    name: str
    unit: str
    description: str
    family: Family[Distribution]


class Histograms:
    """All distributions of a node, as OpenTelemetry's histograms."""

    def __init__(self) -> None:
        self._all: list[_Distributions] = []
        self._start_ns = time.time_ns()

    def add(self, distributions: _Distributions) -> None:
        """Take one more metric in."""
        self._all.append(distributions)

    def collect(self) -> list[Metric]:
        """Return every distribution as it is now. Cumulative, as Prometheus wants it."""
        now_ns = time.time_ns()
        return [
            Metric(
                name=metric.name,
                description=metric.description,
                unit=metric.unit,
                data=Histogram(
                    data_points=[
                        self._point(attributes, child, now_ns)
                        for attributes, child in metric.family.children()
                    ],
                    aggregation_temporality=AggregationTemporality.CUMULATIVE,
                ),
            )
            for metric in list(self._all)
        ]

    def _point(
        self, attributes: Attributes, distribution: Distribution, now_ns: int
    ) -> HistogramDataPoint:
        counts = list(distribution.counts)
        return HistogramDataPoint(
            attributes=attributes,
            start_time_unix_nano=self._start_ns,
            time_unix_nano=now_ns,
            count=sum(counts),
            sum=distribution.total,
            bucket_counts=counts,
            explicit_bounds=distribution.bounds,
            min=distribution.smallest,
            max=distribution.largest,
        )


class Metrics:
    """Where the parts of a node get their recorders. Without a meter they record for nobody."""

    def __init__(self, meter: Meter | None = None, histograms: Histograms | None = None) -> None:
        self._meter = meter or NoOpMeter("placet")
        self._histograms = histograms or Histograms()

    def counter(self, name: str, unit: str, description: str) -> Family[Counter]:
        """Make a counter."""
        family = Family(Counter)
        self.observe(
            name,
            unit,
            description,
            lambda: [(child.value, attributes) for attributes, child in family.children()],
            monotonic=True,
        )
        return family

    def distribution(
        self, name: str, unit: str, description: str, bounds: Sequence[float] = LATENCY_BOUNDS_S
    ) -> Family[Distribution]:
        """Make a histogram with fixed buckets."""
        family = Family(lambda: Distribution(bounds))
        self._histograms.add(_Distributions(name, unit, description, family))
        return family

    def observe(
        self,
        name: str,
        unit: str,
        description: str,
        read: Callable[[], float | Iterable[Point]],
        *,
        monotonic: bool = False,
    ) -> None:
        """Have a number read whenever metrics are collected, in the collecting thread.

        Args:
            name: OpenTelemetry's, with dots.
            unit: UCUM, such as ``s``, ``By`` or ``{decision}``.
            description: one sentence.
            read: returns the number, or one for each set of attributes.
            monotonic: whether it only grows, which makes it a counter and not a gauge.
        """

        def observations(_: CallbackOptions) -> list[Observation]:
            found = read()
            points = [(found, {})] if isinstance(found, int | float) else found
            return [Observation(value, attributes) for value, attributes in points]

        make = (
            self._meter.create_observable_counter
            if monotonic
            else self._meter.create_observable_gauge
        )
        make(name, callbacks=[observations], unit=unit, description=description)
