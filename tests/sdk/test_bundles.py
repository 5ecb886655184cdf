"""`placet.bundles`: the format, and what is refused of it."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placet import (
    PLATFORM,
    Entity,
    EntityRef,
    InvalidRequest,
    ItemKind,
    Layer,
    Policy,
    Position,
    Schema,
    SchemaValidation,
    TemplateLink,
    TenantSettings,
)
from placet.bundles import (
    MAX_BYTES,
    MAX_ENTRIES,
    Body,
    BundleRefused,
    KeyRefused,
    PublicKey,
    SigningKey,
    generate_keys,
    pack,
    unpack,
    verify,
)

PAIR = generate_keys()
KEY = SigningKey(PAIR.private_pem)
TRUSTED = [PublicKey(PAIR.public_pem)]
ALLOW = "permit (principal, action, resource);"

BODIES: tuple[Body, ...] = (
    Policy(
        id="a/b",
        cedar=f"// ü\n{ALLOW}",
        layer=Layer.TENANT,
        description="all",
        labels={"z": "1", "a": "2"},
        position=Position(file="policies/a.cedar", line=3, column=1),
    ),
    TemplateLink(id="l", template_id="t", principal=EntityRef("User", 'a"b')),
    Entity(
        EntityRef("User", "alice"),
        {"n": 2**60, "ok": True, "when": datetime(2026, 1, 2, tzinfo=UTC), "set": [3, 1, 2]},
        (EntityRef("Group", "all"),),
        {"tag": {"deep": [Decimal("1.5"), ip_address("10.0.0.1")]}},
    ),
    Schema("entity User;"),
    TenantSettings(
        schema_validation=SchemaValidation.WARN,
        jurisdictions=("EU",),
        max_staleness=timedelta(seconds=30),
    ),
)


def packed(*bodies: Body, **options: Any) -> bytes:
    return pack(bodies or BODIES, **{"tenant": "acme", "revision": 7, "key": KEY, **options})


def reason(read: Callable[[], object]) -> str:
    """Return why reading was refused, which it has to be, in one way whatever was wrong."""
    with pytest.raises(BundleRefused) as caught:
        read()
    assert caught.value.message
    return caught.value.reason


# ---------------------------------------------------------------------------------- contents


def test_what_is_packed_comes_out_again() -> None:
    created = datetime(2026, 5, 6, 7, 8, 9, 500_000, tzinfo=UTC)

    data = packed(created=created, source="a commit", store_id="s")
    bundle = verify(data, TRUSTED)

    assert bundle.bodies == BODIES
    manifest = bundle.manifest
    assert (manifest.tenant, manifest.revision, manifest.store_id) == ("acme", 7, "s")
    assert (manifest.created, manifest.source) == (created.replace(microsecond=0), "a commit")
    assert [(entry.kind, entry.name) for entry in manifest.entries] == [
        (ItemKind.POLICY, "a/b"),
        (ItemKind.TEMPLATE_LINK, "l"),
        (ItemKind.ENTITY, 'User::"alice"'),
        (ItemKind.SCHEMA, ""),
        (ItemKind.SETTINGS, ""),
    ]
    assert bundle.key_id == PAIR.key_id
    assert bundle.digest == hashlib.sha256(data.split(b"\n")[0]).hexdigest()
    change_set = bundle.change_set()
    assert change_set.replace_all
    assert [*change_set.policies, *change_set.template_links, *change_set.entities] == [*BODIES[:3]]


def test_the_same_content_makes_the_same_bytes_in_any_order() -> None:
    assert packed(*reversed(BODIES)) == packed(*BODIES)


def test_a_policy_has_the_layer_a_server_would_give_it() -> None:
    plain = Policy(id="a", cedar=ALLOW)

    (own,) = unpack(packed(plain)).bodies
    (platform,) = unpack(packed(plain, tenant=PLATFORM)).bodies

    assert isinstance(own, Policy)
    assert own.layer is Layer.TENANT
    assert isinstance(platform, Policy)
    assert platform.layer is Layer.PLATFORM


def test_an_empty_bundle_is_one() -> None:
    assert verify(pack([], tenant=None, key=KEY), TRUSTED).bodies == ()


def test_what_was_read_can_be_signed_by_another_and_has_the_same_digest() -> None:
    unsigned = packed(key=None)

    assert unpack(unsigned).digest == unpack(packed()).digest
    assert unpack(unsigned).key_id == ""


@pytest.mark.parametrize(
    ("bodies", "message"),
    [
        ([BODIES[0], BODIES[0]], "policy `a/b` is there twice"),
        ([Entity(EntityRef("U", "a"), {"": "\ud800"})], "half of a surrogate pair"),
        ([Schema("x" * MAX_BYTES)], "bytes are more than"),
        ([Policy(id=str(n), cedar="x") for n in range(MAX_ENTRIES + 1)], "items are more than"),
    ],
)
def test_what_no_bundle_holds_is_refused(bodies: list[Body], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        pack(bodies, tenant="acme")


# ---------------------------------------------------------------------------------- signatures


def test_any_of_the_trusted_keys_will_do() -> None:
    other = PublicKey(generate_keys().public_pem)

    assert verify(packed(), [other, *TRUSTED]).bodies == BODIES
    assert reason(lambda: verify(packed(), [other])) == "BUNDLE_KEY_UNKNOWN"
    assert reason(lambda: verify(packed(), [])) == "BUNDLE_KEY_UNKNOWN"


def test_what_nobody_signed_is_refused() -> None:
    assert reason(lambda: verify(packed(key=None), TRUSTED)) == "BUNDLE_UNSIGNED"


def test_a_signature_of_another_bundle_is_refused() -> None:
    *_, signature, _ = packed(revision=8).split(b"\n")
    *lines, _, end = packed().split(b"\n")

    assert (
        reason(lambda: verify(b"\n".join([*lines, signature, end]), TRUSTED))
        == "BUNDLE_SIGNATURE_WRONG"
    )


def test_a_signature_under_the_name_of_a_trusted_key_is_refused() -> None:
    forger = SigningKey(generate_keys().private_pem)
    forged = packed(key=forger).replace(forger.key_id.encode(), PAIR.key_id.encode())

    assert reason(lambda: verify(forged, TRUSTED)) == "BUNDLE_SIGNATURE_WRONG"


def test_every_byte_counts() -> None:
    """Whatever is changed, added or left out: nothing of it is taken."""
    data = pack([Policy(id="a", cedar=ALLOW)], tenant="acme", revision=7, key=KEY)
    verify(data, TRUSTED)

    for at in range(len(data)):
        for change in (1, 2, 4, 8, 16, 32, 64, 128):
            flipped = bytearray(data)
            flipped[at] ^= change
            reason(lambda flipped=flipped: verify(bytes(flipped), TRUSTED))  # type: ignore[misc]
        reason(lambda at=at: verify(data[:at], TRUSTED))  # type: ignore[misc]
        reason(lambda at=at: verify(data[:at] + data[at + 1 :], TRUSTED))  # type: ignore[misc]
    for more in (b"\n", b"{}\n", b"\0", data):
        reason(lambda more=more: verify(data + more, TRUSTED))  # type: ignore[misc]


FULL = packed(created=datetime(2026, 1, 1, tzinfo=UTC), source="x")


@given(st.integers(0, len(FULL) - 1), st.integers(1, 255))
def test_no_byte_of_a_full_bundle_can_be_changed(at: int, change: int) -> None:
    flipped = bytearray(FULL)
    flipped[at] ^= change

    with pytest.raises(BundleRefused):
        verify(bytes(flipped), TRUSTED)


@given(st.binary(max_size=200))
def test_anything_else_is_refused_in_the_same_way(data: bytes) -> None:
    with pytest.raises(BundleRefused):
        unpack(data)


def test_a_key_id_is_what_openssl_would_make_of_the_key() -> None:
    der = base64.b64decode(b"".join(PAIR.public_pem.splitlines()[1:-1]))

    assert hashlib.sha256(der).hexdigest() == PAIR.key_id == KEY.key_id == TRUSTED[0].key_id
    assert "BEGIN" not in repr(PAIR)


def test_keys_that_are_none_are_refused() -> None:
    for pem in (b"", b"x", PAIR.public_pem):
        with pytest.raises(KeyRefused, match="no private key in PEM"):
            SigningKey(pem)
    for pem in (b"", b"x", PAIR.private_pem):
        with pytest.raises(KeyRefused, match="no public key in PEM"):
            PublicKey(pem)


def test_keys_of_other_kinds_are_refused() -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    encrypted = serialization.BestAvailableEncryption(b"secret")

    with pytest.raises(KeyRefused, match="not of Ed25519"):
        SigningKey(key.private_bytes(pem, form, serialization.NoEncryption()))
    with pytest.raises(KeyRefused, match="is encrypted"):
        SigningKey(key.private_bytes(pem, form, encrypted))
    with pytest.raises(KeyRefused, match="not of Ed25519"):
        PublicKey(
            key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        )


# ------------------------------------------------------------------- what is signed, and wrong


def rewritten(change: Callable[[dict[str, Any]], object], *items: object) -> bytes:
    """Return a bundle with another manifest and items, as whole as it can be."""
    lines = [item if isinstance(item, bytes) else _line(item) for item in items]
    first, *own, _, _ = pack([Policy(id="a", cedar=ALLOW)], tenant="acme").split(b"\n")
    manifest = json.loads(first)
    lines = lines or own
    for entry, line in zip(manifest["entries"], lines, strict=False):
        entry |= {"size": len(line), "sha256": hashlib.sha256(line).hexdigest()}
    change(manifest)
    return b"\n".join([_line(manifest), *lines, _line({"signatures": []}), b""])


def _line(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_the_rewriting_itself_is_right() -> None:
    assert len(unpack(rewritten(lambda manifest: None)).bodies) == 1


POLICY = {"policy": {"id": "a", "cedar": ALLOW}}


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda it: it.update(version=2), "BUNDLE_VERSION_UNKNOWN"),
        (lambda it: it.update(version=True), "BUNDLE_VERSION_UNKNOWN"),
        (lambda it: it.update(version="1" * 100), "BUNDLE_VERSION_UNKNOWN"),
        (lambda it: it.update(format="tar"), "BUNDLE_MALFORMED"),
        (lambda it: it.update(revision=-1), "BUNDLE_MALFORMED"),
        (lambda it: it.update(revision=True), "BUNDLE_MALFORMED"),
        (lambda it: it.update(tenant=1), "BUNDLE_MALFORMED"),
        (lambda it: it.update(created="2026-1-1T00:00:00Z"), "BUNDLE_MALFORMED"),
        (lambda it: it.update(created="today"), "BUNDLE_MALFORMED"),
        (lambda it: it.update(more=1), "BUNDLE_MALFORMED"),
        (lambda it: it.pop("source"), "BUNDLE_MALFORMED"),
        (lambda it: it.update(entries=[]), "BUNDLE_MALFORMED"),
        (lambda it: it.update(entries=[1]), "BUNDLE_MALFORMED"),
        (lambda it: it.update(entries=it["entries"] * 2), "BUNDLE_MALFORMED"),
        (lambda it: it["entries"][0].update(kind="rollout"), "BUNDLE_MALFORMED"),
        (lambda it: it["entries"][0].update(name="b"), "BUNDLE_MALFORMED"),
        (lambda it: it["entries"][0].update(more=1), "BUNDLE_MALFORMED"),
        (lambda it: it["entries"][0].update(size=1), "BUNDLE_DAMAGED"),
        (lambda it: it["entries"][0].update(sha256="0" * 64), "BUNDLE_DAMAGED"),
    ],
)
def test_a_manifest_is_as_it_has_to_be(change: Callable[[Any], object], wanted: str) -> None:
    assert reason(lambda: unpack(rewritten(change))) == wanted


@pytest.mark.parametrize(
    "item",
    [
        {},
        [],
        1,
        {"policy": {"id": "b", "cedar": ALLOW}},
        {**POLICY, "owner": "other"},
        {**POLICY, "schema": {"text": ""}},
        {"policy": {"id": "a", "cedar": ALLOW, "unknown": 1}},
        {"policy": {"id": "a", "cedar": 1}},
        {"policy": {"id": "a", "cedar": ALLOW, "description": ""}},
        {"policy": {"id": "a", "cedar": ALLOW, "layer": 3}},
        b'{"policy":{"cedar":"x","id":"a","id":"a"}}',
        b'{"policy": {"cedar":"x","id":"a"}}',
        b'{"policy":{"cedar":"\\u0078","id":"a"}}',
        b'{"policy":{"cedar":"\\ud800","id":"a"}}',
        b"\xff",
        b"[" * 100_000,
        b"NaN",
        b"9" * 10_000,
    ],
)
def test_an_item_is_written_in_the_one_way_there_is(item: object) -> None:
    assert reason(lambda: unpack(rewritten(lambda it: None, item))) == "BUNDLE_MALFORMED"


def test_manifest_and_signature_are_written_in_the_one_way_there_is() -> None:
    first, *rest = packed(key=None).split(b"\n")
    *others, last, end = packed().split(b"\n")
    spaced = [
        b"\n".join([first.replace(b'":', b'": ', 1), *rest]),
        b"\n".join([*others, last.replace(b'":', b'": ', 1), end]),
        b"\n".join([*others, last.replace(b'{"k', b'{"keyid":"","k', 1), end]),
    ]

    assert [reason(lambda data=data: unpack(data)) for data in spaced] == ["BUNDLE_MALFORMED"] * 3  # type: ignore[misc]


def test_what_is_too_large_is_refused_unread() -> None:
    assert reason(lambda: unpack(b"\n" * (MAX_ENTRIES + 3))) == "BUNDLE_TOO_LARGE"
    assert reason(lambda: unpack(b" " * (MAX_BYTES + 1))) == "BUNDLE_TOO_LARGE"


def test_bundles_that_are_not_signed_need_no_cryptography() -> None:
    script = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from placet import Schema, bundles\n"
        "data = bundles.pack([Schema('entity U;')], tenant=None)\n"
        "assert len(bundles.unpack(data).bodies) == 1\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
