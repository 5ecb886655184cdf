"""Ed25519 keys in PEM: PKCS #8 for private ones, SubjectPublicKeyInfo for public ones.

A key's id is the SHA-256 of the public key's DER form, in hexadecimal:
``openssl pkey -pubin -in KEY -outform DER | sha256sum``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from placet.bundles._refusals import KeyRefused

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A new key, in two files' worth of PEM."""

    private_pem: bytes
    """Not encrypted: whoever reads it can sign."""
    public_pem: bytes
    key_id: str

    def __repr__(self) -> str:
        return f"KeyPair(key_id={self.key_id!r})"


def generate_keys() -> KeyPair:
    """Make a key pair."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    return KeyPair(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        _key_id(private.public_key()),
    )


class SigningKey:
    """A private key."""

    def __init__(self, pem: bytes) -> None:
        """Read a key.

        Raises:
            KeyRefused: it is no private Ed25519 key, or is encrypted.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(pem, None)
        except TypeError as error:
            raise KeyRefused("the private key is encrypted; decrypt it first") from error
        except ValueError as error:
            raise KeyRefused(f"this is no private key in PEM; {_HINT}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyRefused(f"this is a private key, but not of Ed25519; {_HINT}")
        self._key = key
        self.key_id = _key_id(key.public_key())

    def sign(self, data: bytes) -> bytes:
        """Return the signature, of 64 bytes."""
        return self._key.sign(data)


class PublicKey:
    """A public key, which is trusted by being passed to ``verify``."""

    def __init__(self, pem: bytes) -> None:
        """Read a key.

        Raises:
            KeyRefused: it is no public Ed25519 key.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        try:
            key = load_pem_public_key(pem)
        except ValueError as error:
            raise KeyRefused(f"this is no public key in PEM; {_HINT}") from error
        if not isinstance(key, Ed25519PublicKey):
            raise KeyRefused(f"this is a public key, but not of Ed25519; {_HINT}")
        self._key = key
        self.key_id = _key_id(key)

    def is_signed(self, data: bytes, signature: bytes) -> bool:
        """Whether this key's owner signed the data."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return True


_HINT = "`placet bundle keygen` makes a pair"


def _key_id(key: Ed25519PublicKey) -> str:
    from cryptography.hazmat.primitives import serialization

    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()
