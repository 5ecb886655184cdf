"""The servers that the page's commands talk to: real ones, each a process of its own."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import placet
from placet.cli.examples import starter_documents
from tests.cli.shell import BIN, PATIENCE_S, environment, serving
from tests.identities import Issuer, entry, identity_config
from tests.stock_client import bootstrap, stock_client

TENANT = "demo"

CONTROL, EDGE = "127.0.0.1:7717", "127.0.0.1:7718"
MUTUAL_TLS, TOKENS = "127.0.0.1:7443", "127.0.0.1:7444"
NOBODY = "127.0.0.1:7719"
"""The addresses on the page."""

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class World:
    """Servers, and a folder with what their callers have."""

    folder: Path
    addresses: Mapping[str, str]
    """Where the addresses on the page really are."""
    variables: Mapping[str, str]
    """What the page takes from the environment."""

    def real(self, text: str) -> str:
        """Put real addresses in the place of the page's."""
        for shown, real in self.addresses.items():
            for between in ":/":
                text = text.replace(shown.replace(":", between), real.replace(":", between))
        return text

    def shown(self, text: str) -> str:
        """Put the page's addresses in the place of real ones."""
        for shown, real in self.addresses.items():
            text = text.replace(real, shown)
        return text


@contextmanager
def running_world(folder: Path) -> Iterator[World]:
    """Run what the top of the page describes; its commands can be given in the folder."""
    (folder / "protos").symlink_to(_ROOT / "protos")
    _make_certificates(folder)
    issuer = Issuer()
    with ExitStack() as stack:

        def start(name: str, region: str, *arguments: str) -> str:
            given = ("--node", name, "--region", region, *arguments)
            address, _ = stack.enter_context(serving(folder, *given))
            return address

        control = start("eu1", "eu-west", "--store", "memory")
        edge = start("eu2", "eu-central", "--upstream", control)
        store = ("--store-path", "shared.db", "--config")
        mutual = start("eu3", "eu-west", *store, "try/placet.toml")
        tokens = start("eu4", "eu-west", *store, str(_config_with_tokens(folder, issuer)))
        ann = placet.Credentials(
            ca=folder / "try/ca.pem", cert=folder / "try/ann.pem", key=folder / "try/ann.key"
        )
        for address, credentials in ((control, None), (mutual, ann)):
            with placet.Client(address, tenant=TENANT, credentials=credentials) as client:
                documents = starter_documents()
                client.publish(documents.change_set(replace_all=True), message="placet quickstart")
        stack.enter_context(_client_of_xds(control))
        # Bound and not listening: whoever connects is refused, and nobody else gets it.
        nobody = stack.enter_context(socket.socket())
        nobody.bind(("127.0.0.1", 0))
        yield World(
            folder,
            {
                CONTROL: control,
                EDGE: edge,
                MUTUAL_TLS: mutual,
                TOKENS: tokens,
                NOBODY: f"127.0.0.1:{nobody.getsockname()[1]}",
            },
            {"TOKEN": issuer.token("alice", lifetime_s=3600)},
        )


@contextmanager
def _client_of_xds(address: str) -> Iterator[None]:
    """Have gRPC's own client connected, which asks where its calls go."""
    with asyncio.Runner() as runner:
        client = AsyncExitStack()
        said = bootstrap(address, tenant=TENANT, region="eu-west")
        try:
            asking = runner.run(client.enter_async_context(stock_client(said)))
            # It asks about another tenant, and is refused; by then it has its stream.
            runner.run(asking.call())
            yield
        finally:
            runner.run(client.aclose())


def _make_certificates(folder: Path) -> None:
    command = [str(BIN / "placet"), "tls", "dev", "--out", "try", "--client", "ann"]
    subprocess.run(
        command, cwd=folder, env=environment(), timeout=PATIENCE_S, check=True, capture_output=True
    )


def _config_with_tokens(folder: Path, issuer: Issuer) -> Path:
    access = entry("decide", "read", names=["alice"], tenants=[TENANT])
    identity = identity_config(folder, access, issuer.jwks)
    given = {
        "tls": {"cert": str(folder / "try/server.pem"), "key": str(folder / "try/server.key")},
        "identity": {
            "access": identity.access,
            "jwks": identity.jwks,
            "issuer": identity.issuer,
            "audience": identity.audience,
        },
    }
    path = folder / "tokens.toml"
    path.write_text(
        "".join(
            f"[{section}]\n"
            + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
            for section, keys in given.items()
        )
    )
    return path
