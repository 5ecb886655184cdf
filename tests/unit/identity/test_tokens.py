"""Tokens that look good and are not."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from placet_server.identity.keys import KeySet, KeysRefused, SigningKey, read_keys
from placet_server.identity.refusals import CredentialsRefused, Refusal
from placet_server.identity.tokens import KeyUnknown, TokenReader, TokenRules
from tests.identities import AUDIENCE, ISSUER, Issuer

_RULES = TokenRules(issuer=ISSUER, audience=AUDIENCE, algorithms=("RS256", "PS256", "ES256"))


def _reader(keys: KeySet) -> TokenReader:
    return TokenReader(keys, _RULES, time.time)


def _part(content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def _claims() -> dict[str, Any]:
    return {"sub": "eve", "iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 600}


def _refusal(reader: TokenReader, token: str) -> Refusal:
    with pytest.raises(CredentialsRefused) as refused:
        reader.read(token)
    # What exactly was wrong helps whoever forges tokens.
    assert str(refused.value) == refused.value.refusal.value
    return refused.value.refusal


def test_a_good_token_names_its_holder() -> None:
    issuer = Issuer()
    principal = _reader(KeySet(read_keys(issuer.jwks))).read(
        issuer.token("ann", groups=["a", "b", 7], org="acme")
    )
    assert principal.name == "ann"
    assert principal.groups == {"a", "b"}
    assert principal.claims["org"] == "acme"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS256", "HS512", 7, None])
def test_no_algorithm_without_a_public_key_is_taken(algorithm: Any) -> None:
    issuer = Issuer()
    header = {"alg": algorithm, "kid": "one", "typ": "JWT"}
    token = f"{_part(header)}.{_part(_claims())}."
    refusal = _refusal(_reader(KeySet(read_keys(issuer.jwks))), token)
    assert refusal in (Refusal.TOKEN_REFUSED, Refusal.TOKEN_MALFORMED)


def test_the_public_key_is_no_secret_to_sign_with() -> None:
    """Who checks HMAC with whatever key there is takes tokens from everybody."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    reader = _reader(KeySet({"one": SigningKey(key, "")}))
    signed = f"{_part({'alg': 'HS256', 'kid': 'one'})}.{_part(_claims())}"
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signature = base64.urlsafe_b64encode(mac.sign(signed.encode(), pem)).decode().rstrip("=")
    assert _refusal(reader, f"{signed}.{signature}") is Refusal.TOKEN_REFUSED


def test_the_signature_has_to_be_the_keys() -> None:
    issuer, other = Issuer(), Issuer()
    reader = _reader(KeySet(read_keys(issuer.jwks)))
    assert _refusal(reader, other.token("eve")) is Refusal.TOKEN_REFUSED
    head, body, signature = issuer.token("ann").split(".")
    assert _refusal(reader, f"{head}.{_part(_claims())}.{signature}") is Refusal.TOKEN_REFUSED
    assert _refusal(reader, f"{head}.{body}.") is Refusal.TOKEN_REFUSED
    assert reader.read(f"{head}.{body}.{signature}").name == "ann"


def test_a_key_that_comes_with_the_token_is_not_used() -> None:
    issuer, other = Issuer(), Issuer()
    key = json.loads(other.jwks)["keys"][0]
    token = other.token("eve", header={"jwk": key, "jku": "http://127.0.0.1/keys"})
    assert _refusal(_reader(KeySet(read_keys(issuer.jwks))), token) is Refusal.TOKEN_REFUSED


def test_a_key_is_good_for_its_own_algorithm_only() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    reader = _reader(KeySet({"one": SigningKey(key.public_key(), "PS256")}))
    token, other = (
        jwt.encode(_claims(), key, algorithm, headers={"kid": "one"})
        for algorithm in ("PS256", "RS256")
    )
    assert reader.read(token).name == "eve"
    assert _refusal(reader, other) is Refusal.TOKEN_REFUSED
    # And one of another kind is no key for it at all.
    reader = _reader(
        KeySet({"one": SigningKey(ec.generate_private_key(ec.SECP256R1()).public_key(), "")})
    )
    assert _refusal(reader, token) is Refusal.TOKEN_REFUSED


def test_which_key_is_meant() -> None:
    one, two = Issuer("one"), Issuer("two")
    both = read_keys(
        json.dumps({"keys": [k for i in (one, two) for k in json.loads(i.jwks)["keys"]]}).encode()
    )
    unnamed = one.token("ann", header={"kid": None})
    assert _reader(KeySet(read_keys(one.jwks))).read(unnamed).name == "ann"
    for token in (unnamed, Issuer("three").token("ann")):
        with pytest.raises(KeyUnknown):
            _reader(KeySet(both)).read(token)
    assert _reader(KeySet(both)).read(two.token("ann")).name == "ann"


def test_what_is_no_public_key_is_left_out() -> None:
    good = json.loads(Issuer("good").jwks)["keys"][0]
    private = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1())))
    listed = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "shared"},
        {**private, "kid": "private"},
        {**good, "kid": "for-encryption", "use": "enc"},
        {"kty": "EC", "kid": "broken"},
        7,
        good,
    ]
    assert read_keys(json.dumps({"keys": listed}).encode()).keys() == {"good"}


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"keys": 7}', b'{"keys": []}', b'{"keys": [{"kty": "oct"}]}']
)
def test_what_is_no_key_set(data: bytes) -> None:
    with pytest.raises(KeysRefused):
        read_keys(data)
