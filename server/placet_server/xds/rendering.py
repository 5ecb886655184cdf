"""What a target looks like to a client's balancer. Pure: nodes in, resources out.

Where gRPC and Envoy need different things, it is said which needs it; what either reads is in
gRPC's gRFCs (A27, A28, A42, A44, A50, A52) and in Envoy's API reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from google.protobuf import any_pb2, duration_pb2, wrappers_pb2

from placet_server.xds.clients import Balancing, Dialect, Transport
from placet_server.xds.names import Part, Scope, cluster_name
from placet_server.xds.resources import Resource, Type, pack
from placet_server.xds.v3 import (
    cluster_pb2,
    core_pb2,
    endpoint_pb2,
    listener_pb2,
    route_pb2,
    tls_pb2,
)


@dataclass(frozen=True, slots=True)
class Host:
    """One address that takes calls."""

    ip: str
    port: int
    name: str
    """What it was known by: a name, or the same number."""
    weight: int


@dataclass(frozen=True, slots=True)
class Place:
    """A region with its hosts: at least one."""

    region: str
    hosts: tuple[Host, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Everything about a target that a client is told, nearest places first."""

    scope: Scope
    nodes: tuple[Place, ...]
    control: tuple[Place, ...]
    dialect: Dialect
    balancing: Balancing
    transport: Transport = Transport.PLAIN


Resources = Mapping[tuple[Type, str], Resource]


def rendered(target: Target) -> Resources:
    """Return all resources of a target."""
    fixed = _fixed(target.scope, target.dialect, target.balancing, target.transport)
    assignments = (
        _assignment(cluster_name(target.scope, part), places, target.balancing)
        for part, places in ((Part.NODES, target.nodes), (Part.CONTROL, target.control))
    )
    made = {(Type.ENDPOINTS, resource.name): resource for resource in assignments}
    return {**fixed, **made}


@lru_cache(maxsize=1024)
def _fixed(scope: Scope, dialect: Dialect, balancing: Balancing, transport: Transport) -> Resources:
    """Return what does not depend on which nodes there are."""
    name = scope.name
    found = {
        (Type.LISTENER, name): Resource.of(Type.LISTENER, name, _listener(name)),
        (Type.ROUTES, name): Resource.of(Type.ROUTES, name, _routes(scope, dialect)),
    }
    for part in Part:
        cluster = _cluster(cluster_name(scope, part), dialect, balancing)
        if dialect is Dialect.ENVOY and transport is not Transport.PLAIN:
            cluster.transport_socket.CopyFrom(_tls(transport))
        found[Type.CLUSTER, cluster.name] = Resource.of(Type.CLUSTER, cluster.name, cluster)
    return found


# ------------------------------------------------------------------------ listener and routes


_FROM_HERE = core_pb2.ConfigSource(
    ads=core_pb2.AggregatedConfigSource(), resource_api_version=core_pb2.API_VERSION_V3
)


