"""The entities a program knows, and the part of them one request can reach."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from placet_engine.model import Attributes, Entity, EntityUid, Request, Value


@dataclass(frozen=True, slots=True)
class EntitySlice:
    """Exactly the entities the policies can reach from one request, merged."""

    entities: tuple[Entity, ...]
    overrides: tuple[tuple[EntityUid, str], ...]
    """Request attributes that a stored attribute of another value overrode."""

    def to_json_text(self) -> str:
        """Return Cedar's entities document."""
        return json.dumps([entity.to_json() for entity in self.entities])


class EntityGraph:
    """Stored entities, by uid. Immutable."""

    def __init__(self, entities: Iterable[Entity]) -> None:
        self._stored = {entity.uid: entity for entity in entities}

    def __len__(self) -> int:
        return len(self._stored)

    def __iter__(self) -> Iterator[Entity]:
        return iter(self._stored.values())

    def slice(self, request: Request, literals: Iterable[EntityUid]) -> EntitySlice:
        """Cut out what ``request`` can reach, its own entities merged under the stored.

        A policy gets at an entity's data only from the request's subject,
        action, resource and context, from entities it names itself
        (``literals``), and on from their attributes, tags and parents. What
        that reaches is what a decision needs; the rest cannot matter.
        """
        sent: dict[EntityUid, Entity] = {}
        for entity in request.entities:
            known = sent.get(entity.uid)
            sent[entity.uid] = entity if known is None else _merge(known, entity)[0]
        reached: dict[EntityUid, Entity] = {}
        overrides: list[tuple[EntityUid, str]] = []
        queue = [request.subject, request.action, request.resource, *literals]
        queue.extend(_references(request.context))
        while queue:
            uid = queue.pop()
            if uid in reached:
                continue
            stored, given = self._stored.get(uid), sent.get(uid)
            if stored is None and given is None:
                continue
            if stored is not None and given is not None:
                entity, overridden = _merge(stored, given)
                overrides.extend((uid, name) for name in overridden)
            else:
                entity = stored or given  # type: ignore[assignment]
            reached[uid] = entity
            queue.extend(entity.parents)
            queue.extend(_references(entity.attributes))
            queue.extend(_references(entity.tags))
        return EntitySlice(tuple(reached.values()), tuple(overrides))


def _merge(strong: Entity, weak: Entity) -> tuple[Entity, list[str]]:
    """Merge two entities of one uid; return also which of the weak one's attributes lost."""
    merged = Entity(
        uid=strong.uid,
        attributes={**weak.attributes, **strong.attributes},
        parents=tuple(dict.fromkeys((*strong.parents, *weak.parents))),
        tags={**weak.tags, **strong.tags},
    )
    return merged, [*_lost(strong.attributes, weak.attributes), *_lost(strong.tags, weak.tags)]


def _lost(strong: Attributes, weak: Attributes) -> Iterator[str]:
    return (name for name, value in weak.items() if name in strong and strong[name] != value)


def _references(values: Attributes) -> Iterator[EntityUid]:
    """Find the entities that attribute values refer to.

    With a schema, Cedar also takes ``{"type": ..., "id": ...}`` for a
    reference. A record that only looks like one adds an entity nobody reads.
    """
    stack: list[Value] = list(values.values())
    while stack:
        value = stack.pop()
        if isinstance(value, Mapping):
            target = value.get("__entity", value)
            if isinstance(target, Mapping) and target.keys() == _UID_FIELDS:
                kind, name = target["type"], target["id"]
                if isinstance(kind, str) and isinstance(name, str):
                    yield EntityUid(kind, name)
            stack.extend(value.values())
        elif isinstance(value, list | tuple):
            stack.extend(value)


_UID_FIELDS = {"type", "id"}
