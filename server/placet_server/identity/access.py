"""Who may do what: a TOML file of entries, each of which gives something to whom it matches.

::

    [[access]]
    names = ["spiffe://example.org/orders/*"]
    tenants = ["acme", "eu-*"]
    permissions = ["decide", "read"]

What an entry asks for has to hold all together: one of its names, one of its groups, and each of
its claims. What several entries give adds up. Nothing takes anything away.
"""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from placet_engine.items import PLATFORM
from placet_server.identity.permissions import Permission
from placet_server.identity.principals import Kind, Principal

_MAX_BYTES = 4 * 1024 * 1024


class AccessRefused(ValueError):
    """A file that says nothing clear about who may do what."""


@dataclass(frozen=True, slots=True)
class Patterns:
    """Names, and beginnings of names."""

    exact: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()

    @classmethod
    def of(cls, texts: Iterable[str]) -> Patterns:
        """Take texts that end in ``*`` for beginnings."""
        texts = frozenset(texts)
        prefixes = {text for text in texts if text.endswith("*")}
        return cls(texts - prefixes, tuple(sorted(text[:-1] for text in prefixes)))

    def __contains__(self, name: str) -> bool:
        return name in self.exact or name.startswith(self.prefixes)

    def __bool__(self) -> bool:
        return bool(self.exact or self.prefixes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry: whom it matches, and what it gives."""

    names: Patterns = Patterns()
    groups: Patterns = Patterns()
    claims: Mapping[str, Patterns] = field(default_factory=dict)
    kinds: frozenset[Kind]
    permissions: frozenset[Permission]
    tenants: Patterns
    tenants_claim: str = ""
    """Claim of the token that names further tenants."""
    platform: bool = False
    regions: frozenset[str] = frozenset()
    """Where data may go to, and nodes be. Empty: anywhere."""
    member_of: frozenset[str] = frozenset()
    """Groups that whom it matches is in."""

    def matches(self, principal: Principal) -> bool:
        """Whether a caller is one of those it is about."""
        return (
            principal.kind in self.kinds
            and (not self.names or principal.name in self.names)
            and (not self.groups or any(group in self.groups for group in principal.groups))
            and all(
                any(value in wanted for value in texts_of(principal.claims.get(claim)))
                for claim, wanted in self.claims.items()
            )
        )

    def is_good_in(self, region: str | None) -> bool:
        """Whether it gives anything for a region. None: the region does not matter."""
        return region is None or not self.regions or region in self.regions


@dataclass(frozen=True, slots=True)
class Reach:
    """For which tenants somebody may do something, and whether for the platform. Empty: none."""

    tenants: Patterns = Patterns()
    platform: bool = False

    def __contains__(self, owner: str) -> bool:
        return self.platform if owner == PLATFORM else owner in self.tenants

    def __bool__(self) -> bool:
        return self.platform or bool(self.tenants)

    @property
    def fingerprint(self) -> str:
        """Equal for equal ones; empty for every tenant."""
        if "" in self.tenants.prefixes:
            return ""
        named = "\0".join([*sorted(self.tenants.exact), "", *self.tenants.prefixes])
        return hashlib.sha256(named.encode()).hexdigest()[:16]


class Rights:
    """What one caller may do."""

    def __init__(self, principal: Principal, entries: Iterable[Entry]) -> None:
        self._given = [
            (entry, _tenants(entry, principal)) for entry in entries if entry.matches(principal)
        ]
        self._regions = frozenset().union(*(entry.regions for entry, _ in self._given))
        self._reaches: dict[tuple[Collection[Permission], str | None], Reach] = {}
        self.groups = principal.groups.union(*(entry.member_of for entry, _ in self._given))
        """The groups the caller is in: those it proved, and those it was given."""

    @property
    def are_any(self) -> bool:
        """Whether the caller may do anything at all."""
        return any(entry.permissions for entry, _ in self._given)

    def reach(self, permissions: frozenset[Permission], region: str | None = None) -> Reach:
        """Return for whom the caller has any one of some permissions.

        Args:
            permissions: as the table of rpcs has them.
            region: where data is to go to, or a node to be. None: it does not matter.
        """
        # Callers may name any region: what is not in the file is all the same.
        key = (permissions, region if region is None or region in self._regions else "")
        found = self._reaches.get(key)
        if found is None:
            found = self._reaches[key] = self._add_up(*key)
        return found

    def _add_up(self, permissions: Collection[Permission], region: str | None) -> Reach:
        given = [
            (entry, tenants)
            for entry, tenants in self._given
            if not entry.permissions.isdisjoint(permissions) and entry.is_good_in(region)
        ]
        exact = frozenset().union(*(tenants.exact for _, tenants in given))
        prefixes = {prefix for _, tenants in given for prefix in tenants.prefixes}
        return Reach(
            Patterns(exact, tuple(sorted(prefixes))), any(entry.platform for entry, _ in given)
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rights) and self._given == other._given

    __hash__ = None  # type: ignore[assignment]  # equal rights are for comparing, not for keys


def _tenants(entry: Entry, principal: Principal) -> Patterns:
    if not entry.tenants_claim:
        return entry.tenants
    claimed = frozenset(texts_of(principal.claims.get(entry.tenants_claim)))
    return Patterns(entry.tenants.exact | claimed, entry.tenants.prefixes)


def texts_of(claim: Any) -> tuple[str, ...]:
    """Return a claim's text, or its texts; of anything else, none."""
    if isinstance(claim, str):
        return (claim,)
    return tuple(text for text in claim if isinstance(text, str)) if isinstance(claim, list) else ()


@dataclass(frozen=True, slots=True)
class AccessList:
    """All entries of a file."""

    entries: tuple[Entry, ...]

    def rights(self, principal: Principal) -> Rights:
        """Return what a caller may do."""
        return Rights(principal, self.entries)


def read_access(path: Path) -> AccessList:
    """Read a file.

    Raises:
        AccessRefused: it cannot be read, or something in it is not clear.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AccessRefused(
            f"cannot read `{path}`: {error.strerror}; check identity.access"
        ) from error
    if len(data) > _MAX_BYTES:
        raise AccessRefused(f"`{path}` has more than {_MAX_BYTES} bytes")
    try:
        document = tomllib.loads(data.decode())
    except ValueError as error:
        raise AccessRefused(f"`{path}` is not valid TOML: {error}") from error
    listed = document.pop("access", None)
    if document or not isinstance(listed, list) or not listed:
        raise AccessRefused(
            f"`{path}` has to have entries, each under [[access]], and nothing else"
        )
    return AccessList(
        tuple(_entry(given, f"entry {n} of `{path}`") for n, given in enumerate(listed, 1))
    )


_KEYS = (
    *("names", "groups", "claims", "kind", "anonymous"),
    *("permissions", "tenants", "tenants_claim", "platform", "regions", "member_of"),
)
_WHOM = ("names", "groups", "claims", "anonymous")


def _entry(given: Any, where: str) -> Entry:
    if not isinstance(given, dict):
        raise AccessRefused(f"{where} is not under [[access]]")
    for key in given:
        if key not in _KEYS:
            close = difflib.get_close_matches(key, _KEYS, 1)
            hint = f"did you mean `{close[0]}`?" if close else f"use {', '.join(_KEYS)}"
            raise AccessRefused(f"{where} has `{key}`, which says nothing; {hint}")
    if not any(given.get(key) for key in _WHOM):
        raise AccessRefused(
            f'{where} does not say whom it is about; use {", ".join(_WHOM)}, or names = ["*"]'
        )
    return Entry(
        names=Patterns.of(_texts(given, "names", where)),
        groups=Patterns.of(_texts(given, "groups", where)),
        claims={
            claim: Patterns.of(_texts(given["claims"], claim, where))
            for claim in _record(given, "claims", where)
        },
        kinds=_kinds(given, where),
        permissions=frozenset(_permissions(given, where)),
        tenants=Patterns.of(_texts(given, "tenants", where)),
        tenants_claim=_text(given, "tenants_claim", where),
        platform=_truth(given, "platform", where),
        regions=frozenset(_texts(given, "regions", where)),
        member_of=frozenset(_texts(given, "member_of", where)),
    )


def _kinds(given: Mapping[str, Any], where: str) -> frozenset[Kind]:
    kind, known = _text(given, "kind", where), [Kind.CERTIFICATE, Kind.TOKEN]
    if _truth(given, "anonymous", where):
        if kind or any(given.get(key) for key in ("names", "groups", "claims")):
            raise AccessRefused(
                f"{where} is about callers who do not say who they are, and asks who they are"
            )
        return frozenset({Kind.ANONYMOUS})
    if kind and kind not in known:
        raise AccessRefused(f"{where} has the kind `{kind}`; use {' or '.join(known)}")
    return frozenset({Kind(kind)} if kind else known)


def _permissions(given: Mapping[str, Any], where: str) -> Iterable[Permission]:
    for text in _texts(given, "permissions", where):
        try:
            yield Permission(text)
        except ValueError:
            raise AccessRefused(
                f"{where} has the permission `{text}`; use {', '.join(Permission)}"
            ) from None


def _texts(given: Mapping[str, Any], key: str, where: str) -> list[str]:
    found = given.get(key, [])
    texts = [found] if isinstance(found, str) else found
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise AccessRefused(f"`{key}` of {where} is not a list of texts")
    for text in texts:
        if "*" in text[:-1]:
            raise AccessRefused(
                f"`{key}` of {where} has `{text}`; a `*` stands for the rest, at the end only"
            )
    return texts


def _text(given: Mapping[str, Any], key: str, where: str) -> str:
    found = given.get(key, "")
    if not isinstance(found, str):
        raise AccessRefused(f"`{key}` of {where} is not a text")
    return found


def _truth(given: Mapping[str, Any], key: str, where: str) -> bool:
    found = given.get(key, False)
    if not isinstance(found, bool):
        raise AccessRefused(f"`{key}` of {where} is neither true nor false")
    return found


def _record(given: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    found = given.get(key, {})
    if not isinstance(found, dict) or not all(found.values()):
        raise AccessRefused(f'`{key}` of {where} is not a table such as {{ department = ["it"] }}')
    return found
