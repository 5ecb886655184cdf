"""Clients know their server, and prove who calls: with threads, tasks, streams, and in-process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

import placet
from placet import aio
from placet.cli.certificates import Authority, Issued
from placet.local import LocalEvaluator
from placet_server.app import Node, running_node
from placet_server.config import Config, ServerConfig, StoreConfig
from placet_server.testing import running_server
from tests.identities import (
    Issuer,
    TlsFolder,
    authority,
    entry,
    identity_config,
    issued,
    server_certificate,
)

TENANT = "acme"
_ASKED = (("User", "ann"), "view", ("Document", "one"))


@dataclass(frozen=True, slots=True)
class Known:
    """A server that knows its callers, and what they need for that."""

    node: Node
    ca: Authority
    ann: Issued
    issuer: Issuer

    def credentials(self, **others: Any) -> placet.Credentials:
        """Return those of ann, by certificate."""
        given = {
            "ca": self.ca.files.certificate,
            "cert": self.ann.certificate,
            "key": self.ann.key,
            **others,
        }
        return placet.Credentials(**given)


@asynccontextmanager
async def known(folder: Path) -> AsyncIterator[Known]:
    """Run a server with TLS that takes tokens too."""
    ca, issuer, tls = authority(), Issuer(), TlsFolder(folder)
    tls.put(server_certificate(ca), ca.files.certificate)
    access = entry("decide", "read", "publish", names=["ann"], tenants=[TENANT])
    access += entry("decide", names=["bob"], tenants=[TENANT])
    identity = identity_config(folder, access, issuer.jwks)
    async with running_server(tls=tls.config(), identity=identity) as node:
        found = Known(node, ca, issued(ca, "ann"), issuer)
        async with aio.Client(
            node.address, tenant=TENANT, credentials=found.credentials()
        ) as client:
            await client.publish(
                placet.ChangeSet(
                    policies=[placet.Policy(id="all", cedar="permit(principal,action,resource);")]
                )
            )
        yield found


async def test_every_way_of_asking_proves_who_asks(tmp_path: Path) -> None:
    async with known(tmp_path) as server:
        credentials = server.credentials()

        def in_threads() -> None:
            with placet.Client(
                server.node.address, tenant=TENANT, credentials=credentials
            ) as client:
                assert client.evaluate(*_ASKED)
                assert next(client.history()).author == "ann"
                with client.subscribe() as subscription:
                    subscription.wait_ready()
            with LocalEvaluator(
                server.node.address, tenant=TENANT, credentials=credentials
            ) as local:
                local.wait_ready()
                assert local.evaluate(*_ASKED)

        await asyncio.to_thread(in_threads)
        async with aio.Client(
            server.node.address, tenant=TENANT, credentials=credentials
        ) as client:
            assert await client.evaluate(*_ASKED)
            async with client.subscribe() as subscription:
                await subscription.wait_ready()


@pytest.mark.parametrize("has_token", [False, True])
async def test_every_endpoint_is_told_who_asks(tmp_path: Path, has_token: bool) -> None:
    async with known(tmp_path) as server:
        port = server.node.address.rpartition(":")[2]
        several = f"127.0.0.1:{port},localhost:{port}"
        token = server.issuer.token("bob") if has_token else None
        credentials = server.credentials(token=token)

        def in_threads() -> None:
            with placet.Client(several, tenant=TENANT, credentials=credentials) as client:
                for _ in range(6):
                    assert client.evaluate(*_ASKED)

        await asyncio.to_thread(in_threads)
        async with aio.Client(several, tenant=TENANT, credentials=credentials) as client:
            for _ in range(6):
                assert await client.evaluate(*_ASKED)


async def test_a_token_names_the_caller_and_is_asked_for_each_call(tmp_path: Path) -> None:
    async with known(tmp_path) as server:
        tokens = iter([server.issuer.token("bob"), server.issuer.token("eve")])
        async with aio.Client(
            server.node.address,
            tenant=TENANT,
            credentials=server.credentials(token=lambda: next(tokens)),
        ) as client:
            assert await client.evaluate(*_ASKED)
            with pytest.raises(placet.PermissionDenied) as denied:
                await client.evaluate(*_ASKED)
            assert denied.value.reason == "NOT_ALLOWED"
            # And now there is none.
            with pytest.raises(placet.Unauthenticated, match="no token"):
                await client.evaluate(*_ASKED)


async def test_a_token_file_is_renewed(tmp_path: Path) -> None:
    async with known(tmp_path) as server:
        path = tmp_path / "token"
        path.write_text(server.issuer.token("bob", lifetime_s=-60) + "\n")
        async with aio.Client(
            server.node.address,
            tenant=TENANT,
            credentials=server.credentials(token=placet.TokenFile(path)),
        ) as client:
            with pytest.raises(placet.Unauthenticated) as expired:
                await client.evaluate(*_ASKED)
            assert expired.value.reason == "TOKEN_EXPIRED"
            path.with_suffix(".new").write_text(server.issuer.token("bob"))
            path.with_suffix(".new").rename(path)
            assert await client.evaluate(*_ASKED)
            path.unlink()
            assert await client.evaluate(*_ASKED)


async def test_a_subscription_goes_on_with_a_new_token(tmp_path: Path) -> None:
    """A token that expires ends the stream; the next one begins with another, at the cursor."""
    async with known(tmp_path) as server:
        asked: list[str] = []

        def token() -> str:
            asked.append("")
            return server.issuer.token("ann", lifetime_s=1.2)

        async with aio.Client(
            server.node.address, tenant=TENANT, credentials=server.credentials(token=token)
        ) as client:
            states: list[placet.StateChange] = []
            async with client.subscribe(on_state_change=states.append) as subscription:
                await subscription.wait_ready()
                async with asyncio.timeout(20):
                    while len(asked) < 2:  # noqa: ASYNC110  # nothing tells
                        await asyncio.sleep(0.05)
                await subscription.wait_ready()
                assert all(change.after is not placet.State.ERROR for change in states)


async def test_who_is_not_trusted_is_not_talked_to(tmp_path: Path) -> None:
    async with known(tmp_path) as server:
        sent: list[str] = []

        def token() -> str:
            sent.append("")
            return server.issuer.token("bob")

        for credentials in (
            server.credentials(ca=authority().files.certificate),
            server.credentials(cert=None, key=None),
            server.credentials(server_name="elsewhere.test"),
        ):
            async with aio.Client(
                server.node.address, tenant=TENANT, credentials=credentials
            ) as client:
                with pytest.raises(placet.Unavailable):
                    await client.evaluate(*_ASKED)
        async with aio.Client(
            server.node.address.replace("127.0.0.1", "localhost"),
            tenant=TENANT,
            credentials=server.credentials(server_name="127.0.0.1"),
        ) as client:
            assert await client.evaluate(*_ASKED)


async def test_a_token_does_not_travel_in_the_open(tmp_path: Path) -> None:
    """In plain text gRPC connects to loopback addresses only, whatever they are called."""
    issuer = Issuer()
    identity = identity_config(tmp_path, entry("decide", tenants=["*"]), issuer.jwks)
    credentials = placet.Credentials(token=issuer.token("bob"), plaintext=True)
    config = Config(
        server=ServerConfig(listen="0.0.0.0:0", allow_insecure=True),
        store=StoreConfig(kind="memory"),
        identity=identity,
    )
    async with running_node(config) as node:
        port = node.address.rpartition(":")[2]
        for host in ("127.0.0.1", "localhost"):
            client = aio.Client(f"{host}:{port}", tenant=TENANT, credentials=credentials)
            async with client:
                with pytest.raises(placet.NotFound):
                    await client.evaluate(*_ASKED)
        # The same machine, by an address that could be another's.
        async with (
            aio.Client(f"{_other_address()}:{port}", tenant=TENANT) as open_,
            aio.Client(f"{_other_address()}:{port}", tenant=TENANT, credentials=credentials) as shy,
        ):
            with pytest.raises(placet.Unauthenticated):
                await open_.evaluate(*_ASKED, timeout_s=10.0)
            with pytest.raises(placet.CouldNotDecide):
                await shy.evaluate(*_ASKED)


def _other_address() -> str:
    """Return an address of this machine that is no loopback address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unsent:
        try:
            # Nothing is sent: this only chooses an address to send from.
            unsent.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has loopback addresses only")
        return str(unsent.getsockname()[0])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"cert": b"x"}, "go together"),
        ({"key": b"x"}, "go together"),
        ({"plaintext": True, "ca": b"x"}, "plaintext"),
        ({"plaintext": True, "server_name": "x"}, "plaintext"),
    ],
)
def test_what_contradicts_itself_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(placet.InvalidRequest, match=says):
        placet.Credentials(**given)


