"""TLS out of files: who is shown what, who is let in, and how files are replaced."""

from __future__ import annotations

import asyncio
import datetime
import os
import shutil
import ssl
import subprocess
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from placet_server.app import running_node
from placet_server.config import Config, ConfigError, ServerConfig, StoreConfig, TlsConfig
from placet_server.tls.credentials import upstream_credentials
from placet_server.tls.files import TlsRefused
from tests.cli.shell import BIN
from tests.identities import (
    LIFETIME,
    TlsFolder,
    authority,
    channel_to,
    entry,
    identity_config,
    issued,
    server_certificate,
)
from tests.wire.service import TENANT, TIMEOUT_S, policy, request, running_service, stubs

_PAST = -datetime.timedelta(days=1)
_Code = grpc.StatusCode


async def _ask(channel: grpc.aio.Channel) -> None:
    await stubs(channel)["evaluate"].Evaluate(request(), timeout=TIMEOUT_S)


async def _code(channel: grpc.aio.Channel) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await _ask(channel)
    return failed.value.code()


def _shown(address: str) -> int:
    """Connect, and return the serial number of the certificate that is shown."""
    host, _, port = address.rpartition(":")
    pem = ssl.get_server_certificate((host, int(port)), timeout=TIMEOUT_S)
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def _serial(pem: bytes) -> int:
    return x509.load_pem_x509_certificate(pem).serial_number


async def test_new_connections_are_shown_the_new_certificate(tmp_path: Path) -> None:
    ca, folder = authority(), TlsFolder(tmp_path)
    first, second = server_certificate(ca, "first"), server_certificate(ca, "second")
    folder.put(first)
    root = ca.files.certificate
    async with (
        running_service(tls=folder.config()) as service,
        channel_to(service.node.address, root) as old,
    ):
        await _publish(old)
        address = service.node.address
        assert await asyncio.to_thread(_shown, address) == _serial(first.certificate)
        folder.put(second)
        async with asyncio.timeout(TIMEOUT_S):
            while await asyncio.to_thread(_shown, address) != _serial(second.certificate):  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.01)
        # Whoever is connected notices nothing.
        await _ask(old)
        async with channel_to(address, root) as new:
            await _ask(new)


async def test_the_ca_of_callers_changes_with_the_files(tmp_path: Path) -> None:
    ca, clients, others, folder = authority(), authority("a"), authority("b"), TlsFolder(tmp_path)
    folder.put(server_certificate(ca), clients.files.certificate)
    identity = identity_config(tmp_path, entry("decide", "publish", tenants=["*"]))
    mine, theirs = issued(clients, "mine"), issued(others, "theirs")
    root = ca.files.certificate
    async with running_service(tls=folder.config(), identity=identity) as service:
        address = service.node.address
        async with channel_to(address, root, mine) as channel:
            await _publish(channel)
        for shown in (theirs, None):
            async with channel_to(address, root, shown) as channel:
                assert await _code(channel) is _Code.UNAVAILABLE
        folder.put(server_certificate(ca), others.files.certificate)
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                async with channel_to(address, root, theirs) as channel:
                    try:
                        await _ask(channel)
                        break
                    except grpc.aio.AioRpcError:
                        await asyncio.sleep(0.01)
        async with channel_to(address, root, mine) as channel:
            assert await _code(channel) is _Code.UNAVAILABLE


@pytest.mark.parametrize("broken", ["gone", "half", "no pem", "of another", "expired"])
async def test_files_that_are_no_good_change_nothing(
    tmp_path: Path, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    ca, folder = authority(), TlsFolder(tmp_path)
    files = server_certificate(ca)
    folder.put(files)
    certificate, root = tmp_path / "server.pem", ca.files.certificate
    async with running_service(tls=folder.config()) as service:
        async with channel_to(service.node.address, root) as channel:
            await _publish(channel)
        match broken:
            case "gone":
                certificate.unlink()
            case "half":
                certificate.write_bytes(files.certificate[:100])
            case "no pem":
                certificate.write_text("hello")
            case "of another":
                certificate.write_bytes(server_certificate(ca).certificate)
            case "expired":
                folder.put(issued(ca, "server", "127.0.0.1", lifetime=_PAST))
        async with asyncio.timeout(TIMEOUT_S):
            while "stays as it was" not in caplog.text:  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.01)
        async with channel_to(service.node.address, root) as channel:
            await _ask(channel)
        assert await asyncio.to_thread(_shown, service.node.address) == _serial(files.certificate)


