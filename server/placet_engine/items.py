"""What a store keeps for a tenant: policies, links, entities, schema, settings, a rollout.

Beside tenants it keeps where they are placed, and what operators set of nodes.

Each item has a key, unique within its owner, and a digest over its canonical
form. Digests make two sets comparable without comparing what is in them.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any, NamedTuple, NewType, TypeAlias

from placet_engine.model import NOWHERE, Entity, EntityUid, Layer, Position
from placet_engine.placement.residency import ResidencyRule
from placet_engine.rollouts.plan import time_from_json, time_to_json
from placet_engine.rollouts.record import Rollout

Revision = NewType("Revision", int)
"""Ordered version of a store."""

NO_REVISION = Revision(0)
"""The empty store, and an owner nobody wrote to."""

PLATFORM = ""
"""The owner of what applies to every tenant."""

TOPOLOGY = ".topology"
"""The owner of placements and of nodes' settings. No tenant can be called that."""

PLATFORM_LAYERS = frozenset({Layer.PLATFORM, Layer.JURISDICTION})
"""Layers whose policies are the platform's; those of the others are a tenant's."""


class ItemKind(IntEnum):
    """What kind of thing an item is. Numbers are those of ``placet.v1.ItemKind``."""

    POLICY = 1
    TEMPLATE_LINK = 2
    ENTITY = 3
    SCHEMA = 4
    SETTINGS = 5
    ROLLOUT = 6
    """The owner's newest rollout: how far its candidate reaches, and how it ended."""
    CANDIDATE = 7
    """What the rollout under way would change."""
    PLACEMENT = 8
    """Where a tenant's data may be. The topology's, one for each tenant that was placed."""
    NODE_SETTINGS = 9
    """What was set of a node. The topology's, one for each node that anything was set of."""

    @property
    def is_content(self) -> bool:
        """Whether authors write it, and not rollouts or operators."""
        return self in _CONTENT


_CONTENT = (
    ItemKind.POLICY,
    ItemKind.TEMPLATE_LINK,
    ItemKind.ENTITY,
    ItemKind.SCHEMA,
    ItemKind.SETTINGS,
)


class ItemKey(NamedTuple):
    """The name of one item within its owner.

    For policies and links ``id`` is theirs; for entities ``type`` and ``id``
    are the uid's; for placements it is the tenant, and for nodes' settings the
    node. The others have neither, there is one of each.
    """

    kind: ItemKind
    id: str = ""
    type: str = ""

    def __str__(self) -> str:
        match self.kind:
            case ItemKind.ENTITY:
                return f"entity {EntityUid(self.type, self.id)}"
            case ItemKind.POLICY:
                return f"policy {self.id}"
            case ItemKind.TEMPLATE_LINK:
                return f"template link {self.id}"
            case ItemKind.PLACEMENT | ItemKind.NODE_SETTINGS:
                return f"{self.kind.name.lower().replace('_', ' ')} {self.id}"
            case _:
                return self.kind.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One Cedar policy or template, as its author wrote it."""

    id: str
    cedar: str
    layer: Layer = Layer.TENANT
    jurisdiction: str = ""
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    position: Position = NOWHERE

    @property
    def key(self) -> ItemKey:
        """Name of the item within its owner."""
        return ItemKey(ItemKind.POLICY, self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateLink:
    """A policy made of a template by filling its slots."""

    id: str
    template_id: str
    principal: EntityUid | None = None
    resource: EntityUid | None = None

    @property
    def key(self) -> ItemKey:
        """Name of the item within its owner."""
        return ItemKey(ItemKind.TEMPLATE_LINK, self.id)


@dataclass(frozen=True, slots=True)
class StoredEntity:
    """An entity the store keeps."""

    entity: Entity

    @property
    def key(self) -> ItemKey:
        """Name of the item within its owner."""
        return ItemKey(ItemKind.ENTITY, self.entity.uid.id, self.entity.uid.type)


@dataclass(frozen=True, slots=True)
class SchemaText:
    """A Cedar schema in either syntax."""

    text: str

    @property
    def key(self) -> ItemKey:
        """Name of the item within its owner."""
        return ItemKey(ItemKind.SCHEMA)


class SchemaValidation(IntEnum):
    """What publish does with policies the schema rejects. Numbers as on the wire."""

    STRICT = 1
    WARN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a tenant's requests are decided."""

    schema_validation: SchemaValidation = SchemaValidation.STRICT
    jurisdictions: tuple[str, ...] = ()
    max_staleness_s: float | None = None
    """A node that knows less than this refuses to decide."""
    allow_empty_ids: bool = False
    """Whether the empty string is an entity's id like any other. It mostly is
    a caller's missing value, and refused."""

    @property
    def key(self) -> ItemKey:
        """Name of the item within its owner."""
        return ItemKey(ItemKind.SETTINGS)


