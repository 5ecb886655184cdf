"""What clients say of themselves, and what they can therefore be told."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format

from placet_engine.placement.countries import place_of
from placet_engine.placement.regions import DEFAULT_REGIONS, Regions
from placet_engine.placement.residency import ResidencyRule
from placet_server.errors import XdsClientRefused
from placet_server.xds.clients import Balancing, Client, Dialect, Kind, Transport, read_client
from placet_server.xds.names import Scope
from placet_server.xds.v3 import core_pb2

_REGIONS = Regions(DEFAULT_REGIONS, here="eu-west")


def read(metadata: dict[str, Any] | None = None, **node: Any) -> Client:
    document = {"id": "c", "metadata": metadata or {}, **node}
    return read_client(json_format.ParseDict(document, core_pb2.Node()), _REGIONS)


def test_a_client_that_says_nothing_may_go_anywhere() -> None:
    client = read()
    assert Scope(rule=ResidencyRule.ANY) == client.default
    assert (None, None, None) == (client.bound, client.place, client.balancing)
    assert (Kind.OTHER, Dialect.PLAIN) == (client.kind, client.dialect)
    assert Transport.PLAIN is client.transport


def test_a_client_of_a_tenant_that_is_bound_as_well() -> None:
    client = read({"placet.tenant": "acme", "placet.residency": "EU_ONLY"})
    assert Scope(tenant="acme") == client.default
    assert ResidencyRule.EU_ONLY is client.bound


def test_what_others_put_into_the_metadata_is_none_of_ours() -> None:
    node = core_pb2.Node(id="c")
    node.metadata["other"] = float("inf")
    node.metadata["nested"] = {"placet.residency": "EU"}
    assert read_client(node, _REGIONS).bound is None


def test_where_a_client_is() -> None:
    eu_west = _REGIONS.get("eu-west")
    assert eu_west is not None
    assert eu_west.location == read(locality={"region": "eu-west"}).place
    assert place_of("JP") == read({"placet.country": "jp"}, locality={"region": "eu-west"}).place
    # Another control plane's name for where it is.
    elsewhere = read(locality={"region": "europe-west1"})
    assert (None, "europe-west1") == (elsewhere.place, elsewhere.region)


@pytest.mark.parametrize(
    ("agent", "version", "kind", "dialect"),
    [
        ("gRPC C-core linux Python", "C-core 54.0.0 Python 1.81.1", Kind.CORE, Dialect.LISTS),
        ("gRPC C-core linux C++", "C-core 31.0.0", Kind.CORE, Dialect.RINGS),
        ("gRPC C-core linux C++", "C-core 17.0.0", Kind.CORE, Dialect.PLAIN),
        ("gRPC Go", "1.72.0", Kind.GO, Dialect.LISTS),
        ("gRPC Go", "1.55.1", Kind.GO, Dialect.RINGS),
        ("gRPC Java", "1.47.0", Kind.JAVA, Dialect.LISTS),
        ("gRPC Java", "1.39.0", Kind.JAVA, Dialect.PLAIN),
        ("gRPC Node Pure JS", "1.14.0", Kind.NODE, Dialect.LISTS),
        ("gRPC Node Pure JS", "1.9.2", Kind.NODE, Dialect.PLAIN),
        ("gRPC Go", "unknown", Kind.GO, Dialect.PLAIN),
        ("tonic-xds", "9.9", Kind.OTHER, Dialect.PLAIN),
    ],
)
def test_what_a_library_can_be_told(agent: str, version: str, kind: Kind, dialect: Dialect) -> None:
    client = read(user_agent_name=agent, user_agent_version=version)
    assert (kind, version, dialect) == (client.kind, client.version, client.dialect)


def test_envoy_tells_its_version_in_numbers() -> None:
    version = {"version": {"major_number": 1, "minor_number": 39, "patch": 3}}
    client = read(user_agent_name="envoy", user_agent_build_version=version)
    assert (Kind.ENVOY, "1.39.3", Dialect.ENVOY) == (client.kind, client.version, client.dialect)


def test_what_a_client_asks_for_of_balancing_and_transport() -> None:
    client = read({"placet.balancing": "weighted", "placet.tls": "mutual"})
    assert (Balancing.WEIGHTED, Transport.MUTUAL_TLS) == (client.balancing, client.transport)


@pytest.mark.parametrize(
    ("key", "value", "hint"),
    [
        ("placet.residency", "EU", "use one of ANY, EU_ONLY"),
        ("placet.residency", "eu_only", "use one of"),
        ("placet.residency", 3, "is not text"),
        ("placet.tenant", "a b", "1 to 64 letters"),
        ("placet.tenant", ["acme"], "is not text"),
        ("placet.country", "XX", "is no country"),
        ("placet.balancing", "fastest", "least_request, round_robin"),
        ("placet.tls", "yes", "server, mutual"),
    ],
)
def test_what_cannot_be_meant_is_refused(key: str, value: object, hint: str) -> None:
    with pytest.raises(XdsClientRefused, match=hint) as caught:
        read({key: value})
    assert f"`{key}`" in str(caught.value)
