"""Who calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """How a caller proved who it is."""

    ANONYMOUS = "anonymous"
    """Not at all."""
    CERTIFICATE = "certificate"
    TOKEN = "token"  # noqa: S105  # a word, no secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A caller, as far as it proved who it is."""

    kind: Kind
    name: str = ""
    """SPIFFE id, DNS name or common name of a certificate; a claim of a token."""
    groups: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """All that a token says."""
    expires_s: float = float("inf")
    """When the proof ends to be good, as a Unix time in seconds."""

    def __str__(self) -> str:
        return f"`{self.name}`" if self.name else "who does not say who it is"


ANONYMOUS = Principal(kind=Kind.ANONYMOUS)
