"""Which requests a policy's scope matches, in a form that an index can hold.

Of ``permit(principal in Group::"g", action == Action::"view", resource is Doc)`` the keys are "in
that group", "that action" and "of that type". A request is asked about under the keys it has: for
each of its entities anything, itself, its type, and all that it is in. A scope matches a request
exactly when the request has its keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from sys import intern
from typing import Any, NamedTuple, TypeAlias

from placet_engine.model import EntityUid


class Within(NamedTuple):
    """In an entity: it, or what has it among its ancestors (``in``, ``is ... in``)."""

    type: str | None
    """The type it has to be of, if any."""
    group_type: str
    group_id: str


Key: TypeAlias = "Within | EntityUid | str | None"
"""In an entity; one entity (``==``); any of a type (``is``); anything at all."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The keys of one policy: it is about requests that have one of each."""

    principal: Key
    actions: tuple[Key, ...]
    resource: Key


def scope_of(document: Mapping[str, Any]) -> Scope:
    """Read the scope of a policy in Cedar's JSON policy format.

    Open slots of a template are read as if they were not there.
    """
    return Scope(
        principal=_key(document["principal"]),
        actions=_action_keys(document["action"]),
        resource=_key(document["resource"]),
    )


def keys_of(uid: EntityUid, ancestors: Sequence[EntityUid]) -> tuple[Key, ...]:
    """Return the keys that an entity of a request has."""
    keys = _own_keys(uid)
    if ancestors:
        keys += tuple(Within(kind, *group) for group in ancestors for kind in (None, uid.type))
    return keys


def wider_keys(key: Key, ancestors: Sequence[EntityUid] = ()) -> tuple[Key, ...]:
    """Return the keys that every entity has that has this key, itself among them.

    Args:
        key: what is known of the entity.
        ancestors: what the entity that the key names is always in, if it names one.
    """
    match key:
        case EntityUid():
            return keys_of(key, ancestors)
        case Within(None, group_type, group_id):
            return (None, key, *(Within(None, *group) for group in ancestors))
        case Within(kind, group_type, group_id):
            above = (Within(each, *group) for group in ancestors for each in (None, kind))
            return (None, kind, key, Within(None, group_type, group_id), *above)
    return (None,) if key is None else (None, key)


@lru_cache(maxsize=8192)
def _own_keys(uid: EntityUid) -> tuple[Key, ...]:
    return (None, uid, uid.type, Within(None, *uid), Within(uid.type, *uid))


def forget() -> None:
    """Keep no object for those to come that are equal to it."""
    _own_keys.cache_clear()


def _key(constraint: dict[str, Any]) -> Key:
    entity = slot_holder(constraint).get("entity")
    named: str | None = constraint.get("entity_type")
    # A set has few types, and one object for each is enough.
    entity_type = intern(named) if named is not None else None
    if entity is None:
        return entity_type
    if constraint["op"] == "==":
        return EntityUid(intern(entity["type"]), entity["id"])
    return Within(entity_type, intern(entity["type"]), entity["id"])


def _action_keys(constraint: Mapping[str, Any]) -> tuple[Key, ...]:
    """Read ``action == X``, ``action in X`` and ``action in [X, Y]``."""
    if "entities" not in constraint:
        return (_key(dict(constraint)),)
    groups = constraint["entities"]
    return tuple(
        dict.fromkeys(Within(None, intern(group["type"]), group["id"]) for group in groups)
    )


def slot_holder(constraint: dict[str, Any]) -> dict[str, Any]:
    """Return where a constraint's entity or slot is: in itself, or in the ``in`` of an ``is``."""
    inner: dict[str, Any] = constraint.get("in", constraint)
    return inner
