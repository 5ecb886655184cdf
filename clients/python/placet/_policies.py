"""What a tenant's policy set is made of, and the edits that change it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import TypeAlias

from placet._decisions import NOWHERE, Decision, Layer, Position
from placet._errors import DecisionError
from placet._rollouts import Rollout
from placet._topology import NodeSettings, Placement
from placet._values import Entity, EntityRef

PLATFORM = ""
"""Passed as ``tenant`` to manage the policies that apply to every tenant."""

TOPOLOGY = ".topology"
"""The owner of placements and of nodes' settings, which every tenant's subscription leaves out."""


class ItemKind(Enum):
    """What kind of thing an item is."""

    UNKNOWN = 0
    POLICY = 1
    TEMPLATE_LINK = 2
    ENTITY = 3
    SCHEMA = 4
    SETTINGS = 5
    ROLLOUT = 6
    """The newest rollout, under way or ended. Only rollouts write it."""
    CANDIDATE = 7
    """What the rollout under way would change. There until it ends."""
    PLACEMENT = 8
    """Where a tenant's data may be. Only placing a tenant writes it."""
    NODE_SETTINGS = 9
    """What was set of a node. Only updating a node writes it."""

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


@dataclass(frozen=True, slots=True)
class ItemKey:
    """The name of one item. Policies and links have an id, entities a name of their own.

    The id of a placement is the tenant's name, and that of a node's settings the node's.
    """

    kind: ItemKind
    id: str = ""
    entity: EntityRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One Cedar policy or template."""

    id: str
    """Unique among policies and links: 1 to 256 letters, digits and ``._-/:@#+``."""
    cedar: str
    layer: Layer = Layer.UNSPECIFIED
    """The tenant's own, or the platform's, when unspecified."""
    jurisdiction: str = ""
    """For ``Layer.JURISDICTION`` only: ``EU``, ``US``, ``APAC``."""
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    position: Position = NOWHERE
    """Where the text came from; kept for messages."""

    @property
    def key(self) -> ItemKey:
        """Name of the item."""
        return ItemKey(ItemKind.POLICY, self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateLink:
    """A policy made of a template by filling its slots."""

    id: str
    template_id: str
    principal: EntityRef | None = None
    resource: EntityRef | None = None

    @property
    def key(self) -> ItemKey:
        """Name of the item."""
        return ItemKey(ItemKind.TEMPLATE_LINK, self.id)


@dataclass(frozen=True, slots=True)
class Schema:
    """Entity types and actions that policies may speak of, in either Cedar syntax."""

    text: str

    @property
    def key(self) -> ItemKey:
        """Name of the item."""
        return ItemKey(ItemKind.SCHEMA)


class SchemaValidation(Enum):
    """What publish does with policies the schema rejects."""

    STRICT = 1
    """They are refused."""
    WARN = 2
    """They are published, with warnings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSettings:
    """How a tenant's requests are decided."""

    schema_validation: SchemaValidation = SchemaValidation.STRICT
    jurisdictions: tuple[str, ...] = ()
    """Whose layers apply: ``EU``, ``US``, ``APAC``."""
    max_staleness: timedelta | None = None
    """What knows less than this refuses to decide; no bound without."""
    allow_empty_ids: bool = False

    @property
    def key(self) -> ItemKey:
        """Name of the item."""
        return ItemKey(ItemKind.SETTINGS)


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateEdits:
    """What a rollout under way would change. The rest of the items are the stable revision's."""

    policies: tuple[Policy, ...] = ()
    template_links: tuple[TemplateLink, ...] = ()
    entities: tuple[Entity, ...] = ()
    schema: Schema | None = None
    settings: TenantSettings | None = None
    deletes: tuple[ItemKey, ...] = ()


Body: TypeAlias = (
    Policy
    | TemplateLink
    | Entity
    | Schema
    | TenantSettings
    | Rollout
    | CandidateEdits
    | Placement
    | NodeSettings
)


@dataclass(frozen=True, slots=True)
class Item:
    """One stored thing at the revision that wrote it."""

    owner: str
    """Tenant it belongs to; ``PLATFORM`` when it applies to all; ``TOPOLOGY`` for placements
    and nodes' settings."""
    revision: int
    digest: bytes
    """SHA-256 over its canonical form."""
    body: Body

    @property
    def key(self) -> ItemKey:
        """Name of the item within its owner."""
        match self.body:
            case Entity():
                return ItemKey(ItemKind.ENTITY, entity=self.body.uid)
            case Rollout():
                return ItemKey(ItemKind.ROLLOUT)
            case CandidateEdits():
                return ItemKey(ItemKind.CANDIDATE)
            case Placement():
                return ItemKey(ItemKind.PLACEMENT, self.body.tenant)
            case NodeSettings():
                return ItemKey(ItemKind.NODE_SETTINGS, self.body.node)
            case _:
                return self.body.key


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """Edits that take effect together or not at all. A key may occur in it once."""

    policies: Sequence[Policy] = ()
    template_links: Sequence[TemplateLink] = ()
    entities: Sequence[Entity] = ()
    schema: Schema | None = None
    settings: TenantSettings | None = None
    deletes: Sequence[ItemKey] = ()
    replace_all: bool = False
    """Remove every policy and link (and, where the change set has any, entity and
    schema) that it does not write: it is then the whole content."""

    @classmethod
    def of(cls, bodies: Iterable[Body], *, replace_all: bool = False) -> ChangeSet:
        """Return the edits that write these bodies, each where it belongs."""
        written = tuple(bodies)
        return cls(
            policies=tuple(body for body in written if isinstance(body, Policy)),
            template_links=tuple(body for body in written if isinstance(body, TemplateLink)),
            entities=tuple(body for body in written if isinstance(body, Entity)),
            schema=next((body for body in written if isinstance(body, Schema)), None),
            settings=next((body for body in written if isinstance(body, TenantSettings)), None),
            replace_all=replace_all,
        )


class Severity(Enum):
    """Whether a finding keeps a change set from being published."""

    UNKNOWN = 0
    ERROR = 1
    WARNING = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One finding about a change set."""

    severity: Severity
    reason: str
    """Stable upper-case identifier such as ``POLICY_SYNTAX``."""
    message: str
    field: str = ""
    """Path within the change set, such as ``policies[3].cedar``."""
    subject: str = ""
    """Id of the policy, or the entity as Cedar writes it."""
    position: Position = NOWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What a publish came to."""

    revision: int
    """Pass it as ``min_revision`` to read this write anywhere."""
    warnings: tuple[Problem, ...]
    upserts: int
    deletes: int
    rollout_id: str = ""
    """The rollout that brings the revision to nodes and subjects; empty when that was immediate."""


@dataclass(frozen=True, slots=True)
class StartedRollout:
    """What starting a rollout came to."""

    rollout: Rollout
    warnings: tuple[Problem, ...] = ()
    """Findings that did not stand in the way."""


@dataclass(frozen=True, slots=True)
class Validation:
    """Whether a change set could be published, and all findings about it."""

    valid: bool
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One line of a tenant's history."""

    revision: int
    owner: str
    time: datetime
    author: str
    message: str
    upserts: int
    deletes: int


@dataclass(frozen=True, slots=True)
class ItemDiff:
    """An item that differs: added without ``before``, removed without ``after``."""

    before: Item | None
    after: Item | None


@dataclass(frozen=True, slots=True)
class Diff:
    """The changes that lead from one revision to another."""

    from_revision: int
    to_revision: int
    items: tuple[ItemDiff, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateReport:
    """What requests came to against a tenant's set with a change set applied."""

    results: tuple[Decision | DecisionError, ...]
    warnings: tuple[Problem, ...]
    unmatched_policy_ids: tuple[str, ...]
    """Policies that matched no request."""
    revision: int
    """The revision the change set was applied to."""
