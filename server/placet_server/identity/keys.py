"""The public keys that tokens are signed with: a JSON Web Key Set (RFC 7517)."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import jwt
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

log = logging.getLogger(__name__)

_MAX_KEYS = 100
_KINDS = ("RSA", "EC", "OKP")


class KeysRefused(ValueError):
    """A document that is no set of public keys."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key."""

    key: PublicKeyTypes
    algorithm: str
    """The only algorithm it is for. Empty: any that fits its kind."""


Keys = Mapping[str, SigningKey]
"""By key id."""


def read_keys(data: bytes) -> Keys:
    """Read a key set. What is not for checking signatures, or not public, is left out.

    Raises:
        KeysRefused: it is none, or no key of it can be used.
    """
    try:
        listed = json.loads(data)["keys"]
    except (ValueError, KeyError, TypeError) as error:
        raise KeysRefused('it is no key set; one is JSON of the form {"keys": [...]}') from error
    if not isinstance(listed, list) or len(listed) > _MAX_KEYS:
        raise KeysRefused(f"its `keys` are no list of up to {_MAX_KEYS}")
    keys = {}
    for given in listed:
        if not isinstance(given, dict) or given.get("kty") not in _KINDS:
            continue
        if given.get("use", "sig") != "sig" or "d" in given:
            continue
        try:
            key = jwt.PyJWK.from_dict(given).key
        except (jwt.PyJWTError, ValueError) as error:
            log.warning("a key of the key set is left out", extra={"reason": str(error)})
            continue
        keys[str(given.get("kid", ""))] = SigningKey(key, str(given.get("alg", "")))
    if not keys:
        raise KeysRefused("it has no public key for signatures; use RSA, EC or OKP keys")
    return keys


class KeySet:
    """The keys of now."""

    def __init__(self, keys: Keys | None = None) -> None:
        self._keys: Keys = keys or {}
        self.generation = 0
        """Changes with the keys."""

    def replace(self, keys: Keys) -> bool:
        """Go by other keys from now on; return whether anything is different."""
        if keys == self._keys:
            return False
        self._keys = keys
        self.generation += 1
        return True

    def find(self, key_id: str | None) -> SigningKey | None:
        """Return a key by its id; without an id the only one, if it is."""
        if key_id is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(key_id)