async def test_a_client_whose_certificate_is_no_good_is_not_let_in(tmp_path: Path) -> None:
    ca, folder = authority(), TlsFolder(tmp_path)
    folder.put(server_certificate(ca), ca.files.certificate)
    identity = identity_config(tmp_path, entry("decide", "publish", tenants=["*"]))
    async with running_service(tls=folder.config(), identity=identity) as service:
        for shown in (
            issued(ca, "late", lifetime=_PAST),
            issued(authority(), "stranger"),
            None,
        ):
            async with channel_to(service.node.address, ca.files.certificate, shown) as channel:
                assert await _code(channel) is _Code.UNAVAILABLE
        # And a server is not believed that somebody else vouches for.
        async with channel_to(
            service.node.address, authority().files.certificate, issued(ca, "good")
        ) as channel:
            assert await _code(channel) is _Code.UNAVAILABLE


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("no cert", "cannot read"),
        ("no key", "cannot read"),
        ("key of another", "does not fit"),
        ("expired", "has expired on"),
        ("early", "is not good before"),
        ("encrypted", "is encrypted"),
        ("not a key", "holds no private key"),
        ("not a certificate", "holds no certificate"),
        ("ca is a leaf", "is no CA"),
        ("ca has expired", "has expired on"),
    ],
)
async def test_a_server_does_not_start_with_files_that_are_no_good(
    tmp_path: Path, broken: str, says: str
) -> None:
    ca, folder = authority(), TlsFolder(tmp_path)
    files = server_certificate(ca)
    folder.put(files, ca.files.certificate)
    now = datetime.datetime.now(datetime.UTC)
    match broken:
        case "no cert":
            (tmp_path / "server.pem").unlink()
        case "no key":
            (tmp_path / "server.key").unlink()
        case "key of another":
            (tmp_path / "server.key").write_bytes(server_certificate(ca).key)
        case "expired":
            folder.put(issued(ca, "late", lifetime=_PAST))
        case "early":
            folder.put(ca.issue("early", now=now + LIFETIME, lifetime=LIFETIME))
        case "encrypted":
            _encrypt(tmp_path / "server.key")
        case "not a key":
            (tmp_path / "server.key").write_bytes(files.certificate)
        case "not a certificate":
            (tmp_path / "server.pem").write_bytes(files.key)
        case "ca is a leaf":
            folder.put(files, files.certificate)
        case "ca has expired":
            late = type(ca).make("late", now=now, lifetime=_PAST)
            folder.put(files, late.files.certificate)
    identity = identity_config(tmp_path, entry("decide"))
    with pytest.raises(ConfigError, match=says):
        async with running_service(tls=folder.config(), identity=identity):
            pass


def _encrypt(path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(path.read_bytes(), None)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )


async def test_with_tls_any_address_will_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Who has TLS only encrypts is told that it knows nobody."""
    ca, folder = authority(), TlsFolder(tmp_path)
    folder.put(server_certificate(ca))
    config = Config(
        server=ServerConfig(listen="0.0.0.0:0"),
        store=StoreConfig(kind="memory"),
        tls=folder.config(),
    )
    async with running_node(config) as node:
        port = node.address.rpartition(":")[2]
        async with channel_to(f"127.0.0.1:{port}", ca.files.certificate) as channel:
            assert await _code(channel) is _Code.NOT_FOUND
    assert "whoever reaches this server may do everything" in caplog.text


async def test_a_plain_client_gets_nowhere(tmp_path: Path) -> None:
    folder = TlsFolder(tmp_path)
    folder.put(server_certificate(authority()))
    async with running_service(tls=folder.config()) as service:
        assert await _code(service.channel) is _Code.UNAVAILABLE


async def test_nodes_call_nodes_with_what_they_show_themselves(tmp_path: Path) -> None:
    ca, folder = authority(), TlsFolder(tmp_path)
    folder.put(server_certificate(ca), ca.files.certificate)
    (tmp_path / "ca.pem").write_bytes(ca.files.certificate)
    identity = identity_config(
        tmp_path, entry("publish", "decide", names=["localhost"], tenants=["*"])
    )
    now = datetime.datetime.now(datetime.UTC)
    config = folder.config(upstream_ca=str(tmp_path / "ca.pem"))
    async with running_service(tls=config, identity=identity) as service:
        credentials = upstream_credentials(config, now)
        assert credentials is not None
        async with grpc.aio.secure_channel(service.node.address, credentials) as channel:
            await _publish(channel)
    assert upstream_credentials(TlsConfig(), now) is None
    assert upstream_credentials(folder.config(upstream_ca="plaintext"), now) is None
    for others in ("", "system"):
        assert upstream_credentials(folder.config(upstream_ca=others), now) is not None
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(TlsRefused, match="holds no certificate"):
        upstream_credentials(config, now)


async def test_grpcurl_gets_in_with_a_certificate(tmp_path: Path) -> None:
    binary = shutil.which("grpcurl", path=f"{BIN}:{os.environ['PATH']}")
    if binary is None:
        pytest.skip("needs grpcurl")
    ca, folder = authority(), TlsFolder(tmp_path)
    folder.put(server_certificate(ca), ca.files.certificate)
    client = issued(ca, "ann")
    (tmp_path / "ann.pem").write_bytes(client.certificate)
    (tmp_path / "ann.key").write_bytes(client.key)
    identity = identity_config(tmp_path, entry("read", names=["ann"], tenants=[TENANT]))
    proofs = ["-cert", str(tmp_path / "ann.pem"), "-key", str(tmp_path / "ann.key")]

    async with running_service(tls=folder.config(), identity=identity) as service:

        async def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [binary, "-cacert", str(tmp_path / "clients.pem"), "-max-time", "10"]
            return await asyncio.to_thread(
                subprocess.run,
                [*command, *arguments],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )

        listed = await run(*proofs, service.node.address, "list")
        assert "placet.v1.PolicyService" in listed.stdout, listed.stderr
        for tenant, code in ((TENANT, "NotFound"), ("other", "PermissionDenied")):
            asked = ["-d", f'{{"tenant": "{tenant}"}}', service.node.address]
            answer = await run(*proofs, *asked, "placet.v1.PolicyService/List")
            assert f"Code: {code}" in answer.stderr
        assert (await run(service.node.address, "list")).returncode != 0


async def _publish(channel: grpc.aio.Channel) -> None:
    from placet.v1 import policy_pb2, policy_service_pb2

    await stubs(channel)["policy"].Publish(
        policy_service_pb2.PublishRequest(
            tenant=TENANT,
            change_set=policy_pb2.ChangeSet(
                policies=[policy("all", "permit (principal, action, resource);")]
            ),
        ),
        timeout=TIMEOUT_S,
    )
