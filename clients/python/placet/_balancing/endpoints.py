"""Endpoints: what is said of them, and what can be seen of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from placet._errors import PlacetError
from placet._topology import Route
from placet._values import refusal

MOST_WEIGHT = 1_000_000


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A node's address, with what a balancer wants to know of it."""

    address: str
    """Where it is: ``eu1.example.net:7443``, or any other target of gRPC's."""
    region: str = ""
    """The region it is in, for ``Balancing(regions=...)``."""
    weight: int = 100
    """Share of the calls relative to others of its region, 1 to 1,000,000."""
    authority: str = ""
    """The name that its certificate is for, where it is not that of the address."""

    def __post_init__(self) -> None:
        if not self.address or self.address != self.address.strip():
            raise refusal("target", f"has the address `{self.address}`; write `host:port`")
        if not 1 <= self.weight <= MOST_WEIGHT:
            raise refusal(
                "target",
                f"gives `{self.address}` the weight {self.weight}; use 1 to {MOST_WEIGHT:,}",
            )


class EndpointState(Enum):
    """Whether an endpoint is given calls."""

    CONNECTING = "connecting"
    """Nothing has been heard of it yet."""
    READY = "ready"
    """It is given calls."""
    SUSPECT = "suspect"
    """A call there broke or was not answered: none are given for a moment, until more is known."""
    UNHEALTHY = "unhealthy"
    """It says that it does not serve, or cannot be reached."""
    EJECTED = "ejected"
    """Too many of its calls failed; it comes back after a while, and slowly."""
    DRAINING = "draining"
    """It is listed no longer; calls under way are finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStatistics:
    """One endpoint at one moment. Counts are since the client began to use it."""

    address: str
    region: str
    weight: int
    state: EndpointState
    ramp: float
    """How much of its share it is given, 0 to 1: less than 1 while it comes back."""
    in_flight: int
    """Calls and streams under way."""
    calls: int
    """Attempts that were made there. A call that is repeated or hedged makes several."""
    failures: int
    """Those that failed through the endpoint's fault. Refusals of a request are none."""
    ejections: int
    mean_latency_s: float
    """A mean of answered calls in which newer ones count more; 0 without any."""
    p50_latency_s: float
    """The median of the last 256."""
    p99_latency_s: float
    last_error: PlacetError | None
    """The newest failure."""


Tiers: TypeAlias = Sequence[Sequence[Endpoint]]
"""Endpoints by region, the region to go to first first."""


def in_order(endpoints: Iterable[Endpoint], regions: Sequence[str]) -> Tiers:
    """Group endpoints by region, in an order; leave out those of other regions.

    Without an order all of them are alike.
    """
    if not regions:
        return [tuple(endpoints)]
    listed = tuple(endpoints)
    return [
        tuple(endpoint for endpoint in listed if endpoint.region == region) for region in regions
    ]


def tiers_of(route: Route) -> Tiers:
    """Return a route's endpoints by region; what has no address is left out."""
    return [
        tuple(
            Endpoint(
                endpoint.address,
                region=region.region,
                weight=min(max(endpoint.weight, 1), MOST_WEIGHT),
            )
            for endpoint in region.endpoints
            if endpoint.address.strip() == endpoint.address != ""
        )
        for region in route.regions
    ]


def split_addresses(text: str) -> list[Endpoint]:
    """Read addresses with commas between them.

    Raises:
        InvalidRequest: one is missing.
    """
    return [Endpoint(part.strip()) for part in text.split(",")]
