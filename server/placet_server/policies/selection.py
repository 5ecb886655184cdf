"""What of the store one subscriber gets: owners, kinds, ids. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from placet_engine.changes import Commit, ItemChange
from placet_engine.items import PLATFORM, TOPOLOGY, ItemKey, ItemKind, canonical_json


class Owners(Protocol):
    """Some tenants, and perhaps the platform."""

    def __contains__(self, owner: str, /) -> bool: ...

    @property
    def fingerprint(self) -> str:
        """Equal for equal ones; empty for all there are."""


class _All:
    def __contains__(self, owner: str, /) -> bool:
        return True

    @property
    def fingerprint(self) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class Selection:
    """A subscriber's tenant and filter."""

    tenant: str
    """Empty: every owner."""
    id_patterns: tuple[str, ...] = ()
    """Ids, or prefixes that end in ``*``. Empty: all."""
    kinds: frozenset[ItemKind] = frozenset()
    """Empty: all."""
    visible: Owners = field(default_factory=_All)
    """What the subscriber may see of every owner's."""

    @property
    def fingerprint(self) -> str:
        """Equal for equal selections: a cursor is good for one of them only."""
        document = [self.tenant, sorted(self.id_patterns), sorted(self.kinds)]
        return hashlib.sha256(canonical_json(document)).hexdigest()[:16]

    def takes_owner(self, owner: str) -> bool:
        """Whether the owner's items concern the subscriber. The platform's concern everybody."""
        if owner == PLATFORM or self.tenant:
            return owner in (self.tenant, PLATFORM)
        return owner == TOPOLOGY or owner in self.visible

    def takes(self, key: ItemKey) -> bool:
        """Whether the filter lets an item through."""
        if self.kinds and key.kind not in self.kinds:
            return False
        if key.kind is ItemKind.PLACEMENT and key.id not in self.visible:
            return False
        if not self.id_patterns or key.kind not in (ItemKind.POLICY, ItemKind.TEMPLATE_LINK):
            return True
        return any(_matches(key.id, pattern) for pattern in self.id_patterns)

    def changes(self, commit: Commit) -> list[ItemChange]:
        """Return the changes of a commit that the filter lets through."""
        return [change for change in commit.changes if self.takes(change.key)]


def _matches(id_: str, pattern: str) -> bool:
    if pattern.endswith("*"):
        return id_.startswith(pattern[:-1])
    return id_ == pattern


def checksum_steps(changes: Iterable[ItemChange]) -> int:
    """Return what changes add to the checksum of a set they belong to."""
    return sum(change.checksum_step for change in changes)
