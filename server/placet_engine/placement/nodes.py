"""Nodes as others see them: what they are, how they fare, and whether calls may go there."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from enum import IntEnum

from placet_engine.items import NO_REVISION, Revision

DEFAULT_WEIGHT = 100


class NodeRole(IntEnum):
    """What a node has and follows. Numbers are those of ``placet.v1.NodeRole``."""

    CONTROL = 1
    EDGE = 2


class NodeHealth(IntEnum):
    """What is known of a node's ability to answer. Numbers as on the wire."""

    SERVING = 1
    NOT_SERVING = 2
    """The node says so of itself, or it was asked and did not answer."""
    LOST = 3
    """Its lease lapsed: dead, hung or cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLoad:
    """How busy a node is."""

    utilization: float = 0.0
    """From 0, idle, to 1, saturated."""
    requests_per_second: float = 0.0
    subscribers: int = 0
    """Open Subscribe streams."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What a node is, as it says when it registers."""

    id: str
    """Stable across restarts."""
    instance: str
    """Different for every start of the process."""
    region: str
    role: NodeRole
    address: str = ""
    """Where clients reach it, ``host:port``. Empty: they cannot, and nobody is sent there."""
    upstreams: tuple[str, ...] = ()
    """Ids or addresses of the nodes it follows."""
    weight: int = DEFAULT_WEIGHT
    """Share of traffic relative to the other nodes of its region."""
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How a node fares, as it says with every renewal of its lease."""

    health: NodeHealth = NodeHealth.SERVING
    """``SERVING`` or ``NOT_SERVING``: nobody says of itself that it is lost."""
    health_reason: str = ""
    draining: bool = False
    """It has begun to stop."""
    load: NodeLoad = NodeLoad()
    revision: Revision = NO_REVISION
    staleness_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node with all that is known about it."""

    registration: Registration
    condition: Condition
    health: NodeHealth
    """What the node says, what its lease says and what it answered, put together."""
    health_reason: str
    """Why it is not serving, for people."""
    weight: int
    draining: bool
    """It takes no new calls: by its own will, or an operator's."""
    register_time: datetime.datetime
    renew_time: datetime.datetime
    lease_s: float
    settings_revision: Revision = NO_REVISION
    """The revision that last set its weight or draining; 0 when nobody ever did."""

    @property
    def id(self) -> str:
        """Its id."""
        return self.registration.id

    @property
    def lease_expire_time(self) -> datetime.datetime:
        """When its lease lapses, or did."""
        return self.renew_time + datetime.timedelta(seconds=self.lease_s)

    @property
    def etag(self) -> str:
        """What an update of its settings compares and sets against."""
        return str(self.settings_revision)

    @property
    def takes_calls(self) -> bool:
        """Whether callers are to be sent there."""
        return (
            self.health is NodeHealth.SERVING
            and not self.draining
            and bool(self.registration.address)
        )

    @property
    def standing(self) -> tuple[object, ...]:
        """All of it that others are to learn at once; what is left is load and progress."""
        return (
            self.registration,
            self.health,
            self.health_reason,
            self.weight,
            self.draining,
            self.settings_revision,
        )
