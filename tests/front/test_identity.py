"""Callers are known, and kept apart, whichever front they come to and however many workers."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from cryptography import x509

from placet.cli.certificates import Authority, Issued
from placet.v1 import evaluate_service_pb2, policy_pb2, policy_service_pb2
from tests.cli.shell import Process
from tests.front.served import FRONTS, served
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
from tests.wire.service import TENANT, TIMEOUT_S, policy, request, stubs

OTHER = "other"
_Code = grpc.StatusCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server that knows its callers, and what they show it."""

    address: str
    process: Process
    folder: TlsFolder
    ca: Authority
    issuer: Issuer
    root: Issued
    orders: Issued

    def channel(self, shown: Issued | None = None) -> Any:
        """Connect."""
        return channel_to(self.address, self.ca.files.certificate, shown)


@asynccontextmanager
async def knowing(path: Path, front: str, *arguments: str, **tls: Any) -> AsyncIterator[Served]:
    """Run a server in its own processes, with two tenants."""
    ca, issuer, folder = authority(), Issuer(), TlsFolder(path)
    folder.put(server_certificate(ca), ca.files.certificate)
    access = [
        entry("publish", "decide", "read", "node", names=["root"], tenants=["*"], platform=True),
        entry("decide", "read", names=["orders", "alice"], tenants=[TENANT]),
    ]
    identity = identity_config(path, "\n".join(access), issuer.jwks)
    _write_config(path / "placet.toml", tls=folder.config(**tls), identity=identity)
    with served(path, front, "--config", "placet.toml", *arguments) as (address, process):
        server = Served(
            address=address,
            process=process,
            folder=folder,
            ca=ca,
            issuer=issuer,
            root=issued(ca, "root"),
            orders=issued(ca, "orders"),
        )
        async with server.channel(server.root) as channel:
            for tenant in (TENANT, OTHER):
                await stubs(channel)["policy"].Publish(_publish(tenant), timeout=TIMEOUT_S)
        yield server
        result = process.end(signal.SIGTERM)
    assert result.code == 0
    assert "Traceback" not in result.err


def _write_config(path: Path, **sections: Any) -> None:
    lines = []
    for name, section in sections.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in asdict(section).items()]
    path.write_text("\n".join(lines))


# Of several workers, one that was published to is not the one that is asked.
_PUBLISHED = request(min_revision=2)


def _publish(tenant: str) -> policy_service_pb2.PublishRequest:
    permit = policy("all", "permit (principal, action, resource);")
    return policy_service_pb2.PublishRequest(
        tenant=tenant, change_set=policy_pb2.ChangeSet(policies=[permit])
    )


def _batch(tenant: str) -> evaluate_service_pb2.EvaluateBatchRequest:
    one = request()
    return evaluate_service_pb2.EvaluateBatchRequest(
        tenant=tenant,
        items=[
            evaluate_service_pb2.BatchItem(
                subject=one.subject, action=one.action, resource=one.resource
            )
        ],
    )


async def _streamed(calls: Any, *tenants: str) -> list[str]:
    """Ask for tenants on one stream; return what each answer says, ALLOW or a reason."""
    call = calls["evaluate"].EvaluateStream(
        iter(
            [
                evaluate_service_pb2.EvaluateStreamRequest(
                    correlation_id=str(number), request=request(tenant=tenant)
                )
                for number, tenant in enumerate(tenants)
            ]
        ),
        timeout=TIMEOUT_S,
    )
    return [answer.error.reason if answer.HasField("error") else "ALLOW" async for answer in call]


@pytest.mark.parametrize("front", FRONTS)
async def test_each_front_keeps_tenants_apart(tmp_path: Path, front: str) -> None:
    async with knowing(tmp_path, front, "--store", "memory") as server:
        async with server.channel(server.orders) as channel:
            calls = stubs(channel)
            for again in (False, True):
                await calls["evaluate"].Evaluate(request(), timeout=TIMEOUT_S)
                await calls["evaluate"].EvaluateBatch(_batch(TENANT), timeout=TIMEOUT_S)
                assert await _streamed(calls, TENANT, OTHER, TENANT, "ghost") == [
                    "ALLOW",
                    "NOT_ALLOWED",
                    "ALLOW",
                    "NOT_ALLOWED",
                ], again
            listing = policy_service_pb2.ListRequest(tenant=TENANT)
            await calls["policy"].List(listing, timeout=TIMEOUT_S)
            for call, asked in (
                (calls["evaluate"].Evaluate, request(tenant=OTHER)),
                (calls["evaluate"].EvaluateBatch, _batch(OTHER)),
                (calls["policy"].List, policy_service_pb2.ListRequest(tenant=OTHER)),
                (calls["policy"].Publish, _publish(TENANT)),
            ):
                error = await _failed(call(asked, timeout=TIMEOUT_S))
                assert (error.code(), info(error).reason) == (
                    _Code.PERMISSION_DENIED,
                    "NOT_ALLOWED",
                )
            # What was remembered for others is not for this caller.
        async with server.channel(server.root) as channel:
            root = stubs(channel)
            for _ in range(2):
                await root["evaluate"].Evaluate(request(tenant=OTHER), timeout=TIMEOUT_S)
        async with server.channel(server.orders) as channel:
            error = await _failed(
                stubs(channel)["evaluate"].Evaluate(request(tenant=OTHER), timeout=TIMEOUT_S)
            )
            assert info(error).reason == "NOT_ALLOWED"


