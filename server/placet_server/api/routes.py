"""Routes as messages: what GetRoute answers, and the detail of a refusal."""

from __future__ import annotations

from placet.v1 import topology_pb2
from placet_engine.placement.routing import Endpoint, Route, RouteRegion


def route_to_wire(route: Route) -> topology_pb2.Route:
    """Return a route as a message."""
    return topology_pb2.Route(
        tenant=route.tenant,
        residency=route.rule.value,  # type: ignore[arg-type]  # the numbers are the wire's
        regions=map(_region_to_wire, route.regions),
    )


def _region_to_wire(one: RouteRegion) -> topology_pb2.RouteRegion:
    return topology_pb2.RouteRegion(
        region=one.region.name,
        jurisdiction=one.region.jurisdiction,
        reason=one.reason.value,  # type: ignore[arg-type]
        distance_km=one.distance_km or 0.0,
        endpoints=map(_endpoint_to_wire, one.endpoints),
    )


def _endpoint_to_wire(endpoint: Endpoint) -> topology_pb2.Endpoint:
    return topology_pb2.Endpoint(
        node=endpoint.node,
        address=endpoint.address,
        weight=endpoint.weight,
        utilization=endpoint.utilization,
    )


def refusal_to_wire(route: Route, *, region: str) -> topology_pb2.ResidencyRefusal:
    """Return what a node in a region says that may not serve the route's tenant."""
    refusal = topology_pb2.ResidencyRefusal(region=region)
    # A route is never empty; where no region is allowed there is none.
    if route.regions:
        refusal.route.CopyFrom(route_to_wire(route))
    return refusal
