"""Places on Earth, and how far apart they are."""

from __future__ import annotations

import math
from dataclasses import dataclass

EARTH_RADIUS_KM = 6371.0088
"""Mean radius of the Earth: `R_1` of the Geodetic Reference System 1980 (H. Moritz, 2000)."""


@dataclass(frozen=True, slots=True)
class GeoPoint:
    """A place on Earth, in degrees (WGS 84).

    Raises:
        ValueError: there is no such place.
    """

    latitude: float
    """-90 to 90, north is positive."""
    longitude: float
    """-180 to 180, east is positive."""

    def __post_init__(self) -> None:
        for name, value, most in (
            ("latitude", self.latitude, 90),
            ("longitude", self.longitude, 180),
        ):
            # Not a number fails the comparison, as it has to.
            if not -most <= value <= most:
                raise ValueError(f"`{name}` is {value:g}; use degrees from -{most} to {most}")


def distance_km(one: GeoPoint, other: GeoPoint) -> float:
    """Return the length of the great circle's shorter arc between two places.

    The haversine formula (R. W. Sinnott, "Virtues of the Haversine", Sky and Telescope 68, 1984).
    It takes the Earth for a sphere, which is wrong by up to 0.5 %.
    """
    latitude_1, latitude_2 = math.radians(one.latitude), math.radians(other.latitude)
    half_latitude = (latitude_2 - latitude_1) / 2
    half_longitude = math.radians(other.longitude - one.longitude) / 2
    haversine = (
        math.sin(half_latitude) ** 2
        + math.cos(latitude_1) * math.cos(latitude_2) * math.sin(half_longitude) ** 2
    )
    # Rounding may take it past 1 for places opposite each other.
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(haversine, 1.0)))
