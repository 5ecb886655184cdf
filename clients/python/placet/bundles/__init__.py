"""Bundles: one file with all that a tenant has, for places where no connection leads.

    from placet import bundles

    pair = bundles.generate_keys()
    data = bundles.pack(bodies, tenant="acme", revision=7, key=bundles.SigningKey(pair.private_pem))

    bundle = bundles.verify(data, [bundles.PublicKey(pair.public_pem)])
    client.publish(bundle.change_set(), message=f"bundle {bundle.digest}")

What is in a bundle is believed after :func:`verify`, and only then. :func:`unpack` checks that it
is whole, which says nothing about who made it. The same content makes the same bytes.
``docs/bundles.md`` has the format. Signing and verifying need ``pip install 'placet[signing]'``.
"""

from __future__ import annotations

from placet.bundles._contents import Body, Bundle, Entry, Manifest
from placet.bundles._format import MAX_BYTES, MAX_ENTRIES, pack, unpack, verify
from placet.bundles._keys import KeyPair, PublicKey, SigningKey, generate_keys
from placet.bundles._refusals import BundleRefused, KeyRefused

__all__ = [
    "MAX_BYTES",
    "MAX_ENTRIES",
    "Body",
    "Bundle",
    "BundleRefused",
    "Entry",
    "KeyPair",
    "KeyRefused",
    "Manifest",
    "PublicKey",
    "SigningKey",
    "generate_keys",
    "pack",
    "unpack",
    "verify",
]
