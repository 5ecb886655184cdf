"""How bundles are written and read: lines of canonical JSON.

The first line is the manifest, the last one has the signature, and each between is an item. Every
line is written in the one way there is, so that no byte can change unnoticed; what was signed is
compared as bytes, before it is read. ``docs/bundles.md`` says it for people.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from google.protobuf import json_format

from placet import _convert as convert
from placet import wire
from placet._decisions import Layer
from placet._errors import InvalidRequest
from placet._policies import (
    PLATFORM,
    ChangeSet,
    Item,
    ItemKey,
    ItemKind,
    Policy,
    Schema,
    TemplateLink,
    TenantSettings,
)
from placet._publishing import change_set_to_wire
from placet._values import Entity
from placet.bundles._contents import Body, Bundle, Entry, Manifest
from placet.bundles._keys import PublicKey, SigningKey
from placet.bundles._refusals import BundleRefused, malformed
from placet.v1 import policy_pb2

MAX_BYTES = 64 * 1024 * 1024
"""How large a bundle may be."""
MAX_ENTRIES = wire.LIMITS.max_change_items + 2
"""How many items it may have: what one publish takes, a schema, and settings."""

_FORMAT = "placet-bundle"
_VERSION = 1
_PAYLOAD_TYPE = b"application/vnd.placet.bundle+json"


def pack(
    bodies: Iterable[Body],
    *,
    tenant: str | None,
    revision: int = 0,
    store_id: str = "",
    created: datetime | None = None,
    source: str = "",
    key: SigningKey | None = None,
) -> bytes:
    """Return a bundle as a file has it, signed if a key is given.

    Args:
        bodies: policies, links, entities, schema and settings, each once, in any order.
        tenant: whose; ``placet.PLATFORM``, or None for any tenant.
        revision: of the tenant, if it is all the tenant had at that revision.
        store_id: of the store that counts the revision, where that is known.
        created: when, with time zone; cut to the second.
        source: where it comes from, in words.
        key: what to sign with.

    Raises:
        InvalidRequest: a body cannot be written, or is there twice, or there are too many.
    """
    named = sorted((_written(body, tenant) for body in bodies), key=lambda found: found[:2])
    names = [found[:2] for found in named]
    twice = next((one for one, next_ in pairwise(names) if one == next_), None)
    if twice is not None:
        raise InvalidRequest(f"{ItemKind(twice[0]).name.lower()} `{twice[1]}` is there twice")
    if len(named) > MAX_ENTRIES:
        raise InvalidRequest(f"{len(named)} items are more than the {MAX_ENTRIES} of a bundle")
    manifest = _canonical(
        {
            "format": _FORMAT,
            "version": _VERSION,
            "tenant": tenant,
            "revision": revision,
            "store_id": store_id,
            "created": created.astimezone(UTC).strftime(_TIME) if created is not None else None,
            "source": source,
            "entries": [
                {
                    "kind": ItemKind(kind).name.lower(),
                    "name": name,
                    "size": len(line),
                    "sha256": hashlib.sha256(line).hexdigest(),
                }
                for kind, name, line in named
            ],
        }
    )
    signatures = []
    if key is not None:
        signature = base64.b64encode(key.sign(_to_be_signed(manifest))).decode()
        signatures.append({"keyid": key.key_id, "sig": signature})
    lines = (manifest, *(line for _, _, line in named), _canonical({"signatures": signatures}))
    data = b"".join(line + b"\n" for line in lines)
    if len(data) > MAX_BYTES:
        raise InvalidRequest(f"{len(data)} bytes are more than the {MAX_BYTES} of a bundle")
    return data


_TIME = "%Y-%m-%dT%H:%M:%SZ"


def _written(body: Body, tenant: str | None) -> tuple[int, str, bytes]:
    """Return an item's kind, its name and its line."""
    if isinstance(body, Policy) and body.layer is Layer.UNSPECIFIED:
        # What a server would take it for, so that a folder and its copy on a server are the same.
        body = replace(body, layer=Layer.PLATFORM if tenant == PLATFORM else Layer.TENANT)
    written = change_set_to_wire(ChangeSet.of([body]))
    message = policy_pb2.Item()
    match body:
        case Policy():
            message.policy.CopyFrom(written.policies[0])
        case TemplateLink():
            message.template_link.CopyFrom(written.template_links[0])
        case Entity():
            message.entity.CopyFrom(written.entities[0])
        case Schema():
            message.schema.CopyFrom(written.schema)
        case TenantSettings():
            message.settings.CopyFrom(written.settings)
    key = Item(owner="", revision=0, digest=b"", body=body).key
    return key.kind.value, _name(key), _canonical(_to_json(message))


