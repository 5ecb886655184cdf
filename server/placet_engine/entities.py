"""The entities a program knows, and the part of them one request can reach."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from json.encoder import encode_basestring_ascii as _quoted
from typing import TYPE_CHECKING, TypeAlias

from placet_engine import native
from placet_engine.model import Attributes, Entity, EntityUid, Value

if TYPE_CHECKING:
    from placet_native import Stored

Reached: TypeAlias = "dict[EntityUid, Entity | None]"
"""Every entity that can be got at, and those that can be named but are not there."""


@dataclass(frozen=True, slots=True)
class EntitySlice:
    """Exactly the entities the policies can reach from one request, merged."""

    entities: tuple[Entity, ...]
    overrides: tuple[tuple[EntityUid, str], ...]
    """Request attributes that a stored attribute of another value overrode."""

    def to_json_text(self) -> str:
        """Return Cedar's entities document."""
        return to_json_text(self.entities)


def to_json_text(entities: Iterable[Entity]) -> str:
    """Return Cedar's entities document."""
    return f"[{','.join(map(entity_text, entities))}]"


def entity_text(entity: Entity) -> str:
    """Write what ``Entity.to_json`` says, in a third of the time."""
    parents = ",".join(map(_uid_text, entity.parents)) if entity.parents else ""
    attributes = _TO_JSON(entity.attributes) if entity.attributes else "{}"
    tags = f',"tags":{_TO_JSON(entity.tags)}' if entity.tags else ""
    return f'{{"uid":{_uid_text(entity.uid)},"attrs":{attributes},"parents":[{parents}]{tags}}}'


def _uid_text(uid: EntityUid) -> str:
    return f'{{"type":{_quoted(uid.type)},"id":{_quoted(uid.id)}}}'


_TO_JSON = json.JSONEncoder(default=dict).encode


class EntityGraph:
    """Stored entities, by uid. Immutable."""

    def __init__(self, entities: Iterable[Entity]) -> None:
        self._stored = {entity.uid: entity for entity in entities}

    def __len__(self) -> int:
        return len(self._stored)

    def __iter__(self) -> Iterator[Entity]:
        return iter(self._stored.values())

    @cached_property
    def native(self) -> Stored | None:
        """The same graph for the native path, if that is used."""
        return native.extension.Stored(self._stored) if native.extension is not None else None

    def changing(self, removed: Iterable[EntityUid], added: Iterable[Entity]) -> EntityGraph:
        """Return the graph without some entities and with others."""
        changed = EntityGraph(())
        changed._stored = dict(self._stored)  # our own kind
        for uid in removed:
            changed._stored.pop(uid, None)
        changed._stored.update((entity.uid, entity) for entity in added)
        return changed

    def has_cycle_through(self, uids: Iterable[EntityUid]) -> bool:
        """Whether one of some entities is its own ancestor."""
        merged = MergedEntities(self._stored, ())
        return any(uid in merged.ancestors(uid) for uid in uids)

    def merged_with(self, sent: Sequence[Entity]) -> MergedEntities:
        """Put a request's entities under the stored ones."""
        return MergedEntities(self._stored, sent)


class MergedEntities:
    """Stored entities with those of one request merged under them: what is stored wins."""

    def __init__(self, stored: Mapping[EntityUid, Entity], sent: Sequence[Entity]) -> None:
        self._stored = stored
        self._sent: dict[EntityUid, Entity] = {}
        for entity in sent:
            known = self._sent.get(entity.uid)
            self._sent[entity.uid] = entity if known is None else _merge(known, entity)[0]
        self._merged: dict[EntityUid, Entity] = {}
        self._overrides: dict[EntityUid, list[str]] = {}

    def get(self, uid: EntityUid) -> Entity | None:
        """Return an entity as policies see it."""
        stored, given = self._stored.get(uid), self._sent.get(uid)
        if stored is None or given is None:
            return stored or given
        merged = self._merged.get(uid)
        if merged is None:
            merged, self._overrides[uid] = _merge(stored, given)
            self._merged[uid] = merged
        return merged

    def ancestors(
        self, uid: EntityUid, more: Mapping[EntityUid, Sequence[EntityUid]] | None = None
    ) -> Sequence[EntityUid]:
        """Return what an entity is in, directly or not; itself only if it is its own ancestor.

        Args:
            uid: the entity.
            more: parents that entities have beside their own, as a schema gives actions.
        """
        entity = self.get(uid)
        if (entity is None or not entity.parents) and not more:
            return ()
        found: dict[EntityUid, None] = {}
        queue = [uid]
        while queue:
            entity = self.get(uid := queue.pop())
            parents = [] if entity is None else [*entity.parents]
            if more:
                parents.extend(more.get(uid, ()))
            queue.extend(parent for parent in parents if parent not in found)
            found.update(dict.fromkeys(parents))
        return tuple(found)

    def reach(self, starts: Iterable[EntityUid], *, goes_on: bool = True) -> Reached:
        """Follow references, from some entities, as far as they go.

        A policy gets at an entity's data only from the request's subject, action, resource and
        context, from entities it names itself, and on from their attributes, tags and parents.
        What those reach is what a decision needs; the rest cannot matter.

        Args:
            starts: where to begin.
            goes_on: whether attributes and tags are followed, and not only parents.
        """
        reached: Reached = {}
        queue = list(starts)
        while queue:
            uid = queue.pop()
            if uid in reached:
                continue
            entity = reached[uid] = self.get(uid)
            if entity is None:
                continue
            queue.extend(entity.parents)
            if goes_on:
                queue.extend(references(entity.attributes))
                queue.extend(references(entity.tags))
        return reached

    def slice(self, reached: Reached) -> EntitySlice:
        """Return what was reached, and where stored attributes overrode the request's."""
        entities = tuple(entity for entity in reached.values() if entity is not None)
        return EntitySlice(
            entities,
            tuple((uid, name) for uid in reached for name in self._overrides.get(uid, ())),
        )


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


def references(values: Attributes) -> list[EntityUid]:
    """Find the entities that attribute values refer to.

    With a schema, Cedar also takes ``{"type": ..., "id": ...}`` for a
    reference. A record that only looks like one adds an entity nobody reads.
    """
    found: list[EntityUid] = []
    stack: list[Value] = [value for value in values.values() if type(value) not in _PLAIN]
    while stack:
        value = stack.pop()
        if isinstance(value, Mapping):
            target = value.get("__entity", value)
            if isinstance(target, Mapping) and target.keys() == _UID_FIELDS:
                kind, name = target["type"], target["id"]
                if isinstance(kind, str) and isinstance(name, str):
                    found.append(EntityUid(kind, name))
            stack.extend(inner for inner in value.values() if type(inner) not in _PLAIN)
        elif isinstance(value, list | tuple):
            stack.extend(inner for inner in value if type(inner) not in _PLAIN)
    return found


# What most values are, and nothing is in.
_PLAIN = frozenset({str, int, bool})
_UID_FIELDS = {"type", "id"}
