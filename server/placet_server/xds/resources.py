"""What is sent: resources of four types, with what tells one state of them from another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from google.protobuf import any_pb2
from google.protobuf.message import Message

from placet_server.xds.v3 import core_pb2

_PREFIX = "type.googleapis.com/"


class Type(Enum):
    """The types there are, in the order they are sent in.

    What leads to something new comes after it (make before break): nobody is told of a cluster
    without nodes, or a listener without clusters.
    """

    CLUSTER = "envoy.config.cluster.v3.Cluster"
    ENDPOINTS = "envoy.config.endpoint.v3.ClusterLoadAssignment"
    LISTENER = "envoy.config.listener.v3.Listener"
    ROUTES = "envoy.config.route.v3.RouteConfiguration"

    @property
    def url(self) -> str:
        """How it is named on the wire."""
        return _PREFIX + self.value

    @property
    def is_whole(self) -> bool:
        """Whether a response has all resources of the type, so that what is left out is gone."""
        return self in (Type.CLUSTER, Type.LISTENER)


FROM_HERE = core_pb2.ConfigSource(
    ads=core_pb2.AggregatedConfigSource(), resource_api_version=core_pb2.API_VERSION_V3
)
"""Where a client gets what a resource refers to: by the same stream."""

TYPES = {type_.url: type_ for type_ in Type}
"""Types by how they are named on the wire."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource, ready to be sent to many."""

    name: str
    packed: any_pb2.Any
    digest: bytes

    @classmethod
    def of(cls, type_: Type, name: str, message: Message) -> Resource:
        """Make one of its message."""
        # The same content has to be the same bytes, whichever control plane writes it.
        return cls.written(type_, name, message.SerializeToString(deterministic=True))

    @classmethod
    def written(cls, type_: Type, name: str, message: bytes) -> Resource:
        """Make one of its message, which is bytes already."""
        packed = any_pb2.Any(type_url=type_.url, value=message)
        return cls(name, packed, hashlib.sha256(message).digest())


def pack(type_name: str, message: Message | None = None) -> any_pb2.Any:
    """Return a message under the name of the type it stands for; None: an empty one."""
    value = message.SerializeToString(deterministic=True) if message is not None else b""
    return any_pb2.Any(type_url=_PREFIX + type_name, value=value)


def version_of(resources: Iterable[Resource]) -> str:
    """Return what tells this set of resources from others: the same at every control plane."""
    digest = hashlib.sha256()
    for resource in sorted(resources, key=lambda one: one.name):
        digest.update(resource.name.encode() + b"\0" + resource.digest)
    return digest.hexdigest()[:12]
