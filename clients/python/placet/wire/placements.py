"""Where tenants are placed, and what is set of nodes, both ways."""

from __future__ import annotations

import re

from placet.v1 import topology_pb2
from placet.wire.limits import LIMITS
from placet.wire.reader import Reader
from placet.wire.times import time_from_wire, timestamp
from placet_engine.items import NodeSettings, Placement
from placet_engine.placement.residency import ResidencyRule

_NODE = re.compile(r"[A-Za-z0-9._-]{1,128}")
_REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def placement_to_wire(placement: Placement) -> topology_pb2.Tenant:
    """Return a placement as it is kept: without an etag."""
    return topology_pb2.Tenant(
        name=placement.tenant,
        residency=placement.rule.value,  # type: ignore[arg-type]  # the numbers are the wire's
        home_region=placement.home_region,
        affinity_regions=placement.affinity_regions,
        update_time=timestamp(placement.update_time) if placement.update_time else None,
    )


def read_placement(message: topology_pb2.Tenant, reader: Reader, field: str) -> Placement:
    """Read where a tenant is placed. Whether there are such regions is not looked at."""
    home = message.home_region
    affinity, most = message.affinity_regions, LIMITS.max_affinity_regions
    if len(affinity) > most:
        reader.refuse(f"{field}.affinity_regions", f"has more than {most} entries; name fewer")
    return Placement(
        tenant=reader.tenant(message.name, field=f"{field}.name"),
        rule=reader.choice(
            ResidencyRule, message.residency, f"{field}.residency", ResidencyRule.ANY
        ),
        home_region=read_region(home, reader, f"{field}.home_region") if home else "",
        affinity_regions=tuple(
            read_region(name, reader, f"{field}.affinity_regions[{index}]")
            for index, name in enumerate(affinity[:most])
        ),
        update_time=time_from_wire(message.update_time)
        if message.HasField("update_time")
        else None,
    )


def read_region(name: str, reader: Reader, field: str) -> str:
    """Read the name of a region."""
    if not _REGION.fullmatch(name):
        what = f"is `{name[:80]}`" if name else "is missing"
        reader.refuse(field, f"{what}; use 1 to 64 letters, digits and `._-`, none of these first")
    return name


def node_settings_to_wire(settings: NodeSettings) -> topology_pb2.NodeSettings:
    """Return what is set of a node as a message."""
    return topology_pb2.NodeSettings(
        node=settings.node, weight=settings.weight, draining=settings.draining
    )


def read_node_settings(
    message: topology_pb2.NodeSettings, reader: Reader, field: str
) -> NodeSettings:
    """Read what is set of a node."""
    weight = message.weight if message.HasField("weight") else None
    if weight is not None and not 1 <= weight <= LIMITS.max_node_weight:
        reader.refuse(f"{field}.weight", f"is {weight}; use 1 to {LIMITS.max_node_weight}")
    return NodeSettings(
        node=read_node_id(message.node, reader, f"{field}.node"),
        weight=weight,
        draining=message.draining if message.HasField("draining") else None,
    )


def read_node_id(id_: str, reader: Reader, field: str) -> str:
    """Read the id of a node."""
    if not _NODE.fullmatch(id_):
        what = f"is `{id_[:80]}`" if id_ else "is missing"
        reader.refuse(field, f"{what}; use 1 to 128 letters, digits and `._-`")
    return id_
