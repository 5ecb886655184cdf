"""What targets look like to balancers: names, policies, priorities and weights."""

from __future__ import annotations

from typing import TypeVar

import pytest
from google.protobuf.message import Message

from placet_server.xds.clients import Balancing, Dialect, Transport
from placet_server.xds.names import Scope
from placet_server.xds.places import Host, Place, Places
from placet_server.xds.rendering import Led, Resources, Style, rendered
from placet_server.xds.resources import Type
from placet_server.xds.v3 import (
    cluster_pb2,
    endpoint_pb2,
    listener_pb2,
    route_pb2,
    tls_pb2,
)

_M = TypeVar("_M", bound=Message)
_NEAR = Place(
    "eu-west",
    (Host("10.0.0.1", 7717, "eu1.test", 30), Host("10.0.0.2", 7717, "eu2.test", 10)),
)
_FAR = Place("us-east", (Host("10.0.1.1", 7717, "us1.test", 100),))
_RING, _TURN = cluster_pb2.LB_POLICY_RING_HASH, cluster_pb2.LB_POLICY_UNSPECIFIED
_EVERY = [(dialect, balancing) for dialect in Dialect for balancing in Balancing]


def made(
    dialect: Dialect = Dialect.LISTS,
    balancing: Balancing = Balancing.LEAST_REQUEST,
    transport: Transport = Transport.PLAIN,
    *,
    nodes: tuple[Place, ...] = (_NEAR, _FAR),
    control: tuple[Place, ...] = (_FAR,),
) -> Resources:
    style = Style(Scope(tenant="acme"), dialect, balancing, transport)
    return rendered(style, Led(nodes=Places(nodes), control=Places(control)))


def read(resources: Resources, type_: Type, name: str, kind: type[_M]) -> _M:
    resource = resources[type_, name]
    assert (name, type_.url) == (resource.name, resource.packed.type_url)
    return kind.FromString(resource.packed.value)


def cluster(resources: Resources, part: str = "nodes") -> cluster_pb2.Cluster:
    return read(resources, Type.CLUSTER, f"acme.tenant.placet/{part}", cluster_pb2.Cluster)


def assignment(resources: Resources, part: str = "nodes") -> endpoint_pb2.ClusterLoadAssignment:
    name = f"acme.tenant.placet/{part}"
    return read(resources, Type.ENDPOINTS, name, endpoint_pb2.ClusterLoadAssignment)


def routes(resources: Resources) -> list[route_pb2.Route]:
    found = read(resources, Type.ROUTES, "acme.tenant.placet", route_pb2.RouteConfiguration)
    (host,) = found.virtual_hosts
    assert ["*"] == list(host.domains)
    return list(host.routes)


def test_a_listener_leads_to_routes_and_these_to_clusters_that_are_there() -> None:
    told = made()
    listener = read(told, Type.LISTENER, "acme.tenant.placet", listener_pb2.Listener)
    manager = listener_pb2.HttpConnectionManager.FromString(
        listener.api_listener.api_listener.value
    )
    assert manager.rds.HasField("config_source")
    assert "acme.tenant.placet" == manager.rds.route_config_name
    # gRPC refuses a listener whose last filter is another.
    assert manager.http_filters[-1].typed_config.type_url.endswith(".router.v3.Router")
    led_to = {route.route.cluster for route in routes(told)}
    assert led_to == {name for type_, name in told if type_ is Type.CLUSTER}
    assert led_to == {name for type_, name in told if type_ is Type.ENDPOINTS}


@pytest.mark.parametrize(
    ("path", "part", "is_retried"),
    [
        ("/placet.v1.EvaluateService/Evaluate", "nodes", True),
        ("/placet.v1.EvaluateService/EvaluateStream", "nodes", True),
        ("/placet.v1.SubscribeService/Subscribe", "nodes", False),
        ("/placet.v1.NodeService/GetCacheStatistics", "nodes", True),
        ("/grpc.health.v1.Health/Watch", "nodes", False),
        ("/placet.v1.TopologyService/ListNodes", "control", True),
        ("/placet.v1.TopologyService/PutTenant", "control", False),
        ("/placet.v1.PolicyService/Get", "control", True),
        ("/placet.v1.PolicyService/Publish", "control", False),
        ("/placet.v1.RolloutService/StartRollout", "control", False),
    ],
)
def test_where_calls_go_and_which_are_made_again(path: str, part: str, is_retried: bool) -> None:
    leads = next(one for one in routes(made()) if path.startswith(one.match.prefix))
    assert f"acme.tenant.placet/{part}" == leads.route.cluster
    assert is_retried is leads.route.HasField("retry_policy")


