"""Regions: places with nodes, and the law they are under."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from placet_engine.placement.geography import GeoPoint

LOCAL = "local"
"""The region of a node that nobody put into one. Where that is, nobody said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A place with nodes."""

    name: str
    """Such as `eu-west`."""
    title: str = ""
    """For people, such as `Ireland`."""
    jurisdiction: str = ""
    """The law it is under: `EU`, `US`, `APAC`. Empty: nobody said."""
    regulations: tuple[str, ...] = ()
    """Regulations in force there, such as `GDPR`."""
    location: GeoPoint | None = None
    endpoints: tuple[str, ...] = ()
    """Addresses of its nodes, where these belong to another control plane and do not register
    with this one."""


class Regions:
    """All regions there are, by name. Immutable.

    Args:
        regions: what there is.
        here: the region of the node that looks at them. It is always one of them.
    """

    def __init__(self, regions: Iterable[Region], here: str = "") -> None:
        self._regions = {region.name: region for region in regions}
        if here and here not in self._regions:
            self._regions[here] = Region(name=here)
        self.here = here

    def __iter__(self) -> Iterator[Region]:
        """Iterate over the regions in order of name."""
        return iter(sorted(self._regions.values(), key=lambda region: region.name))

    def __contains__(self, name: object) -> bool:
        return name in self._regions

    def get(self, name: str) -> Region | None:
        """Return the region of that name, if there is one."""
        return self._regions.get(name)

    def jurisdiction(self, name: str) -> str:
        """Return the law a region is under; empty where it is not known."""
        region = self._regions.get(name)
        return region.jurisdiction if region is not None else ""


# Places of the data centres that cloud providers call by these names, to a hundredth of a degree.
DEFAULT_REGIONS: tuple[Region, ...] = (
    Region(
        name="us-east",
        title="Virginia",
        jurisdiction="US",
        regulations=("CCPA",),
        location=GeoPoint(39.04, -77.49),
    ),
    Region(
        name="us-west",
        title="Oregon",
        jurisdiction="US",
        regulations=("CCPA",),
        location=GeoPoint(45.84, -119.70),
    ),
    Region(
        name="eu-west",
        title="Ireland",
        jurisdiction="EU",
        regulations=("GDPR",),
        location=GeoPoint(53.35, -6.26),
    ),
    Region(
        name="eu-central",
        title="Frankfurt",
        jurisdiction="EU",
        regulations=("GDPR",),
        location=GeoPoint(50.11, 8.68),
    ),
    Region(
        name="apac-southeast",
        title="Singapore",
        jurisdiction="APAC",
        regulations=("PDPA",),
        location=GeoPoint(1.35, 103.82),
    ),
    Region(
        name="apac-northeast",
        title="Tokyo",
        jurisdiction="APAC",
        regulations=("APPI",),
        location=GeoPoint(35.68, 139.69),
    ),
)
"""The regions there are when no file says otherwise."""
