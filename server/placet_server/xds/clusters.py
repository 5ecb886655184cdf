"""How calls are spread over the nodes of a cluster. Pure.

Where gRPC and Envoy need different things, it is said which needs it; what either reads is in
gRPC's gRFCs (A27, A32, A42, A48, A50, A52) and in Envoy's API reference.
"""

from __future__ import annotations

from google.protobuf import any_pb2

from placet_server.xds.clients import Balancing, Dialect, Transport
from placet_server.xds.resources import FROM_HERE, pack
from placet_server.xds.v3 import cluster_pb2, tls_pb2
from placet_server.xds.values import number, seconds

_CONNECT_S = 1.0
# gRPC drops calls past 1,024 at a time in a cluster, and Envoy past 1,024 connections, requests
# or waiting requests, without having asked a node. Nodes say themselves when there are too many.
_NO_LIMIT = 1_000_000
_PING_EVERY_S, _PING_TIMEOUT_S = 0.25, 0.3
_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def cluster(
    name: str, dialect: Dialect, balancing: Balancing, transport: Transport
) -> cluster_pb2.Cluster:
    """Return a cluster of nodes, in terms that the client understands."""
    limits = cluster_pb2.Thresholds(
        max_connections=number(_NO_LIMIT),
        max_pending_requests=number(_NO_LIMIT),
        max_requests=number(_NO_LIMIT),
        # As the SDK has it: a fifth of the calls. Envoy's own is three at a time.
        retry_budget=cluster_pb2.RetryBudget(
            budget_percent=cluster_pb2.Percent(value=20), min_retry_concurrency=number(10)
        ),
    )
    made = cluster_pb2.Cluster(
        name=name,
        type=cluster_pb2.DISCOVERY_TYPE_EDS,
        eds_cluster_config=cluster_pb2.EdsClusterConfig(eds_config=FROM_HERE),
        connect_timeout=seconds(_CONNECT_S),
        circuit_breakers=cluster_pb2.CircuitBreakers(thresholds=[limits]),
        outlier_detection=_outliers(),
    )
    if dialect is Dialect.ENVOY:
        made.lb_policy = _IN_ENVOY[balancing]
        made.typed_extension_protocol_options[_HTTP].CopyFrom(_http2())
        if transport is not Transport.PLAIN:
            made.transport_socket.CopyFrom(_tls(transport))
    elif dialect is not Dialect.PLAIN:
        made.lb_policy = _IN_GRPC[balancing]
        if balancing is Balancing.LEAST_REQUEST and dialect is Dialect.LISTS:
            made.load_balancing_policy.CopyFrom(_least_request())
    return made


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
WEIGHTS_COUNT = frozenset({Balancing.WEIGHTED, Balancing.LEAST_REQUEST})
"""Where nodes get calls by their weights."""


def _least_request() -> cluster_pb2.LoadBalancingPolicy:
    """In turn where the client has no better; alone, least_request is refused by C-core."""
    policies = "envoy.extensions.load_balancing_policies"
    least = cluster_pb2.LeastRequest(choice_count=number(2))
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
        interval=seconds(1),
        base_ejection_time=seconds(1),
        max_ejection_time=seconds(30),
        max_ejection_percent=number(50),
        failure_percentage_threshold=number(50),
        enforcing_failure_percentage=number(100),
        failure_percentage_minimum_hosts=number(2),
        failure_percentage_request_volume=number(20),
        # It compares hosts with each other, which means nothing for less than six of them.
        enforcing_success_rate=number(0),
        # Envoy's alone.
        consecutive_5xx=number(3),
        enforcing_consecutive_5xx=number(100),
    )


def _http2() -> any_pb2.Any:
    """Have Envoy speak HTTP/2, and find out by pings when a node hangs."""
    pings = cluster_pb2.KeepaliveSettings(
        interval=seconds(_PING_EVERY_S), timeout=seconds(_PING_TIMEOUT_S)
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
