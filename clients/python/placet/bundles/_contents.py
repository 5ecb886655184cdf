"""What is in a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from placet._policies import PLATFORM, Body, ChangeSet, ItemKind

__all__ = ["Body", "Bundle", "Entry", "Manifest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One item of a bundle, as its manifest lists it."""

    kind: ItemKind
    name: str
    """Id of a policy or link, entity as Cedar writes it; empty for schema and settings."""
    size: int
    """In bytes, as written."""
    sha256: str
    """In hexadecimal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle says of itself, which is what is signed."""

    tenant: str | None
    """Whose content it is; ``placet.PLATFORM``, or None when it is for any tenant."""
    revision: int
    """The tenant's revision that it is a copy of; 0 when it comes from elsewhere."""
    store_id: str = ""
    """Of the store that counts the revision, where that is known."""
    created: datetime | None = None
    """To the second; None when nobody said."""
    source: str = ""
    """Where it comes from, in words: a commit, a folder."""
    entries: tuple[Entry, ...] = ()

    @property
    def owner_name(self) -> str:
        """Whose content it is, in words."""
        if self.tenant is None:
            return "any tenant"
        return "the platform" if self.tenant == PLATFORM else f"tenant `{self.tenant}`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle that was read."""

    manifest: Manifest
    bodies: tuple[Body, ...]
    """In the order of the manifest's entries."""
    key_id: str
    """Of the key that it says it was signed with; empty if it is not signed."""
    digest: str
    """SHA-256 of the manifest, which covers everything but the signature; in hexadecimal."""

    @property
    def is_whole(self) -> bool:
        """Whether it is all that a tenant had, and nothing else is to be there beside it."""
        return self.manifest.revision > 0

    def change_set(self) -> ChangeSet:
        """Return what to publish: the policies and links that it does not have go away."""
        return ChangeSet.of(self.bodies, replace_all=True)