Content: TypeAlias = Policy | TemplateLink | StoredEntity | SchemaText | Settings
"""What authors write."""


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """The rollout an owner has under way, or the last one it had."""

    rollout: Rollout

    @property
    def key(self) -> ItemKey:
        """Name of the item within its owner."""
        return ROLLOUT_KEY


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateEdits:
    """What a rollout under way would change. There until it ends."""

    upserts: tuple[Content, ...] = ()
    deletes: tuple[ItemKey, ...] = ()

    @property
    def key(self) -> ItemKey:
        """Name of the item within its owner."""
        return CANDIDATE_KEY


ROLLOUT_KEY = ItemKey(ItemKind.ROLLOUT)
CANDIDATE_KEY = ItemKey(ItemKind.CANDIDATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a tenant's data may be and where its callers should go."""

    tenant: str
    rule: ResidencyRule = ResidencyRule.ANY
    home_region: str = ""
    """Where its resident records are kept. Empty: not said."""
    affinity_regions: tuple[str, ...] = ()
    """Where its callers go before they go to nearer regions, in order."""
    update_time: datetime.datetime | None = None
    """When it was written. With time zone."""

    @property
    def key(self) -> ItemKey:
        """Name of the item within its owner."""
        return ItemKey(ItemKind.PLACEMENT, self.tenant)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """What was set of a node, whoever it is told by. Outlasts the node's restarts."""

    node: str
    weight: int | None = None
    """Share of traffic relative to the other nodes of its region; None: as the node says."""
    draining: bool | None = None
    """Whether it is to take no new calls; None: as the node says."""

    @property
    def key(self) -> ItemKey:
        """Name of the item within its owner."""
        return ItemKey(ItemKind.NODE_SETTINGS, self.node)


Body: TypeAlias = Content | RolloutRecord | CandidateEdits | Placement | NodeSettings


@dataclass(frozen=True)
class Item:
    """One stored thing at the revision that wrote it."""

    owner: str
    revision: Revision
    body: Body = field(hash=False)

    @property
    def key(self) -> ItemKey:
        """Name of the item within its owner."""
        return self.body.key

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over owner, revision and the canonical form of the body."""
        document = [self.owner, int(self.revision), *self.key, body_to_json(self.body)]
        return hashlib.sha256(canonical_json(document)).digest()


def canonical_json(document: object) -> bytes:
    """Serialise to JSON with sorted keys and no white space, as UTF-8."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def body_to_json(body: Body) -> dict[str, object]:
    """Return the body as a JSON document: what stores write and digests cover.

    Fields without a value are left out, so that a field added later does not
    change the digests of items that do not use it.
    """
    document: dict[str, object]
    match body:
        case Policy():
            position = body.position
            document = {
                "id": body.id,
                "cedar": body.cedar,
                "layer": int(body.layer),
                "jurisdiction": body.jurisdiction or None,
                "description": body.description or None,
                "labels": dict(body.labels) or None,
                "position": [position.file, position.line, position.column]
                if position != NOWHERE
                else None,
            }
        case TemplateLink():
            document = {
                "id": body.id,
                "template_id": body.template_id,
                "principal": body.principal and body.principal.to_json(),
                "resource": body.resource and body.resource.to_json(),
            }
        case StoredEntity():
            document = body.entity.to_json()
        case SchemaText():
            document = {"text": body.text}
        case Settings():
            document = {
                "schema_validation": int(body.schema_validation),
                "jurisdictions": list(body.jurisdictions) or None,
                # `30` and `30.0` are one number of seconds, and have one digest.
                "max_staleness_s": body.max_staleness_s and float(body.max_staleness_s),
                "allow_empty_ids": body.allow_empty_ids or None,
            }
        case RolloutRecord():
            document = body.rollout.to_json()
        case CandidateEdits():
            document = {
                "upserts": [
                    [int(written.key.kind), body_to_json(written)] for written in body.upserts
                ],
                "deletes": [[int(key.kind), key.id, key.type] for key in body.deletes],
            }
        case Placement():
            document = {
                "tenant": body.tenant,
                "rule": int(body.rule),
                "home_region": body.home_region or None,
                "affinity_regions": list(body.affinity_regions) or None,
                "update_time": body.update_time and time_to_json(body.update_time),
            }
        case NodeSettings():
            document = {"node": body.node, "weight": body.weight, "draining": body.draining}
    return {name: value for name, value in document.items() if value is not None}


def is_same_body(one: Body, other: Body) -> bool:
    """Whether two bodies say the same. ``==`` does not: Python takes ``True`` for ``1``."""
    return one is other or (
        one.key == other.key
        and canonical_json(body_to_json(one)) == canonical_json(body_to_json(other))
    )


def body_from_json(kind: ItemKind, document: Mapping[str, Any]) -> Body:
    """Read what :func:`body_to_json` wrote for an item of that kind."""
    match kind:
        case ItemKind.POLICY:
            file, line, column = document.get("position", ("", 0, 0))
            return Policy(
                id=document["id"],
                cedar=document["cedar"],
                layer=Layer(document["layer"]),
                jurisdiction=document.get("jurisdiction", ""),
                description=document.get("description", ""),
                labels=document.get("labels", {}),
                position=Position(file=file, line=line, column=column),
            )
        case ItemKind.TEMPLATE_LINK:
            return TemplateLink(
                id=document["id"],
                template_id=document["template_id"],
                principal=_optional_uid(document.get("principal")),
                resource=_optional_uid(document.get("resource")),
            )
        case ItemKind.ENTITY:
            return StoredEntity(entity_from_json(document))
        case ItemKind.SCHEMA:
            return SchemaText(document["text"])
        case ItemKind.SETTINGS:
            return Settings(
                schema_validation=SchemaValidation(document["schema_validation"]),
                jurisdictions=tuple(document.get("jurisdictions", ())),
                max_staleness_s=document.get("max_staleness_s"),
                allow_empty_ids=document.get("allow_empty_ids", False),
            )
        case ItemKind.ROLLOUT:
            return RolloutRecord(Rollout.from_json(document))
        case ItemKind.CANDIDATE:
            return CandidateEdits(
                upserts=tuple(
                    _content_from_json(ItemKind(number), written)
                    for number, written in document["upserts"]
                ),
                deletes=tuple(
                    ItemKey(ItemKind(number), id_, type_)
                    for number, id_, type_ in document["deletes"]
                ),
            )
        case ItemKind.PLACEMENT:
            return Placement(
                tenant=document["tenant"],
                rule=ResidencyRule(document["rule"]),
                home_region=document.get("home_region", ""),
                affinity_regions=tuple(document.get("affinity_regions", ())),
                update_time=time_from_json(document.get("update_time")),
            )
        case ItemKind.NODE_SETTINGS:
            return NodeSettings(
                node=document["node"],
                weight=document.get("weight"),
                draining=document.get("draining"),
            )


def _content_from_json(kind: ItemKind, document: Mapping[str, Any]) -> Content:
    body = body_from_json(kind, document)
    if not isinstance(body, Policy | TemplateLink | StoredEntity | SchemaText | Settings):
        raise ValueError(f"a candidate that would change a {kind.name}")
    return body


def entity_from_json(document: Mapping[str, Any]) -> Entity:
    """Read an entity in Cedar's JSON form, as :meth:`Entity.to_json` writes it."""
    return Entity(
        uid=EntityUid(**document["uid"]),
        attributes=document["attrs"],
        parents=tuple(EntityUid(**parent) for parent in document["parents"]),
        tags=document.get("tags", {}),
    )


def _optional_uid(document: Mapping[str, str] | None) -> EntityUid | None:
    return EntityUid(**document) if document else None


def checksum(items: Iterable[Item]) -> int:
    """Sum the digests modulo 2**256: the checksum of a set of items.

    Addition makes it independent of order and cheap to carry forward: a
    change adds the new digest and takes the old one away. It guards against
    lost and repeated changes, not against an adversary; transport security
    does that.
    """
    return sum(int.from_bytes(item.digest) for item in items) % CHECKSUM_MODULUS


CHECKSUM_MODULUS = 1 << 256
