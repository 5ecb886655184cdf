"""A target's listener and routes: which calls go to which cluster, and which are made again. Pure.

What gRPC reads of it is in its gRFCs A27, A28 and A44; the rest is Envoy's.
"""

from __future__ import annotations

from placet_server.xds.clients import Dialect
from placet_server.xds.names import Part, Scope, cluster_name
from placet_server.xds.resources import FROM_HERE, pack
from placet_server.xds.v3 import listener_pb2, route_pb2
from placet_server.xds.values import number, seconds


def listener(name: str) -> listener_pb2.Listener:
    """Return the listener of a target, whose routes have the same name."""
    router = listener_pb2.HttpFilter(
        name="router", typed_config=pack("envoy.extensions.filters.http.router.v3.Router")
    )
    manager = listener_pb2.HttpConnectionManager(
        stat_prefix="placet",
        rds=listener_pb2.Rds(config_source=FROM_HERE, route_config_name=name),
        http_filters=[router],
    )
    packed = pack(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", manager
    )
    return listener_pb2.Listener(
        name=name, api_listener=listener_pb2.ApiListener(api_listener=packed)
    )


# Path, where to, and whether doing it twice does no harm. What is left over is about changes, or
# about what only control nodes know.
_LEADS: tuple[tuple[str, Part, bool], ...] = (
    ("/placet.v1.EvaluateService/", Part.NODES, True),
    ("/placet.v1.SubscribeService/", Part.NODES, False),
    ("/placet.v1.NodeService/", Part.NODES, True),
    ("/grpc.health.v1.Health/", Part.NODES, False),
    ("/placet.v1.TopologyService/Get", Part.CONTROL, True),
    ("/placet.v1.TopologyService/List", Part.CONTROL, True),
    ("/placet.v1.PolicyService/Get", Part.CONTROL, True),
    ("/placet.v1.PolicyService/List", Part.CONTROL, True),
    ("/placet.v1.RolloutService/Get", Part.CONTROL, True),
    ("/placet.v1.RolloutService/List", Part.CONTROL, True),
    ("/", Part.CONTROL, False),
)


def routes(scope: Scope, dialect: Dialect) -> route_pb2.RouteConfiguration:
    """Return the routes of a target."""
    led = [
        route_pb2.Route(
            match=route_pb2.RouteMatch(prefix=prefix),
            route=_action(cluster_name(scope, part), is_repeatable, dialect),
        )
        for prefix, part, is_repeatable in _LEADS
    ]
    host = route_pb2.VirtualHost(name="placet", domains=["*"], routes=led)
    return route_pb2.RouteConfiguration(name=scope.name, virtual_hosts=[host])


def _action(cluster: str, is_repeatable: bool, dialect: Dialect) -> route_pb2.RouteAction:
    action = route_pb2.RouteAction(cluster=cluster)
    if is_repeatable:
        action.retry_policy.CopyFrom(_retries(dialect))
    if dialect is Dialect.ENVOY:
        # Its own are 15 s, which ends streams. The caller's deadline counts, as it does in gRPC.
        action.timeout.CopyFrom(seconds(0))
        action.max_stream_duration.grpc_timeout_header_max.CopyFrom(seconds(0))
    return action


# A node that goes takes its connections along (UNAVAILABLE), or ends calls when its time is up
# (CANCELLED). INTERNAL is a mistake that would be made again; RESOURCE_EXHAUSTED is overload, which
# repeats make worse, and xDS has no budget for them in gRPC.
_RETRY_ON = "unavailable,cancelled"
# Before there is a status: nothing was done, or it does no harm to do it again.
_RETRY_ON_IN_ENVOY = f"connect-failure,refused-stream,reset,{_RETRY_ON}"
_RETRIES = 3
_RETRY_FIRST_S, _RETRY_MOST_S = 0.01, 0.1


def _retries(dialect: Dialect) -> route_pb2.RetryPolicy:
    policy = route_pb2.RetryPolicy(
        retry_on=_RETRY_ON,
        num_retries=number(_RETRIES),
        retry_back_off=route_pb2.RetryBackOff(
            base_interval=seconds(_RETRY_FIRST_S), max_interval=seconds(_RETRY_MOST_S)
        ),
    )
    if dialect is Dialect.ENVOY:
        elsewhere = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
        policy.retry_on = _RETRY_ON_IN_ENVOY
        policy.retry_host_predicate.add(
            name="envoy.retry_host_predicates.previous_hosts", typed_config=pack(elsewhere)
        )
        policy.host_selection_retry_max_attempts = 5
    return policy