def test_files_that_hold_something_else_are_told_of(tmp_path: Path) -> None:
    (tmp_path / "odd").write_text("hello")
    for given, says in (
        ({"ca": tmp_path / "none"}, "No such file"),
        ({"ca": tmp_path / "odd"}, "`ca` is to be a certificate in PEM"),
        ({"ca": b"odd"}, "`ca` is to be a certificate in PEM"),
    ):
        for target in ("localhost:1", "localhost:1,localhost:2"):
            with pytest.raises(placet.InvalidRequest, match=says):
                placet.Client(target, credentials=placet.Credentials(**given))
    with pytest.raises(placet.InvalidRequest, match="cannot read the token"):
        placet.TokenFile(tmp_path / "none")


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "ünïcode"])
def test_a_token_that_cannot_be_sent_is_not(token: str) -> None:
    credentials = placet.Credentials(token=token, plaintext=True)
    with (
        placet.Client("localhost:1", tenant=TENANT, credentials=credentials) as client,
        pytest.raises(placet.InvalidRequest, match="the token is empty, or has") as refused,
    ):
        client.evaluate(*_ASKED)
    assert not token or token not in str(refused.value)


def test_nothing_secret_is_shown() -> None:
    credentials = placet.Credentials(cert=b"c", key=b"very secret", token="very secret")
    assert "secret" not in repr(credentials)


def test_credentials_of_grpcs_own_still_do() -> None:
    with placet.Client("localhost:1", credentials=grpc.ssl_channel_credentials()):
        pass