def _listener(name: str) -> listener_pb2.Listener:
    router = listener_pb2.HttpFilter(
        name="router", typed_config=pack("envoy.extensions.filters.http.router.v3.Router")
    )
    manager = listener_pb2.HttpConnectionManager(
        stat_prefix="placet",
        rds=listener_pb2.Rds(config_source=_FROM_HERE, route_config_name=name),
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


def _routes(scope: Scope, dialect: Dialect) -> route_pb2.RouteConfiguration:
    routes = [
        route_pb2.Route(
            match=route_pb2.RouteMatch(prefix=prefix),
            route=_action(cluster_name(scope, part), is_repeatable, dialect),
        )
        for prefix, part, is_repeatable in _LEADS
    ]
    host = route_pb2.VirtualHost(name="placet", domains=["*"], routes=routes)
    return route_pb2.RouteConfiguration(name=scope.name, virtual_hosts=[host])


def _action(cluster: str, is_repeatable: bool, dialect: Dialect) -> route_pb2.RouteAction:
    action = route_pb2.RouteAction(cluster=cluster)
    if is_repeatable:
        action.retry_policy.CopyFrom(_retries(dialect))
    if dialect is Dialect.ENVOY:
        # Its own are 15 s, which ends streams. The caller's deadline counts, as it does in gRPC.
        action.timeout.CopyFrom(_seconds(0))
        action.max_stream_duration.grpc_timeout_header_max.CopyFrom(_seconds(0))
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
        num_retries=_number(_RETRIES),
        retry_back_off=route_pb2.RetryBackOff(
            base_interval=_seconds(_RETRY_FIRST_S), max_interval=_seconds(_RETRY_MOST_S)
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


# ----------------------------------------------------------------------------------- clusters


_CONNECT_S = 1.0
# gRPC drops calls past 1,024 at a time in a cluster, and Envoy past 1,024 connections, requests
# or waiting requests, without having asked a node. Nodes say themselves when there are too many.
_NO_LIMIT = 1_000_000
_PING_EVERY_S, _PING_TIMEOUT_S = 0.25, 0.3
_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def _cluster(name: str, dialect: Dialect, balancing: Balancing) -> cluster_pb2.Cluster:
    limits = cluster_pb2.Thresholds(
        max_connections=_number(_NO_LIMIT),
        max_pending_requests=_number(_NO_LIMIT),
        max_requests=_number(_NO_LIMIT),
        # As the SDK has it: a fifth of the calls. Envoy's own is three at a time.
        retry_budget=cluster_pb2.RetryBudget(
            budget_percent=cluster_pb2.Percent(value=20), min_retry_concurrency=_number(10)
        ),
    )
    cluster = cluster_pb2.Cluster(
        name=name,
        type=cluster_pb2.DISCOVERY_TYPE_EDS,
        eds_cluster_config=cluster_pb2.EdsClusterConfig(eds_config=_FROM_HERE),
        connect_timeout=_seconds(_CONNECT_S),
        circuit_breakers=cluster_pb2.CircuitBreakers(thresholds=[limits]),
        outlier_detection=_outliers(),
    )
    if dialect is Dialect.ENVOY:
        cluster.lb_policy = _IN_ENVOY[balancing]
        cluster.typed_extension_protocol_options[_HTTP].CopyFrom(_http2())
    elif dialect is not Dialect.PLAIN:
        cluster.lb_policy = _IN_GRPC[balancing]
        if balancing is Balancing.LEAST_REQUEST and dialect is Dialect.LISTS:
            cluster.load_balancing_policy.CopyFrom(_least_request())
    return cluster


_IN_ENVOY = {
    Balancing.LEAST_REQUEST: cluster_pb2.LB_POLICY_LEAST_REQUEST,
    Balancing.ROUND_ROBIN: cluster_pb2.LB_POLICY_UNSPECIFIED,
    Balancing.RANDOM: cluster_pb2.LB_POLICY_RANDOM,
    # In turn, by the endpoints' weights.
    Balancing.WEIGHTED: cluster_pb2.LB_POLICY_UNSPECIFIED,
}
_IN_GRPC = {
    Balancing.LEAST_REQUEST: cluster_pb2.LB_POLICY_UNSPECIFIED,
    Balancing.ROUND_ROBIN: cluster_pb2.LB_POLICY_UNSPECIFIED,
    # gRPC has neither. A hash ring takes endpoints by their weights, and calls without a hash
    # get any point of it.
    Balancing.RANDOM: cluster_pb2.LB_POLICY_RING_HASH,
    Balancing.WEIGHTED: cluster_pb2.LB_POLICY_RING_HASH,
}
_WEIGHTS_COUNT = frozenset({Balancing.WEIGHTED, Balancing.LEAST_REQUEST})


def _least_request() -> cluster_pb2.LoadBalancingPolicy:
    """In turn where the client has no better; alone, least_request is refused by C-core."""
    policies = "envoy.extensions.load_balancing_policies"
    least = cluster_pb2.LeastRequest(choice_count=_number(2))
    within = _policies(
        (f"{policies}.least_request.v3.LeastRequest", least),
        (f"{policies}.round_robin.v3.RoundRobin", None),
    )
    by_locality = cluster_pb2.WrrLocality(endpoint_picking_policy=within)
    return _policies((f"{policies}.wrr_locality.v3.WrrLocality", by_locality))


def _policies(
    *given: tuple[str, cluster_pb2.LeastRequest | cluster_pb2.WrrLocality | None],
) -> cluster_pb2.LoadBalancingPolicy:
    return cluster_pb2.LoadBalancingPolicy(
        policies=[
            cluster_pb2.Policy(
                typed_extension_config=cluster_pb2.TypedExtensionConfig(
                    name=name, typed_config=pack(name, message)
                )
            )
            for name, message in given
        ]
    )


def _outliers() -> cluster_pb2.OutlierDetection:
    """Leave a node alone that fails half of its calls: for a second at first, and never most."""
    return cluster_pb2.OutlierDetection(
        interval=_seconds(1),
        base_ejection_time=_seconds(1),
        max_ejection_time=_seconds(30),
        max_ejection_percent=_number(50),
        failure_percentage_threshold=_number(50),
        enforcing_failure_percentage=_number(100),
        failure_percentage_minimum_hosts=_number(2),
        failure_percentage_request_volume=_number(20),
        # It compares hosts with each other, which means nothing for less than six of them.
        enforcing_success_rate=_number(0),
        # Envoy's alone.
        consecutive_5xx=_number(3),
        enforcing_consecutive_5xx=_number(100),
    )


def _http2() -> any_pb2.Any:
    """Have Envoy speak HTTP/2, and find out by pings when a node hangs."""
    pings = cluster_pb2.KeepaliveSettings(
        interval=_seconds(_PING_EVERY_S), timeout=_seconds(_PING_TIMEOUT_S)
    )
    options = cluster_pb2.HttpProtocolOptions(
        explicit_http_config=cluster_pb2.ExplicitHttpConfig(
            http2_protocol_options=cluster_pb2.Http2ProtocolOptions(connection_keepalive=pings)
        )
    )
    return pack(_HTTP, options)


# Of the secrets in the bootstrap that `placet xds bootstrap --envoy` writes: what is trusted, and
# what is shown, are files of the client's own.
_CA, _CERTIFICATE = "placet_ca", "placet_certificate"


def _tls(transport: Transport) -> cluster_pb2.TransportSocket:
    is_mutual = transport is Transport.MUTUAL_TLS
    shown = [tls_pb2.SdsSecretConfig(name=_CERTIFICATE)] if is_mutual else []
    context = tls_pb2.UpstreamTlsContext(
        auto_host_sni=True,
        auto_sni_san_validation=True,
        common_tls_context=tls_pb2.CommonTlsContext(
            alpn_protocols=["h2"],
            validation_context_sds_secret_config=tls_pb2.SdsSecretConfig(name=_CA),
            tls_certificate_sds_secret_configs=shown,
        ),
    )
    packed = pack("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", context)
    return cluster_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed)


# ---------------------------------------------------------------------------------- endpoints


def _assignment(name: str, places: Sequence[Place], balancing: Balancing) -> Resource:
    weigh = balancing in _WEIGHTS_COUNT
    assignment = endpoint_pb2.ClusterLoadAssignment(
        cluster_name=name, endpoints=_localities(places, weigh)
    )
    return Resource.of(Type.ENDPOINTS, name, assignment)


def _localities(places: Iterable[Place], weigh: bool) -> Iterator[endpoint_pb2.LocalityLbEndpoints]:
    for priority, place in enumerate(places):
        endpoints = [_endpoint(host, host.weight if weigh else 1) for host in place.hosts]
        weight = sum(one.load_balancing_weight.value for one in endpoints)
        yield endpoint_pb2.LocalityLbEndpoints(
            locality=core_pb2.Locality(region=place.region),
            lb_endpoints=endpoints,
            load_balancing_weight=_number(weight),
            priority=priority,
        )


def _endpoint(host: Host, weight: int) -> endpoint_pb2.LbEndpoint:
    socket = core_pb2.SocketAddress(address=host.ip, port_value=host.port)
    return endpoint_pb2.LbEndpoint(
        endpoint=endpoint_pb2.Endpoint(
            address=core_pb2.Address(socket_address=socket), hostname=host.name
        ),
        load_balancing_weight=_number(weight),
    )


def _number(value: int) -> wrappers_pb2.UInt32Value:
    return wrappers_pb2.UInt32Value(value=value)


def _seconds(seconds: float) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
