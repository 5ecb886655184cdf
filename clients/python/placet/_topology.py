"""Where tenants' data may be, and what is set of nodes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class ResidencyRule(Enum):
    """Where a tenant's data may be."""

    UNKNOWN = 0
    ANY = 1
    EU_ONLY = 2
    US_ONLY = 3
    APAC_ONLY = 4
    NO_US = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a tenant's data may be and where its callers should go."""

    tenant: str
    residency: ResidencyRule
    home_region: str = ""
    """Where its resident records are kept. The rule has to allow it."""
    affinity_regions: tuple[str, ...] = ()
    """Regions its callers go to before nearer ones, in order. The rule has to allow them."""
    update_time: datetime | None = None
    """When it was last written. None for a tenant that was never placed."""
    etag: str = ""
    """Changes with every write; what a write is compared with. Empty: not placed yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """What was set of a node."""

    node: str
    weight: int | None = None
    """Share of traffic relative to the other nodes of its region; None: as the node says."""
    draining: bool | None = None
    """Whether it is to take no new calls; None: as the node says."""