def test_only_envoy_is_told_how_long_calls_may_take() -> None:
    for dialect in Dialect:
        for route in routes(made(dialect)):
            is_told = route.route.HasField("timeout")
            assert is_told is (dialect is Dialect.ENVOY)
            assert 0 == route.route.timeout.ToNanoseconds()


@pytest.mark.parametrize(("dialect", "balancing"), _EVERY)
def test_no_client_is_told_of_a_policy_that_it_would_refuse(
    dialect: Dialect, balancing: Balancing
) -> None:
    told = cluster(made(dialect, balancing))
    if dialect is Dialect.ENVOY:
        assert not told.HasField("load_balancing_policy")
        return
    # gRPC has none of these, and refuses the cluster.
    assert told.lb_policy in (_TURN, _RING)
    if dialect is Dialect.PLAIN:
        assert _TURN == told.lb_policy
    has_list = dialect is Dialect.LISTS and balancing is Balancing.LEAST_REQUEST
    assert has_list is told.HasField("load_balancing_policy")


def test_a_list_ends_with_what_everybody_knows() -> None:
    (policy,) = cluster(made()).load_balancing_policy.policies
    packed = policy.typed_extension_config.typed_config
    assert packed.type_url.endswith("wrr_locality.v3.WrrLocality")
    inner = cluster_pb2.WrrLocality.FromString(packed.value).endpoint_picking_policy.policies
    assert ["LeastRequest", "RoundRobin"] == [
        one.typed_extension_config.typed_config.type_url.rpartition(".")[2] for one in inner
    ]


@pytest.mark.parametrize(
    ("balancing", "in_grpc", "in_envoy"),
    [
        (Balancing.LEAST_REQUEST, _TURN, cluster_pb2.LB_POLICY_LEAST_REQUEST),
        (Balancing.ROUND_ROBIN, _TURN, _TURN),
        (Balancing.RANDOM, _RING, cluster_pb2.LB_POLICY_RANDOM),
        (Balancing.WEIGHTED, _RING, _TURN),
    ],
)
def test_the_four_strategies(balancing: Balancing, in_grpc: int, in_envoy: int) -> None:
    assert in_grpc == cluster(made(Dialect.RINGS, balancing)).lb_policy
    assert in_envoy == cluster(made(Dialect.ENVOY, balancing)).lb_policy


@pytest.mark.parametrize("balancing", Balancing)
def test_regions_are_priorities_and_weights_count_where_they_should(balancing: Balancing) -> None:
    near, far = assignment(made(balancing=balancing)).endpoints
    weigh = balancing in (Balancing.WEIGHTED, Balancing.LEAST_REQUEST)
    assert [("eu-west", 0), ("us-east", 1)] == [
        (one.locality.region, one.priority) for one in (near, far)
    ]
    weights = [one.load_balancing_weight.value for one in near.lb_endpoints]
    assert weights == ([30, 10] if weigh else [1, 1])
    # gRPC passes over localities without one.
    assert (40 if weigh else 2) == near.load_balancing_weight.value
    assert [("10.0.0.1", 7717, "eu1.test"), ("10.0.0.2", 7717, "eu2.test")] == [
        (socket.address, socket.port_value, one.endpoint.hostname)
        for one in near.lb_endpoints
        for socket in [one.endpoint.address.socket_address]
    ]


def test_with_nobody_there_nobody_is_named() -> None:
    told = made(nodes=(), control=())
    for part in ("nodes", "control"):
        assert f"acme.tenant.placet/{part}" == assignment(told, part).cluster_name
        assert [] == list(assignment(told, part).endpoints)


def test_clients_do_not_drop_calls_by_themselves() -> None:
    for dialect in Dialect:
        (limits,) = cluster(made(dialect)).circuit_breakers.thresholds
        for limit in (limits.max_requests, limits.max_connections, limits.max_pending_requests):
            assert limit.value >= 1_000_000


@pytest.mark.parametrize("transport", Transport)
def test_only_envoy_is_told_of_tls(transport: Transport) -> None:
    for dialect in Dialect:
        told = cluster(made(dialect, transport=transport))
        wanted = dialect is Dialect.ENVOY and transport is not Transport.PLAIN
        assert wanted is told.HasField("transport_socket")
        if not wanted:
            continue
        context = tls_pb2.UpstreamTlsContext.FromString(told.transport_socket.typed_config.value)
        shown = context.common_tls_context.tls_certificate_sds_secret_configs
        assert context.auto_sni_san_validation
        assert (transport is Transport.MUTUAL_TLS) is bool(shown)


def test_the_same_is_the_same_bytes() -> None:
    first, again = made(), made()
    assert {key: one.digest for key, one in first.items()} == {
        key: one.digest for key, one in again.items()
    }