def _name(key: ItemKey) -> str:
    return str(key.entity) if key.entity is not None else key.id


def _to_json(message: policy_pb2.Item) -> dict[str, Any]:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def _canonical(document: object) -> bytes:
    """Write JSON in the one way a bundle has it: keys sorted, no white space, UTF-8."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def _to_be_signed(manifest: bytes) -> bytes:
    """Return what a signature is of: the pre-authentication encoding of DSSE."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE, len(manifest), manifest)


# --------------------------------------------------------------------------------- reading


def unpack(data: bytes) -> Bundle:
    """Read a bundle without asking who signed it.

    Raises:
        BundleRefused: it is none, or not whole.
    """
    manifest_line, item_lines, key_id, _ = _split(data)
    return _read(manifest_line, item_lines, key_id)


def verify(data: bytes, keys: Sequence[PublicKey]) -> Bundle:
    """Read a bundle that was signed with one of these keys; nothing is read before that is known.

    Raises:
        BundleRefused: it is none, is not whole, or was signed by nobody, by somebody else, or for
            something else.
    """
    manifest_line, item_lines, key_id, signature = _split(data)
    if not key_id:
        raise BundleRefused("the bundle is not signed", reason="BUNDLE_UNSIGNED")
    key = next((known for known in keys if known.key_id == key_id), None)
    if key is None:
        trusted = ", ".join(f"`{known.key_id}`" for known in keys) or "none"
        raise BundleRefused(
            f"the bundle is signed with key `{key_id}`, which is not trusted; trusted: {trusted}",
            reason="BUNDLE_KEY_UNKNOWN",
        )
    if not key.is_signed(_to_be_signed(manifest_line), signature):
        raise BundleRefused(
            f"the signature of key `{key_id}` is not of this bundle, which was changed after it "
            "was signed; get it again from where it was made",
            reason="BUNDLE_SIGNATURE_WRONG",
        )
    return _read(manifest_line, item_lines, key_id)


def _split(data: bytes) -> tuple[bytes, list[bytes], str, bytes]:
    """Return manifest, items, key id and signature, without reading more than the last."""
    if len(data) > MAX_BYTES:
        raise BundleRefused(
            f"a bundle has at most {MAX_BYTES} bytes, this has more", reason="BUNDLE_TOO_LARGE"
        )
    count = data.count(b"\n")
    if count > MAX_ENTRIES + 2:
        raise BundleRefused(
            f"a bundle has at most {MAX_ENTRIES} items, this has more", reason="BUNDLE_TOO_LARGE"
        )
    if count < 2 or not data.endswith(b"\n"):
        raise malformed("it is cut off, or something else")
    manifest_line, *item_lines, signature_line = data[:-1].split(b"\n")
    return manifest_line, item_lines, *_read_signature(signature_line, count)


def _read_signature(line: bytes, number: int) -> tuple[str, bytes]:
    document = _read_line(line, number)
    match document:
        case {"signatures": [], **rest} if not rest:
            return "", b""
        case {"signatures": [{"keyid": str(key_id), "sig": str(text), **more}], **rest} if not (
            more or rest
        ):
            try:
                signature = base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                signature = b""
            # Decoders let the last letter stand for several; this takes the one that is written.
            if key_id and signature and base64.b64encode(signature).decode() == text:
                return key_id, signature
    raise malformed(f"line {number} has no signature as bundles have it")


