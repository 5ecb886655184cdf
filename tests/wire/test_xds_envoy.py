"""Envoy as a client: callers that know nothing of xDS go through it."""

from __future__ import annotations

from pathlib import Path

import pytest

from placet.v1 import node_service_pb2, policy_pb2, policy_service_pb2
from tests.envoy_client import envoy_client, until_all_answer
from tests.identities import TlsFolder, authority, channel_to, issued
from tests.stock_client import stock_client
from tests.wire.service import TIMEOUT_S, policy, running_service, stubs

_ALLOW = policy("p", "permit(principal, action, resource);")


async def test_a_call_through_envoy_is_decided_and_envoy_is_listed(tmp_path: Path) -> None:
    async with running_service(node="c1", region="eu-west") as service:
        await service.publish(_ALLOW)
        async with (
            envoy_client(tmp_path, [service.node.address], "--balancing", "random") as envoy,
            stock_client() as client,
        ):
            await until_all_answer(client, envoy, "c1")
            request = node_service_pb2.ListXdsClientsRequest()
            listed = await service.nodes.ListXdsClients(request, timeout=TIMEOUT_S)
    (found,) = listed.clients
    assert (node_service_pb2.XDS_LIBRARY_ENVOY, "random") == (found.library, found.balancing)
    assert found.version.startswith("1.")
    for subscription in found.subscriptions:
        assert not subscription.HasField("refusal")
        assert subscription.sent_version == subscription.accepted_version != ""


@pytest.mark.parametrize("is_mutual", [False, True])
async def test_envoy_talks_tls_to_control_planes_and_nodes(is_mutual: bool, tmp_path: Path) -> None:
    ca, folder = authority(), TlsFolder(tmp_path)
    certificate = ca.files.certificate
    folder.put(issued(ca, "server", "localhost"), certificate if is_mutual else None)
    shown = issued(ca, "envoy", "spiffe://example.test/envoy")
    for name, data in (
        ("ca.pem", certificate),
        ("envoy.pem", shown.certificate),
        ("envoy.key", shown.key),
    ):
        (tmp_path / name).write_bytes(data)
    options = ["--tls-ca", str(tmp_path / "ca.pem")]
    if is_mutual:
        options += ["--tls-cert", str(tmp_path / "envoy.pem")]
        options += ["--tls-key", str(tmp_path / "envoy.key")]
    async with running_service(
        node="c1", region="eu-west", tls=folder.config(), listen="localhost:0"
    ) as service:
        assert service.node.address.startswith("localhost:")
        async with channel_to(
            service.node.address, certificate, shown if is_mutual else None
        ) as channel:
            publishing = policy_service_pb2.PublishRequest(
                tenant="acme", change_set=policy_pb2.ChangeSet(policies=[_ALLOW])
            )
            await stubs(channel)["policy"].Publish(publishing, timeout=TIMEOUT_S)
        async with (
            envoy_client(tmp_path, [service.node.address], *options) as envoy,
            stock_client() as client,
        ):
            await until_all_answer(client, envoy, "c1")