@pytest.mark.parametrize("front", FRONTS)
async def test_each_front_takes_tokens_and_no_forgeries(tmp_path: Path, front: str) -> None:
    async with (
        knowing(tmp_path, front, "--store", "memory") as server,
        server.channel(issued(server.ca, "nobody")) as channel,
    ):
        calls = stubs(channel)
        alice = bearer(server.issuer.token("alice"))
        forged = f'Cert="{quote(server.root.certificate)}"'
        listing = policy_service_pb2.ListRequest(tenant=TENANT)
        for call, asked in (
            (calls["evaluate"].Evaluate, request()),
            (calls["evaluate"].EvaluateBatch, _batch(TENANT)),
            (calls["policy"].List, listing),
        ):
            await call(asked, metadata=alice, timeout=TIMEOUT_S)
            for metadata, reason in (
                ((), "NOT_ALLOWED"),
                ((("x-forwarded-client-cert", forged),), "NOT_ALLOWED"),
                (bearer(server.issuer.token("alice", lifetime_s=-9)), "TOKEN_EXPIRED"),
                (bearer("a.b.c"), "TOKEN_MALFORMED"),
                (alice + alice, "TOKEN_MALFORMED"),
            ):
                error = await _failed(call(asked, metadata=metadata, timeout=TIMEOUT_S))
                assert info(error).reason == reason


async def test_behind_envoy_a_certificate_need_not_be_shown(tmp_path: Path) -> None:
    async with knowing(
        tmp_path, "envoy", "--store", "memory", require_client_cert=False, min_version="1.3"
    ) as server:
        forged = (("x-forwarded-client-cert", f'Cert="{quote(server.root.certificate)}"'),)
        async with server.channel() as channel:
            calls = stubs(channel)
            await calls["evaluate"].Evaluate(
                request(), metadata=bearer(server.issuer.token("alice")), timeout=TIMEOUT_S
            )
            for call, asked in (
                (calls["evaluate"].Evaluate, request()),
                (calls["policy"].List, policy_service_pb2.ListRequest(tenant=TENANT)),
            ):
                for metadata in ((), forged):
                    error = await _failed(call(asked, metadata=metadata, timeout=TIMEOUT_S))
                    assert info(error).reason == "CREDENTIALS_MISSING"
        async with server.channel(server.orders) as channel:
            await stubs(channel)["evaluate"].Evaluate(request(), timeout=TIMEOUT_S)


@pytest.mark.parametrize(("front", "workers"), [("grpc", 2), ("envoy", 1), ("envoy", 2)])
async def test_every_worker_shows_the_new_certificate(
    tmp_path: Path, front: str, workers: int
) -> None:
    """The same on each front: connections that are there live on, a broken file changes nothing."""
    async with (
        knowing(tmp_path, front, "--workers", str(workers)) as server,
        server.channel(server.orders) as old,
    ):
        await stubs(old)["evaluate"].Evaluate(_PUBLISHED, timeout=TIMEOUT_S)
        (server.folder.path / "server.pem").write_text("broken")
        await asyncio.to_thread(server.process.wait_for, "stays as it was", in_="err")
        await _asked(server)
        renewed = server_certificate(server.ca, "renewed")
        server.folder.put(renewed)
        serial = x509.load_pem_x509_certificate(renewed.certificate).serial_number
        async with asyncio.timeout(TIMEOUT_S):
            shown: list[int] = []
            # Connections spread over the workers: so many are never all the same one's.
            while shown != [serial] * 20:
                shown = [await asyncio.to_thread(_shown, server) for _ in range(20)]
        await _asked(server)
        await stubs(old)["evaluate"].Evaluate(_PUBLISHED, timeout=TIMEOUT_S)


async def _asked(server: Served) -> None:
    async with server.channel(server.orders) as channel:
        await stubs(channel)["evaluate"].Evaluate(_PUBLISHED, timeout=TIMEOUT_S)


def _shown(server: Served) -> int:
    host, _, port = server.address.rpartition(":")
    pem = ssl.get_server_certificate((host, int(port)), timeout=TIMEOUT_S)
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


@pytest.mark.parametrize("front", FRONTS)
async def test_a_broken_file_is_told_of_at_the_start(tmp_path: Path, front: str) -> None:
    ca, folder = authority(), TlsFolder(tmp_path)
    folder.put(server_certificate(ca))
    (tmp_path / "server.key").write_bytes(server_certificate(ca).key)
    _write_config(tmp_path / "placet.toml", tls=folder.config())
    with (
        pytest.raises(AssertionError, match="does not fit the certificate"),
        served(tmp_path, front, "--config", "placet.toml"),
    ):
        pass


async def _failed(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value
