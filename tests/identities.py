"""Who calls, made at test time: certificates and tokens, and servers that want to see them."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from placet.cli.certificates import Authority, Issued
from placet_server.config import IdentityConfig, TlsConfig

LIFETIME = datetime.timedelta(days=30)
ISSUER, AUDIENCE = "https://login.example.test", "placet"
SPIFFE = "spiffe://example.test"


def authority(name: str = "test CA") -> Authority:
    """Make a CA."""
    return Authority.make(name, now=_now(), lifetime=LIFETIME)


def issued(
    by: Authority, name: str, *names: str, lifetime: datetime.timedelta = LIFETIME
) -> Issued:
    """Have a certificate made."""
    return by.issue(name, names, now=_now(), lifetime=lifetime)


def server_certificate(by: Authority, name: str = "server") -> Issued:
    """Have one made for a server on this machine."""
    return issued(by, name, "localhost", "127.0.0.1")


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True, slots=True)
class TlsFolder:
    """The files of a server."""

    path: Path

    def put(self, files: Issued, client_ca: bytes | None = None) -> None:
        """Write the files, each at once."""
        self._write("server.pem", files.certificate)
        self._write("server.key", files.key)
        if client_ca is not None:
            self._write("clients.pem", client_ca)

    def config(self, **options: Any) -> TlsConfig:
        """Return the configuration of a server that has these files."""
        has_clients = (self.path / "clients.pem").exists()
        return TlsConfig(
            cert=str(self.path / "server.pem"),
            key=str(self.path / "server.key"),
            client_ca=str(self.path / "clients.pem") if has_clients else "",
            **{"reload_s": 0.02, **options},
        )

    def _write(self, name: str, data: bytes) -> None:
        new = self.path / f"{name}.new"
        new.write_bytes(data)
        new.rename(self.path / name)


class Issuer:
    """Somebody who issues tokens, with a key of which more can be made."""

    def __init__(self, key_id: str = "one") -> None:
        self._keys: dict[str, ec.EllipticCurvePrivateKey] = {}
        self.rotate(key_id)

    def rotate(self, key_id: str) -> None:
        """Sign with another key from now on, and know only that."""
        self._keys = {key_id: ec.generate_private_key(ec.SECP256R1())}

    @property
    def jwks(self) -> bytes:
        """The public keys."""
        keys = [
            {**json.loads(ECAlgorithm.to_jwk(key.public_key())), "kid": key_id, "alg": "ES256"}
            for key_id, key in self._keys.items()
        ]
        return json.dumps({"keys": keys}).encode()

    def token(
        self,
        name: str = "alice",
        *,
        now_s: float | None = None,
        lifetime_s: float = 600,
        header: Mapping[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Issue a token."""
        ((key_id, key),) = self._keys.items()
        now_s = time.time() if now_s is None else now_s
        given = {
            "sub": name,
            "iss": ISSUER,
            "aud": AUDIENCE,
            "exp": int(now_s + lifetime_s),
            **claims,
        }
        given = {claim: value for claim, value in given.items() if value is not None}
        headers = {"kid": key_id, **(header or {})}
        headers = {name: value for name, value in headers.items() if value is not None}
        return jwt.encode(given, key, "ES256", headers=headers)


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a call with a token."""
    return (("authorization", f"Bearer {token}"),)


def identity_config(
    folder: Path, access: str, jwks: bytes | str = "", **options: Any
) -> IdentityConfig:
    """Return the configuration of a server that knows callers.

    Args:
        folder: where its files are put.
        access: who may do what, as TOML.
        jwks: the keys of tokens, or where they are.
        options: further keys.
    """
    (folder / "access.toml").write_text(access)
    if isinstance(jwks, bytes):
        (folder / "keys.json").write_bytes(jwks)
        jwks = str(folder / "keys.json")
    named = {"issuer": ISSUER, "audience": AUDIENCE} if jwks else {}
    return IdentityConfig(
        access=str(folder / "access.toml"),
        jwks=jwks,
        **{"reload_s": 0.02, "leeway_s": 0.0, **named, **options},
    )


@asynccontextmanager
async def channel_to(
    address: str, ca: bytes, shown: Issued | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    """Connect with TLS, over a connection nobody else in this process uses."""
    credentials = grpc.ssl_channel_credentials(
        ca, *((shown.key, shown.certificate) if shown is not None else ())
    )
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
        yield channel


def entry(
    *permissions: str,
    tenants: Sequence[str] = (),
    platform: bool = False,
    **whom: Any,
) -> str:
    """Write an entry of an access file."""
    given = {
        **(whom or {"names": ["*"]}),
        "permissions": list(permissions),
        "tenants": list(tenants),
        "platform": platform,
    }
    return "\n".join(
        ["[[access]]", *(f"{key} = {json.dumps(value)}" for key, value in given.items()), ""]
    )
