"""Leases: how long a node may be silent, and what is remembered of each node that has one."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import NamedTuple

from placet_engine.placement.nodes import Condition, Registration

RENEWALS_A_LEASE = 3
"""A node renews so many times in the length of its lease, so that one may get lost."""

_ROUND_TRIPS_A_LEASE = 6
_LONGEST_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTerms:
    """How long leases are."""

    lease_s: float = 0.45
    """The shortest, in seconds: what nodes near by have, as long as they are few."""
    max_renewals_per_second: float = 300.0
    """What all nodes together may ask for. With more of them leases are longer."""

    def grant_s(self, nodes: int, round_trip_s: float = 0.0) -> float:
        """Return the length of a lease.

        Args:
            nodes: how many hold leases of this registry.
            round_trip_s: how long the node's last renewal took. A renewal that gets lost on the
                way is sent again after one or two of these; a lease outlasts that.
        """
        crowded_s = nodes * RENEWALS_A_LEASE / self.max_renewals_per_second
        far_s = round_trip_s * _ROUND_TRIPS_A_LEASE
        return min(max(self.lease_s, crowded_s, far_s), _LONGEST_S)


class Holder(NamedTuple):
    """Who has, or had, a lease: a process."""

    id: str
    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One node's lease, as whoever granted it sees it, and tells the other control nodes."""

    registration: Registration
    condition: Condition
    register_time: datetime.datetime
    renew_time: datetime.datetime
    lease_s: float
    is_lost: bool = False
    """Whether it lapsed."""
    probe_failure: str = ""
    """Why the node did not answer when it was asked; empty when it did, or was not."""

    @property
    def id(self) -> str:
        """Whose it is."""
        return self.registration.id

    @property
    def instance(self) -> str:
        """Which start of the process it was given to."""
        return self.registration.instance

    @property
    def holder(self) -> Holder:
        """Both of them."""
        return Holder(self.id, self.instance)

    def goes_before(self, other: Lease) -> bool:
        """Whether this one counts, of two for the same node with different grantors."""
        if self.is_lost is not other.is_lost:
            return other.is_lost
        if self.is_lost or self.instance == other.instance:
            return self.renew_time > other.renew_time
        # Two processes of one name: the first that came keeps it, whoever it came to.
        return (self.register_time, self.instance) < (other.register_time, other.instance)
