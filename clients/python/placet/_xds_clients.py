"""Other programs' balancers that a node tells where calls may go: clients of xDS."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from placet._topology import ResidencyRule


class XdsLibrary(Enum):
    """Whose client it is."""

    UNKNOWN = 0
    C_CORE = 1
    """gRPC for C++, Python, Ruby, PHP and Objective-C."""
    GO = 2
    JAVA = 3
    NODE = 4
    ENVOY = 5


class XdsResourceType(Enum):
    """A type of what a client is told."""

    UNKNOWN = 0
    CLUSTER = 1
    """How calls are spread over nodes."""
    ENDPOINTS = 2
    """The nodes of a cluster."""
    LISTENER = 3
    """A target."""
    ROUTES = 4
    """Which calls go to which cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class XdsRefusal:
    """What a client did not take over: a NACK."""

    version: str
    message: str
    """Why, in the client's words."""
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class XdsSubscription:
    """What a client wants of one type, and what it has of it."""

    type: XdsResourceType
    names: tuple[str, ...]
    """What it asks for, in order. Empty: everything that there is for it."""
    sent_version: str
    """What it was sent last. Empty: nothing yet."""
    accepted_version: str
    """What it took over last. Empty: nothing yet."""
    refusal: XdsRefusal | None = None
    """Set when it refused what it was sent, and has taken over nothing of this type since."""

    @property
    def is_current(self) -> bool:
        """Whether it has what it was sent last."""
        return self.sent_version == self.accepted_version


@dataclass(frozen=True, slots=True, kw_only=True)
class XdsClient:
    """A client that is connected to the node that was asked."""

    id: str
    """As its bootstrap has it: not checked, and not always unique."""
    library: XdsLibrary
    user_agent: str
    """What it calls its library."""
    version: str
    """Of the library."""
    region: str
    """Where it says that it is."""
    tenant: str
    """Whose callers its target `placet` is for. Empty: nobody's in particular."""
    residency: ResidencyRule | None
    """Nothing is sent to it that this rule forbids. None: it has no rule of its own."""
    balancing: str
    """Who gets the next call."""
    peer: str
    """Where it calls from."""
    caller: str
    """Who it is. Empty: nobody in particular."""
    connect_time: datetime
    subscriptions: tuple[XdsSubscription, ...] = ()

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets it asks for, as it names them behind `xds:///`."""
        listeners = (one for one in self.subscriptions if one.type is XdsResourceType.LISTENER)
        return tuple(name for one in listeners for name in one.names)
