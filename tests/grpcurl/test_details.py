"""Details of failed calls are readable: names and values, nothing in base64."""

from __future__ import annotations

import json
from typing import Any

from google.rpc import status_pb2

from placet.v1 import topology_pb2
from placet_server.api.failures import to_status
from placet_server.config import LimitsConfig
from tests.grpcurl.conftest import Installed
from tests.wire.service import TENANT, TIMEOUT_S, Service, policy, request, running_service
from tests.wire.test_failures import EXAMPLES

_TYPES = "type.googleapis.com/"
_REQUEST = {
    "subject": {"type": "User", "id": "alice"},
    "action": {"name": "view"},
    "resource": {"type": "Document", "id": "one"},
}


async def _failed(grpcurl: Installed, service: Service, **asked: Any) -> dict[str, Any]:
    """Have a call fail; return the details by their types, as grpcurl prints them."""
    given = ("-format-error", "-d", json.dumps(asked), service.node.address)
    code, printed = await grpcurl.run(*given, "placet.v1.EvaluateService/Evaluate")
    assert code > 64, printed
    details = json.loads(printed)["details"]
    return {detail.pop("@type").removeprefix(_TYPES): detail for detail in details}


async def test_details_are_printed_with_their_names(grpcurl: Installed) -> None:
    limits = LimitsConfig(target_wait_s=0, tenant_decisions_per_second=0.01, tenant_burst_s=100)
    async with running_service(region="eu-west", limits=limits) as service:
        await service.place(topology_pb2.RESIDENCY_RULE_US_ONLY, tenant="american")
        await service.publish(policy("p", "permit(principal, action, resource);"))
        malformed = await _failed(grpcurl, service, tenant=TENANT)
        elsewhere = await _failed(grpcurl, service, tenant="american", **_REQUEST)
        await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)
        limited = await _failed(grpcurl, service, tenant=TENANT, **_REQUEST)

    assert malformed["google.rpc.ErrorInfo"] == {
        "domain": "placet.dev",
        "reason": "REQUEST_MALFORMED",
    }
    assert malformed["google.rpc.BadRequest"]["field_violations"][0] == {
        "field": "subject.type",
        "description": "is missing; write it like `User` or `Acme::User`",
    }
    assert elsewhere["google.rpc.PreconditionFailure"] == {
        "violations": [{"type": "WRONG_REGION", "subject": "american"}]
    }
    refusal = elsewhere["placet.v1.ResidencyRefusal"]
    assert refusal["region"] == "eu-west"
    assert refusal["route"]["residency"] == "RESIDENCY_RULE_US_ONLY"
    assert limited["google.rpc.ErrorInfo"]["metadata"]["tenant"] == TENANT
    assert limited["google.rpc.RetryInfo"]["retry_delay"].endswith("s")
    assert {*malformed, *elsewhere, *limited} == _kinds_there_are()


def _kinds_there_are() -> set[str]:
    """Return the types of all details that any failure has."""
    kinds: set[str] = set()
    for error in EXAMPLES:
        for key, value in to_status(error).trailing_metadata or ():
            assert key == "grpc-status-details-bin"
            assert isinstance(value, bytes)
            details = status_pb2.Status.FromString(value).details
            kinds |= {detail.type_url.removeprefix(_TYPES) for detail in details}
    return kinds
