"""What a policy folder holds, whoever's it is, and where each part of it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from placet import (
    ChangeSet,
    Entity,
    ItemKey,
    ItemKind,
    Layer,
    Policy,
    Position,
    Schema,
    TemplateLink,
    TenantSettings,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """What a policy folder holds."""

    policies: tuple[Policy, ...] = ()
    links: tuple[TemplateLink, ...] = ()
    entities: tuple[Entity, ...] = ()
    schema: Schema | None = None
    settings: TenantSettings | None = None
    places: Mapping[ItemKey, Position] = field(default_factory=dict)
    """Where each part stands."""
    lists_entities: bool = False
    """Whether there is a list of entities, be it an empty one; without, they are left to others."""
    indents: Mapping[str, int] = field(default_factory=dict)
    """By policy id, how far its text is indented where it stands."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to publish."""
        return not (self.policies or self.links or self.entities or self.schema or self.settings)

    def by_owner(self) -> tuple[Documents, Documents]:
        """Part what is the platform's, by the layers of policies, from what is a tenant's."""
        ids = {policy.id for policy in self.policies if policy.layer in _PLATFORM_LAYERS}
        platform = Documents(
            policies=tuple(policy for policy in self.policies if policy.id in ids),
            links=tuple(link for link in self.links if link.template_id in ids),
            places=self.places,
            indents=self.indents,
        )
        own = replace(
            self,
            policies=tuple(policy for policy in self.policies if policy.id not in ids),
            links=tuple(link for link in self.links if link.template_id not in ids),
        )
        return platform, own

    def under(self, extra: Documents) -> Documents:
        """Lay other documents over these: what they have as well, they replace."""
        brought = {entity.uid for entity in extra.entities}
        kept = tuple(entity for entity in self.entities if entity.uid not in brought)
        return Documents(
            policies=(*self.policies, *extra.policies),
            links=(*self.links, *extra.links),
            entities=(*kept, *extra.entities),
            schema=extra.schema or self.schema,
            settings=extra.settings or self.settings,
            lists_entities=self.lists_entities or extra.lists_entities,
            places={**self.places, **extra.places},
            indents={**self.indents, **extra.indents},
        )

    def at_field(self, path: str) -> Position | None:
        """Return where the part stands that a path of a change set leads to."""
        found = _FIELD.match(path)
        if found is None:
            return None
        group, index = found[1] or found[3], int(found[2] or 0)
        parts: Mapping[str, Sequence[Policy | TemplateLink | Entity]] = {
            "policies": self.policies,
            "template_links": self.links,
            "entities": self.entities,
        }
        if group not in parts:
            return self.places.get(ItemKey(_SINGLE[group]))
        if index >= len(parts[group]):
            return None
        return self.places.get(key_of(parts[group][index]))

    def change_set(self, *, replace_all: bool = False) -> ChangeSet:
        """Return what to publish."""
        return ChangeSet(
            policies=self.policies,
            template_links=self.links,
            entities=self.entities,
            schema=self.schema,
            settings=self.settings,
            replace_all=replace_all,
            replace_kinds=(ItemKind.ENTITY,) if replace_all and self.lists_entities else (),
        )

    def at_subject(self, subject: str) -> Position:
        """Return where the policy, link or entity of that name stands; nowhere if there is none."""
        for key, at in self.places.items():
            if subject and subject in (key.id, str(key.entity)):
                return at
        return Position()


def key_of(part: Policy | TemplateLink | Entity) -> ItemKey:
    """Return the key under which a part is stored."""
    return ItemKey(ItemKind.ENTITY, entity=part.uid) if isinstance(part, Entity) else part.key


_FIELD = re.compile(
    r"(?:change_set\.)?(?:(policies|template_links|entities)\[(\d+)\]|(schema|settings)\b)"
)
_SINGLE = {"schema": ItemKind.SCHEMA, "settings": ItemKind.SETTINGS}
_PLATFORM_LAYERS = (Layer.PLATFORM, Layer.JURISDICTION)
