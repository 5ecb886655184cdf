"""What TLS files hold, checked before anybody is served with it."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from placet_server.config import TlsConfig


class TlsRefused(ValueError):
    """Files that nobody can be served with; the message says which, and what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a server proves itself with, and by what it knows its callers. All of it is PEM."""

    certificate: bytes
    """Its certificate, followed by those between it and its CA."""
    key: bytes
    client_ca: bytes | None
    """The CAs whose certificates callers may show. None: they are not asked for one."""
    expires: datetime.datetime
    """When the first of the certificates expires, in UTC."""

    def __repr__(self) -> str:
        return f"Material(expires={self.expires})"


def paths(config: TlsConfig) -> list[Path]:
    """Return the files that a server's TLS is made of."""
    return [Path(path) for path in (config.cert, config.key, config.client_ca) if path]


def read_material(config: TlsConfig, now: datetime.datetime) -> Material:
    """Read the files, and check that they belong together and are good now.

    Raises:
        TlsRefused: they do not, or are not.
    """
    certificate, key = _read(config.cert), _read(config.key)
    chain = _certificates(config.cert, certificate)
    _check_key(config, chain[0], key)
    client_ca = _read(config.client_ca) if config.client_ca else None
    for path, found in (
        (config.cert, chain),
        *([(config.client_ca, _authorities(config.client_ca, client_ca))] if client_ca else []),
    ):
        _check_times(path, found, now)
    return Material(
        certificate=certificate,
        key=key,
        client_ca=client_ca,
        expires=min(found.not_valid_after_utc for found in chain),
    )


def read_authorities(path: str) -> bytes:
    """Return a file of CAs.

    Raises:
        TlsRefused: it holds something else.
    """
    data = _read(path)
    _authorities(path, data)
    return data


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise TlsRefused(f"cannot read `{path}`: {error.strerror}; check [tls]") from error


def _certificates(path: str, data: bytes) -> Sequence[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise TlsRefused(
            f"`{path}` holds no certificate in PEM; it begins with -----BEGIN CERTIFICATE-----"
        ) from error


def _authorities(path: str, data: bytes) -> Sequence[x509.Certificate]:
    found = _certificates(path, data)
    for certificate in found:
        if not _is_authority(certificate):
            raise TlsRefused(
                f"`{path}` has `{_subject(certificate)}`, which is no CA; put in the certificates "
                "that sign others"
            )
    return found


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return constraints.value.ca


def _check_key(config: TlsConfig, certificate: x509.Certificate, pem: bytes) -> None:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise TlsRefused(
            f"`{config.key}` is encrypted; decrypt it, and let only this server read it"
        ) from error
    except ValueError as error:
        raise TlsRefused(
            f"`{config.key}` holds no private key in PEM; it begins with -----BEGIN PRIVATE KEY"
        ) from error
    if key.public_key() != certificate.public_key():
        raise TlsRefused(
            f"the key `{config.key}` does not fit the certificate `{config.cert}`; they have to be "
            "made together"
        )


def _check_times(
    path: str, certificates: Sequence[x509.Certificate], now: datetime.datetime
) -> None:
    for certificate in certificates:
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        name = f"`{_subject(certificate)}` in `{path}`"
        if ends <= now:
            raise TlsRefused(f"{name} has expired on {ends:%Y-%m-%d %H:%M:%SZ}; renew it")
        if begins > now:
            raise TlsRefused(
                f"{name} is not good before {begins:%Y-%m-%d %H:%M:%SZ}; check this machine's clock"
            )


def _subject(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()
