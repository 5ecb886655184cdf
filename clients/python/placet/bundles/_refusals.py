"""Why a bundle or a key is not taken."""

from __future__ import annotations

from placet._errors import PlacetError


class BundleRefused(PlacetError):
    """The bundle is not to be used.

    ``reason`` is one of ``BUNDLE_TOO_LARGE``, ``BUNDLE_MALFORMED``, ``BUNDLE_VERSION_UNKNOWN``,
    ``BUNDLE_DAMAGED`` (an entry is not what the manifest says), ``BUNDLE_UNSIGNED``,
    ``BUNDLE_KEY_UNKNOWN`` and ``BUNDLE_SIGNATURE_WRONG``.
    """


class KeyRefused(PlacetError):
    """What was given as a key is none."""


def malformed(what: str) -> BundleRefused:
    """Make the error for a bundle that is not written as bundles are."""
    return BundleRefused(
        f"this is no bundle as `placet bundle export` writes them: {what}",
        reason="BUNDLE_MALFORMED",
    )
