"""Nodes: what they say of themselves, and what others are told of them."""

from __future__ import annotations

import math
import re

from placet.v1 import topology_pb2, topology_service_pb2
from placet.wire.durations import duration, seconds
from placet.wire.limits import LIMITS
from placet.wire.placements import read_node_id, read_region
from placet.wire.reader import Reader
from placet.wire.times import time_from_wire, timestamp
from placet_engine.items import Revision
from placet_engine.placement.nodes import (
    DEFAULT_WEIGHT,
    Condition,
    Node,
    NodeHealth,
    NodeLoad,
    NodeRole,
    Registration,
)

_ADDRESS = re.compile(r"[^\s/]{1,253}:[0-9]{1,5}")


def node_to_wire(node: Node) -> topology_pb2.Node:
    """Return a node as a message, with all that is known about it."""
    registration, condition = node.registration, node.condition
    return topology_pb2.Node(
        id=registration.id,
        instance=registration.instance,
        region=registration.region,
        role=registration.role.value,  # type: ignore[arg-type]  # the numbers are the wire's
        address=registration.address,
        upstreams=registration.upstreams,
        weight=node.weight,
        version=registration.version,
        health=node.health.value,  # type: ignore[arg-type]
        health_reason=node.health_reason,
        draining=node.draining,
        load=load_to_wire(condition.load),
        revision=condition.revision,
        staleness=duration(condition.staleness_s),
        register_time=timestamp(node.register_time),
        renew_time=timestamp(node.renew_time),
        lease_expire_time=timestamp(node.lease_expire_time),
        etag=node.etag,
    )


def load_to_wire(load: NodeLoad) -> topology_pb2.NodeLoad:
    """Return how busy a node is as a message."""
    return topology_pb2.NodeLoad(
        utilization=load.utilization,
        requests_per_second=load.requests_per_second,
        subscribers=load.subscribers,
    )


def registration_to_wire(registration: Registration) -> topology_pb2.Node:
    """Return what a node says of itself when it registers."""
    return topology_pb2.Node(
        id=registration.id,
        instance=registration.instance,
        region=registration.region,
        role=registration.role.value,  # type: ignore[arg-type]
        address=registration.address,
        upstreams=registration.upstreams,
        weight=registration.weight,
        version=registration.version,
    )


def read_registration(message: topology_pb2.Node, reader: Reader, field: str) -> Registration:
    """Read what a node says of itself when it registers."""
    weight = message.weight or DEFAULT_WEIGHT
    if not 1 <= weight <= LIMITS.max_node_weight:
        reader.refuse(f"{field}.weight", f"is {weight}; use 1 to {LIMITS.max_node_weight}")
    if message.address and not _ADDRESS.fullmatch(message.address):
        what = f"is `{message.address[:80]}`; write it as host:port, such as eu1.example.net:7443"
        reader.refuse(f"{field}.address", what)
    most = LIMITS.max_upstreams
    if len(message.upstreams) > most:
        reader.refuse(f"{field}.upstreams", f"has more than {most} entries; name fewer")
    for index, upstream in enumerate(message.upstreams[:most]):
        if not 1 <= len(upstream) <= LIMITS.max_id_chars:
            reader.refuse(f"{field}.upstreams[{index}]", "is no id or address of a node")
    if len(message.version) > LIMITS.max_version_chars:
        reader.refuse(f"{field}.version", f"is longer than {LIMITS.max_version_chars} characters")
    return Registration(
        id=read_node_id(message.id, reader, f"{field}.id"),
        instance=read_node_id(message.instance, reader, f"{field}.instance"),
        region=read_region(message.region, reader, f"{field}.region"),
        role=reader.choice(NodeRole, message.role, f"{field}.role", NodeRole.EDGE),
        address=message.address,
        upstreams=tuple(message.upstreams[:most]),
        weight=weight,
        version=message.version,
    )


def renewal_to_wire(
    id_: str, instance: str, condition: Condition, *, round_trip_s: float
) -> topology_service_pb2.RenewNodeLeaseRequest:
    """Return how a node fares as the request that keeps its lease."""
    return topology_service_pb2.RenewNodeLeaseRequest(
        node=id_,
        instance=instance,
        health=condition.health.value,  # type: ignore[arg-type]
        health_reason=condition.health_reason,
        draining=condition.draining,
        load=load_to_wire(condition.load),
        revision=condition.revision,
        staleness=duration(condition.staleness_s),
        round_trip=duration(round_trip_s),
    )


def read_condition(
    message: topology_service_pb2.RenewNodeLeaseRequest, reader: Reader
) -> Condition:
    """Read how a node says that it fares."""
    health = reader.choice(NodeHealth, message.health, "health", NodeHealth.SERVING)
    if health is NodeHealth.LOST:
        reader.refuse("health", "is LOST, which nobody can say of itself; say NOT_SERVING")
    if len(message.health_reason) > LIMITS.max_reason_chars:
        reader.refuse("health_reason", f"is longer than {LIMITS.max_reason_chars} characters")
    load = message.load
    if not 0 <= load.utilization <= 1:
        reader.refuse("load.utilization", f"is {load.utilization:g}; use 0, idle, to 1, saturated")
    if not 0 <= load.requests_per_second < math.inf:
        reader.refuse("load.requests_per_second", "is negative, or no number")
    for name, value in (
        ("load.subscribers", load.subscribers),
        ("revision", message.revision),
        ("staleness", seconds(message.staleness)),
        ("round_trip", seconds(message.round_trip)),
    ):
        if value < 0:
            reader.refuse(name, "is negative")
    return Condition(
        health=health,
        health_reason=message.health_reason,
        draining=message.draining,
        load=NodeLoad(
            utilization=load.utilization,
            requests_per_second=load.requests_per_second,
            subscribers=load.subscribers,
        ),
        revision=Revision(message.revision),
        staleness_s=seconds(message.staleness),
    )


def read_node(message: topology_pb2.Node, reader: Reader, field: str) -> Node:
    """Read a node as another node knows it."""
    lease_s = message.lease_expire_time.ToNanoseconds() - message.renew_time.ToNanoseconds()
    load = message.load
    said = reader.choice(NodeHealth, message.health, f"{field}.health", NodeHealth.NOT_SERVING)
    etag = message.etag
    return Node(
        registration=read_registration(message, reader, field),
        condition=Condition(
            health=NodeHealth.SERVING if said is NodeHealth.LOST else said,
            draining=message.draining,
            load=NodeLoad(
                utilization=load.utilization,
                requests_per_second=load.requests_per_second,
                subscribers=load.subscribers,
            ),
            revision=Revision(message.revision),
            staleness_s=seconds(message.staleness),
        ),
        health=said,
        health_reason=message.health_reason,
        weight=message.weight,
        draining=message.draining,
        register_time=time_from_wire(message.register_time),
        renew_time=time_from_wire(message.renew_time),
        lease_s=lease_s / 1e9,
        settings_revision=Revision(int(etag)) if etag.isdecimal() else Revision(0),
    )
