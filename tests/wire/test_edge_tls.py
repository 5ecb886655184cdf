"""Nodes among each other with TLS: each shows who it is, and gets what a node may have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from placet.v1 import policy_pb2, policy_service_pb2
from placet_server.app import Node
from placet_server.testing import running_edge
from tests.identities import (
    SPIFFE,
    TlsFolder,
    authority,
    channel_to,
    entry,
    identity_config,
    issued,
)
from tests.waiting import until
from tests.wire.service import TENANT, TIMEOUT_S, policy, request, running_service, stubs

_PERMIT = policy("all", "permit (principal, action, resource);")
_REGION = "eu-west"
_ACCESS = "".join(
    [
        entry("publish", names=[f"{SPIFFE}/author"], tenants=["*"], platform=True),
        entry("decide", names=[f"{SPIFFE}/orders"], tenants=[TENANT]),
        entry("node", names=[f"{SPIFFE}/nodes/*"], tenants=["*"], regions=[_REGION]),
    ]
)


_CA = authority()


@asynccontextmanager
async def calling(node: Node, name: str) -> AsyncIterator[dict[str, Any]]:
    """Call a node as somebody."""
    shown = issued(_CA, name, f"{SPIFFE}/{name}")
    async with channel_to(node.address, _CA.files.certificate, shown) as channel:
        yield stubs(channel)


def _folder(path: Path, name: str) -> TlsFolder:
    path.mkdir()
    folder = TlsFolder(path)
    shown = issued(_CA, name, f"{SPIFFE}/{name}", "localhost", "127.0.0.1")
    folder.put(shown, _CA.files.certificate)
    return folder


@asynccontextmanager
async def running_below(tmp_path: Path, *, name: str, region: str) -> AsyncIterator[Node]:
    """Run a control node with a policy; return one of a name and a region that follows it."""
    above, below = _folder(tmp_path / "control", "nodes/control"), _folder(tmp_path / "edge", name)
    async with running_service(
        node="control",
        region=_REGION,
        tls=above.config(),
        identity=identity_config(above.path, _ACCESS),
    ) as control:
        async with calling(control.node, "author") as calls:
            await calls["policy"].Publish(
                policy_service_pb2.PublishRequest(
                    tenant=TENANT, change_set=policy_pb2.ChangeSet(policies=[_PERMIT])
                ),
                timeout=TIMEOUT_S,
            )
        async with running_edge(
            control.node.address,
            node="edge",
            region=region,
            tls=below.config(),
            identity=identity_config(below.path, _ACCESS),
        ) as edge:
            yield edge


async def test_a_node_follows_by_its_certificate_and_knows_callers_by_theirs(
    tmp_path: Path,
) -> None:
    async with running_below(tmp_path, name="nodes/edge", region=_REGION) as edge:
        await until(lambda: TENANT in edge.active.tenants)
        async with calling(edge, "orders") as calls:
            answer = await calls["evaluate"].Evaluate(request(), timeout=TIMEOUT_S)
        assert answer.decision.node == "edge"
        async with calling(edge, "nobody") as calls:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await calls["evaluate"].Evaluate(request(), timeout=TIMEOUT_S)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("name", "region"), [("orders", _REGION), ("nodes/edge", "us-east")], ids=["no node", "region"]
)
async def test_who_is_no_node_of_the_region_gets_nothing(
    tmp_path: Path, name: str, region: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_below(tmp_path, name=name, region=region) as edge:
        await until(lambda: "an upstream cannot be followed" in caplog.text)
        assert not edge.active.is_loaded
        assert not edge.active.tenants


async def test_a_node_goes_on_with_a_certificate_that_was_renewed(tmp_path: Path) -> None:
    async with running_below(tmp_path, name="nodes/edge", region=_REGION) as edge:
        await until(lambda: TENANT in edge.active.tenants)
        streams = edge.following.streams
        before = streams.upstream.channel
        renewed = issued(_CA, "nodes/edge", f"{SPIFFE}/nodes/edge", "localhost", "127.0.0.1")
        TlsFolder(tmp_path / "edge").put(renewed)
        await until(lambda: streams.upstream.channel is not before and streams.is_following)
        assert streams.failovers == 0
