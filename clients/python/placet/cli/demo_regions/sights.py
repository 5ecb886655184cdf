"""What is to be seen of the demo at one moment, ready to be drawn."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from placet.cli.demo_regions.demo import Demo
from placet.cli.demo_regions.news import Line
from placet.cli.demo_regions.scene import NodeSpec, Site, TenantSpec
from placet.cli.demo_regions.traffic import Pace, Totals
from placet.cli.demo_regions.world import NodeState


@dataclass(frozen=True, slots=True)
class NodeSight:
    """A node."""

    spec: NodeSpec
    state: NodeState
    is_lost: bool
    revision: int
    staleness_s: float
    calls_per_second: float


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a tenant's calls go from one place."""

    nodes: Sequence[tuple[str, Sequence[str]]]
    """Codes of regions and numbers of nodes, those with the most calls first."""
    p50_ms: float | None


@dataclass(frozen=True, slots=True)
class TenantSight:
    """A tenant's calls."""

    spec: TenantSpec
    destinations: Mapping[str, Destination]
    """By country."""
    pace: Pace
    totals: Totals


@dataclass(frozen=True, slots=True)
class Sight:
    """All of it."""

    about: str
    since_s: float
    sites: Sequence[tuple[Site, Sequence[NodeSight]]]
    countries: Sequence[str]
    tenants: Sequence[TenantSight]
    pace: Pace
    totals: Totals
    news: Sequence[Line]
    """The newest last."""


_MOST_NEWS = 100


def seen(demo: Demo) -> Sight:
    """Return what is to be seen now."""
    now_s = time.monotonic()
    scene, traffic = demo.scene, demo.traffic
    return Sight(
        about=demo.network.about,
        since_s=demo.news.now_s,
        sites=[
            (site, [_node(demo, node, now_s) for node in scene.nodes_in(region=site.name)])
            for site in scene.sites
        ],
        countries=scene.countries,
        tenants=[_tenant(demo, tenant, now_s) for tenant in scene.tenants],
        pace=traffic.pace(now_s),
        totals=traffic.total,
        news=demo.news.last(_MOST_NEWS),
    )


def _node(demo: Demo, node: NodeSpec, now_s: float) -> NodeSight:
    told = demo.world.seen(node)
    return NodeSight(
        spec=node,
        state=demo.world.state(node),
        is_lost=told.is_lost,
        revision=told.revision,
        staleness_s=told.staleness_s,
        calls_per_second=demo.traffic.pace(now_s, node=node.name).per_second,
    )


def _tenant(demo: Demo, tenant: TenantSpec, now_s: float) -> TenantSight:
    return TenantSight(
        spec=tenant,
        destinations={
            country: _destination(demo, tenant.name, country, now_s)
            for country in demo.scene.countries
        },
        pace=demo.traffic.pace(now_s, tenant=tenant.name),
        totals=demo.traffic.by_tenant[tenant.name],
    )


def _destination(demo: Demo, tenant: str, country: str, now_s: float) -> Destination:
    by_region: dict[str, list[str]] = {}
    for name in demo.traffic.nodes(now_s, tenant, country):
        node = demo.scene.node.get(name)
        if node is not None:
            by_region.setdefault(demo.scene.site[node.region].code, []).append(node.number)
    return Destination(
        nodes=[(code, sorted(numbers)) for code, numbers in by_region.items()],
        p50_ms=demo.traffic.pace(now_s, tenant=tenant, country=country).p50_ms,
    )
