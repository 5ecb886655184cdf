"""Every rpc of every proto has its entry, and no tenant in a request goes unseen."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache

import pytest
from google.protobuf import descriptor, descriptor_pool, message_factory
from google.protobuf.message import Message

import placet.v1
from placet.v1 import evaluate_service_pb2, subscribe_service_pb2, topology_service_pb2
from placet_server.api.discovery import SERVICE
from placet_server.api.rpcs import RPCS, Rpc, Unnamed
from placet_server.identity.permissions import Permission

# Messages whose tenant has another name than `tenant`.
_TENANT_NAMES = {"placet.v1.Tenant": "name"}
# What a value can hold is deep, and names no tenants.
_VALUES = {"placet.v1.Value", "placet.v1.Entity"}


@cache
def _methods() -> dict[str, descriptor.MethodDescriptor]:
    found = {}
    for module in pkgutil.iter_modules(placet.v1.__path__):
        if not module.name.endswith("_pb2"):
            continue
        file = importlib.import_module(f"placet.v1.{module.name}").DESCRIPTOR
        for service in file.services_by_name.values():
            for method in service.methods:
                found[f"/{service.full_name}/{method.name}"] = method
    return found


def _tenant_fields(message: descriptor.Descriptor, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the path of every field in a message that names a tenant, however deep."""
    if message.full_name in _VALUES or message.GetOptions().map_entry:
        return
    for field in message.fields:
        inner = field.message_type
        name = _TENANT_NAMES.get(message.full_name, "tenant")
        if inner is None and field.name == name:
            yield ".".join((*path, field.name))
        elif inner is not None and path.count(field.name) == 0:
            yield from _tenant_fields(inner, (*path, field.name))


def test_every_rpc_is_in_the_table() -> None:
    others = {f"/{SERVICE}/StreamAggregatedResources"}
    assert _methods().keys() | others == RPCS.keys()
    assert len(RPCS) > 60


@pytest.mark.parametrize("method", sorted(_methods()))
def test_no_tenant_of_a_request_goes_unseen(method: str) -> None:
    rpc = RPCS[method]
    named = {rpc.tenant_field} if rpc.tenant_field else set()
    assert named | rpc.passed_over == set(_tenant_fields(_methods()[method].input_type))
    assert not named & rpc.passed_over


@pytest.mark.parametrize("method", sorted(_methods()))
def test_what_is_named_is_what_is_read(method: str) -> None:
    rpc = RPCS[method]
    request = _empty(method)
    assert rpc.tenant(request) == rpc.region(request) == ""
    for path, read in ((rpc.tenant_field, rpc.tenant), (rpc.region_field, rpc.region)):
        if path:
            *outer, name = path.split(".")
            inner = request
            for part in outer:
                inner = getattr(inner, part)
            setattr(inner, name, "acme")
            assert read(request) == "acme"


@pytest.mark.parametrize("method", sorted(_methods()))
def test_what_it_needs_is_said(method: str) -> None:
    rpc = RPCS[method]
    assert rpc.permissions
    if not rpc.tenant_field:
        assert rpc.unnamed is not Unnamed.REFUSED


def test_what_an_unnamed_tenant_needs() -> None:
    subscribe = RPCS["/placet.v1.SubscribeService/Subscribe"]
    assert subscribe.needed("acme") == {Permission.READ, Permission.NODE}
    assert subscribe.needed("") == {Permission.NODE}
    assert RPCS["/placet.v1.PolicyService/Get"].needed("") == {Permission.READ}


def test_reading_a_tenant_leaves_the_request_as_it_is() -> None:
    for message, method in (
        (evaluate_service_pb2.ExplainRequest(), "/placet.v1.EvaluateService/Explain"),
        (topology_service_pb2.PutTenantRequest(), "/placet.v1.TopologyService/PutTenant"),
        (subscribe_service_pb2.SubscribeRequest(), "/placet.v1.SubscribeService/Subscribe"),
    ):
        RPCS[method].tenant(message)
        assert not message.ListFields()


def test_a_field_that_is_missed_is_noticed() -> None:
    """The walk itself: it goes into repeated and nested messages."""
    found = set(_tenant_fields(_methods()["/placet.v1.PolicyService/Test"].input_type))
    assert found == {"tenant", "requests.tenant"}
    assert Rpc(permissions=frozenset(Permission)).tenant_field == "tenant"


def _empty(method: str) -> Message:
    name = _methods()[method].input_type.full_name
    pool = descriptor_pool.Default()
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))()