def _read_line(line: bytes, number: int) -> Any:
    """Read a line that is written in the one way there is."""
    try:
        document = json.loads(line)
        is_canonical = _canonical(document) == line
    except (ValueError, RecursionError):
        raise malformed(f"line {number} is not JSON") from None
    if not is_canonical:
        raise malformed(f"line {number} is not canonical JSON")
    return document


def _read(manifest_line: bytes, item_lines: list[bytes], key_id: str) -> Bundle:
    manifest = _read_manifest(manifest_line)
    if len(manifest.entries) != len(item_lines):
        raise malformed(f"it has {len(item_lines)} items, and lists {len(manifest.entries)}")
    for entry, line in zip(manifest.entries, item_lines, strict=True):
        if len(line) != entry.size or hashlib.sha256(line).hexdigest() != entry.sha256:
            raise BundleRefused(
                f"{entry.kind.name.lower()} `{entry.name}` is not what the manifest says: the "
                "bundle was changed, or damaged on its way",
                reason="BUNDLE_DAMAGED",
            )
    return Bundle(
        manifest=manifest,
        bodies=tuple(
            _read_item(line, number, entry)
            for number, (line, entry) in enumerate(
                zip(item_lines, manifest.entries, strict=True), start=2
            )
        ),
        key_id=key_id,
        digest=hashlib.sha256(manifest_line).hexdigest(),
    )


def _read_manifest(line: bytes) -> Manifest:
    document = _read_line(line, 1)
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise malformed("its first line is no manifest")
    version = document.get("version")
    if version != _VERSION or isinstance(version, bool):
        raise BundleRefused(
            f"the bundle is of version {str(version)[:20]} of the format, and this placet knows "
            f"version {_VERSION}; upgrade placet, or export with an older one",
            reason="BUNDLE_VERSION_UNKNOWN",
        )
    match document:
        case {
            "tenant": str() | None as tenant,
            "revision": int(revision),
            "store_id": str(store_id),
            "created": str() | None as created,
            "source": str(source),
            "entries": list(entries),
        } if len(document) == 8 and not isinstance(revision, bool) and revision >= 0:
            manifest = Manifest(
                tenant=tenant,
                revision=revision,
                store_id=store_id,
                created=_read_time(created),
                source=source,
                entries=tuple(map(_read_entry, entries)),
            )
        case _:
            raise malformed("its manifest has other fields")
    order = [(entry.kind.value, entry.name) for entry in manifest.entries]
    if any(one >= other for one, other in pairwise(order)):
        raise malformed("its entries are out of order, or one is there twice")
    return manifest


def _read_time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        read = datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    except ValueError:
        raise malformed("its manifest has another form of time") from None
    if read.strftime(_TIME) != text:
        raise malformed("its manifest has another form of time")
    return read


def _read_entry(document: object) -> Entry:
    match document:
        case {
            "kind": str(kind),
            "name": str(name),
            "size": int(size),
            "sha256": str(digest),
            **rest,
        } if kind in _KINDS and not isinstance(size, bool) and not rest:
            return Entry(kind=_KINDS[kind], name=name, size=size, sha256=digest)
    raise malformed("an entry of its manifest has other fields")


_KINDS = {kind.name.lower(): kind for kind in ItemKind if kind.is_content}


def _read_item(line: bytes, number: int, entry: Entry) -> Body:
    document = _read_line(line, number)
    message = policy_pb2.Item()
    try:
        json_format.ParseDict(document, message)
        is_canonical = _canonical(_to_json(message)) == line
    except (json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError):
        is_canonical = False
    item = convert.item(message) if is_canonical and len(document) == 1 else None
    if item is None:
        raise malformed(f"line {number} is no item that this placet knows")
    if (item.key.kind, _name(item.key)) != (entry.kind, entry.name):
        raise malformed(f"line {number} is another item than the manifest lists there")
    return item.body
