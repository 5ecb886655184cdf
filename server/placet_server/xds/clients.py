"""Who asks: what a client says of itself in its bootstrap, and what its library understands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias, TypeVar

from google.protobuf import struct_pb2

from placet_engine.placement.countries import CountryUnknown, place_of
from placet_engine.placement.geography import GeoPoint
from placet_engine.placement.regions import Regions
from placet_engine.placement.residency import ResidencyRule
from placet_server.errors import XdsClientRefused
from placet_server.xds.names import Scope, scope_of
from placet_server.xds.v3 import core_pb2

TENANT_KEY = "placet.tenant"
RESIDENCY_KEY = "placet.residency"
COUNTRY_KEY = "placet.country"
BALANCING_KEY = "placet.balancing"
TLS_KEY = "placet.tls"
"""Keys of ``node.metadata``."""


class Balancing(Enum):
    """Who of the nodes of a region gets the next call."""

    LEAST_REQUEST = "least_request"
    ROUND_ROBIN = "round_robin"
    RANDOM = "random"
    WEIGHTED = "weighted"


class Kind(Enum):
    """Whose xDS client it is."""

    CORE = "C-core"
    """C++, Python, Ruby, PHP, Objective-C."""
    GO = "Go"
    JAVA = "Java"
    NODE = "Node"
    ENVOY = "Envoy"
    OTHER = "other"


class Dialect(Enum):
    """Which policies of balancing a client can be told of without refusing all of the cluster."""

    LISTS = "lists"
    """gRPC of today: an ordered list, of which it takes what it knows."""
    RINGS = "rings"
    """A hash ring, or in turn."""
    PLAIN = "plain"
    """In turn, whatever was asked for."""
    ENVOY = "envoy"


class Transport(Enum):
    """How a client is told to talk to nodes. Only Envoys are: gRPC's clients bring credentials."""

    PLAIN = ""
    TLS = "server"
    """It checks nodes' certificates, by the CAs of its own bootstrap."""
    MUTUAL_TLS = "mutual"
    """And shows one of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """What a client says of itself."""

    id: str
    kind: Kind
    agent: str
    """What it calls its library."""
    version: str
    region: str
    """Of its locality, whether there is such a region or not."""
    place: GeoPoint | None
    """Where it is. None: nobody knows."""
    default: Scope
    """What its target `placet` stands for."""
    bound: ResidencyRule | None
    """Nothing is sent to it that this rule forbids, whatever it asks for."""
    balancing: Balancing | None
    """None: it does not say."""
    transport: Transport = Transport.PLAIN

    @property
    def dialect(self) -> Dialect:
        """What it can be told."""
        if self.kind is Kind.ENVOY:
            return Dialect.ENVOY
        lists, rings = _SINCE.get(self.kind, (_NEVER, _NEVER))
        version = _numbers(self.version)
        if version >= lists:
            return Dialect.LISTS
        return Dialect.RINGS if version >= rings else Dialect.PLAIN


_Version = tuple[int, int]
_NEVER: _Version = (1 << 30, 0)
# Since when lists of policies (gRFC A52) and hash rings (A42) are understood: grpc/grpc's
# doc/grpc_xds_features.md. Who sends a cluster with a policy that is not known has it refused.
# C-core counts its own versions: 32 is in gRPC 1.55, and 18 in 1.40.
_SINCE: Mapping[Kind, tuple[_Version, _Version]] = {
    Kind.CORE: ((32, 0), (18, 0)),
    Kind.GO: ((1, 56), (1, 41)),
    Kind.JAVA: ((1, 47), (1, 40)),
    Kind.NODE: ((1, 10), (1, 10)),
}
_AGENTS: tuple[tuple[str, Kind], ...] = (
    ("grpc c-core", Kind.CORE),
    ("grpc go", Kind.GO),
    ("grpc java", Kind.JAVA),
    ("grpc node", Kind.NODE),
    ("envoy", Kind.ENVOY),
)
_MOST_CHARS = 200
_E = TypeVar("_E", bound=Enum)
_Metadata: TypeAlias = Mapping[str, struct_pb2.Value]


def read_client(node: core_pb2.Node, regions: Regions) -> Client:
    """Read what a client says of itself.

    Args:
        node: from its first request.
        regions: where it can be. A region that is not among them is no error: a bootstrap may be
            shared with control planes that have other names for the same place.

    Raises:
        XdsClientRefused: it says what cannot be meant.
    """
    metadata = node.metadata.fields
    rule = _rule(metadata)
    default = _default(metadata, rule)
    region = node.locality.region[:_MOST_CHARS]
    return Client(
        id=node.id[:_MOST_CHARS],
        kind=_kind(node.user_agent_name),
        agent=node.user_agent_name[:_MOST_CHARS],
        version=_version(node)[:_MOST_CHARS],
        region=region,
        place=_place(metadata, region, regions),
        default=default,
        bound=rule,
        balancing=_chosen(Balancing, metadata, BALANCING_KEY),
        transport=_chosen(Transport, metadata, TLS_KEY) or Transport.PLAIN,
    )


def _kind(agent: str) -> Kind:
    said = agent.lower()
    return next((kind for name, kind in _AGENTS if said.startswith(name)), Kind.OTHER)


def _version(node: core_pb2.Node) -> str:
    if node.HasField("user_agent_build_version"):
        version = node.user_agent_build_version.version
        return f"{version.major_number}.{version.minor_number}.{version.patch}"
    return node.user_agent_version


def _numbers(version: str) -> _Version:
    found = re.search(r"(\d{1,6})\.(\d{1,6})", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _text(metadata: _Metadata, key: str) -> str:
    if key not in metadata:
        return ""
    value = metadata[key]
    if value.WhichOneof("kind") != "string_value":
        raise XdsClientRefused(f"`{key}` in the node's metadata is not text; put it in quotes")
    return value.string_value


def _rule(metadata: _Metadata) -> ResidencyRule | None:
    name = _text(metadata, RESIDENCY_KEY)
    if name and name not in ResidencyRule.__members__:
        raise XdsClientRefused(
            f"`{RESIDENCY_KEY}` in the node's metadata is `{name[:_MOST_CHARS]}`; "
            f"use one of {', '.join(ResidencyRule.__members__)}"
        )
    return ResidencyRule[name] if name else None


def _default(metadata: _Metadata, rule: ResidencyRule | None) -> Scope:
    tenant = _text(metadata, TENANT_KEY)
    if not tenant:
        return Scope(rule=rule or ResidencyRule.ANY)
    if scope_of(Scope(tenant=tenant).name) is None:
        raise XdsClientRefused(
            f"`{TENANT_KEY}` in the node's metadata is `{tenant[:_MOST_CHARS]}`; use 1 to 64 "
            "letters, digits and `._-`, none of these first"
        )
    return Scope(tenant=tenant)


def _place(metadata: _Metadata, region: str, regions: Regions) -> GeoPoint | None:
    country = _text(metadata, COUNTRY_KEY)
    if country:
        try:
            return place_of(country)
        except CountryUnknown as error:
            raise XdsClientRefused(f"`{COUNTRY_KEY}` in the node's metadata: {error}") from error
    known = regions.get(region)
    return known.location if known is not None else None


def _chosen(choices: type[_E], metadata: _Metadata, key: str) -> _E | None:
    name = _text(metadata, key)
    try:
        return choices(name) if name else None
    except ValueError:
        there_are = ", ".join(each.value for each in choices if each.value)
        raise XdsClientRefused(
            f"`{key}` in the node's metadata is `{name[:_MOST_CHARS]}`; use one of {there_are}"
        ) from None
