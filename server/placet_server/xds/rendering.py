"""What a target looks like to a client's balancer: everything that is sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from placet_server.xds.clients import Balancing, Dialect, Transport
from placet_server.xds.clusters import WEIGHTS_COUNT, cluster
from placet_server.xds.leading import listener, routes
from placet_server.xds.names import Part, Scope, cluster_name
from placet_server.xds.places import Places
from placet_server.xds.resources import Resource, Type

Resources = Mapping[tuple[Type, str], Resource]


@dataclass(frozen=True, slots=True)
class Style:
    """What of a target does not depend on where it leads."""

    scope: Scope
    dialect: Dialect
    balancing: Balancing
    transport: Transport = Transport.PLAIN


@dataclass(frozen=True, slots=True)
class Led:
    """Where a target leads."""

    nodes: Places
    control: Places


def rendered(style: Style, led: Led) -> Resources:
    """Return all resources of a target."""
    found = dict(_fixed(style))
    weigh = style.balancing in WEIGHTS_COUNT
    for part, places in ((Part.NODES, led.nodes), (Part.CONTROL, led.control)):
        name = cluster_name(style.scope, part)
        written = places.assignment(name, weigh=weigh)
        found[Type.ENDPOINTS, name] = Resource.written(Type.ENDPOINTS, name, written)
    return found


@lru_cache(maxsize=1024)
def _fixed(style: Style) -> Resources:
    name = style.scope.name
    made = {
        (Type.LISTENER, name): Resource.of(Type.LISTENER, name, listener(name)),
        (Type.ROUTES, name): Resource.of(Type.ROUTES, name, routes(style.scope, style.dialect)),
    }
    for part in Part:
        named = cluster_name(style.scope, part)
        message = cluster(named, style.dialect, style.balancing, style.transport)
        made[Type.CLUSTER, named] = Resource.of(Type.CLUSTER, named, message)
    return made
