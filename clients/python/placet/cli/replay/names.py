"""What policies are called, whoever speaks of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol


class Layered(Protocol):
    """A reason or an error, of the engine or of the SDK."""

    @property
    def policy_id(self) -> str: ...

    @property
    def layer(self) -> Named: ...


class Named(Protocol):
    """A member of an enum."""

    @property
    def name(self) -> str: ...


class PolicyName(NamedTuple):
    """A policy: two layers may have one of the same id."""

    layer: str
    policy_id: str


def names_of(about: Iterable[Layered]) -> tuple[PolicyName, ...]:
    """Return the policies that reasons or errors are about."""
    return tuple(PolicyName(each.layer.name, each.policy_id) for each in about)


def names_recorded(documents: Iterable[Mapping[str, Any]]) -> tuple[PolicyName, ...]:
    """Return the policies that part of a record names.

    Raises:
        KeyError, TypeError: it is not what it seems.
    """
    return tuple(PolicyName(each["layer"], each["policy_id"]) for each in documents)
