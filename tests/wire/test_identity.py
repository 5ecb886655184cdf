"""Who calls is proved, and nobody does or sees what they may not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message

from placet_server.api.rpcs import RPCS, Rpc, Unnamed
from tests.identities import (
    Issuer,
    TlsFolder,
    authority,
    bearer,
    channel_to,
    entry,
    identity_config,
    issued,
    server_certificate,
)
from tests.wire.details import info
from tests.wire.service import TENANT, TIMEOUT_S, Service, policy, request, running_service, stubs

_PERMIT = policy("all", "permit (principal, action, resource);")


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@asynccontextmanager
async def known(folder: Path, issuer: Issuer, *access: str, **options: Any) -> AsyncIterator[Service]:
    """Run a server in plain text that takes tokens; whoever is called `root` may do everything."""
    root = entry(
        *("decide", "read", "publish", "approve", "operate", "act", "node"),
        names=["root"],
        tenants=["*"],
        platform=True,
    )
    identity = identity_config(folder, "\n".join([root, *access]), issuer.jwks)
    async with running_service(identity=identity, **options) as service:
        for tenant in (TENANT, "other"):
            await service.policy.Publish(
                _publish(tenant), metadata=bearer(issuer.token("root")), timeout=TIMEOUT_S
            )
        yield service


def _publish(tenant: str) -> Any:
    from placet.v1 import policy_pb2, policy_service_pb2

    return policy_service_pb2.PublishRequest(
        tenant=tenant, change_set=policy_pb2.ChangeSet(policies=[_PERMIT])
    )


async def test_a_certificate_and_a_token_say_who_calls(tmp_path: Path, issuer: Issuer) -> None:
    ca = authority()
    folder = TlsFolder(tmp_path)
    folder.put(server_certificate(ca), ca.files.certificate)
    access = entry("publish", "decide", "read", names=["spiffe://example.test/*"], tenants=[TENANT])
    identity = identity_config(tmp_path, access + entry("decide", names=["alice"], tenants=[TENANT]), issuer.jwks)
    shown = issued(ca, "orders", "spiffe://example.test/orders")
    async with (
        running_service(tls=folder.config(), identity=identity) as service,
        channel_to(service.node.address, ca.files.certificate, shown) as channel,
    ):
        calls = stubs(channel)
        await calls["policy"].Publish(_publish(TENANT), timeout=TIMEOUT_S)
        history = await calls["policy"].History(_history(), timeout=TIMEOUT_S)
        assert history.revisions[0].author == "spiffe://example.test/orders"
        await calls["evaluate"].Evaluate(
            request(), metadata=bearer(issuer.token("alice")), timeout=TIMEOUT_S
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await calls["policy"].Publish(
                _publish(TENANT), metadata=bearer(issuer.token("alice")), timeout=TIMEOUT_S
            )
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def _history() -> Any:
    from placet.v1 import policy_service_pb2

    return policy_service_pb2.HistoryRequest(tenant=TENANT)
