"""Between the wire and the engine: the one place that knows both.

Reading checks what it reads: a message that breaks a limit or leaves out what
is required raises :class:`Malformed` with every field that is wrong, before
any work is done on it. The server and local evaluation read with the same
code, so that they refuse the same requests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, TypeVar

from google.protobuf import duration_pb2

from placet.v1 import (
    decision_pb2,
    evaluate_service_pb2,
    policy_pb2,
    subscribe_service_pb2,
    value_pb2,
)
from placet_engine import model
from placet_engine.changes import ChangeSet, ItemChange
from placet_engine.items import (
    PLATFORM_LAYERS,
    Body,
    Item,
    ItemKey,
    ItemKind,
    Policy,
    Revision,
    SchemaText,
    SchemaValidation,
    Settings,
    StoredEntity,
    TemplateLink,
)

# ------------------------------------------------------------------------------- limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large a request may be. Documented in the protos; checked before any work."""

    max_depth: int = 24
    max_map_entries: int = 512
    max_set_elements: int = 4096
    max_string_chars: int = 65_536
    max_id_chars: int = 1024
    max_entities: int = 1000
    max_batch_items: int = 1000
    max_change_items: int = 10_000
    max_policy_chars: int = 100_000
    max_schema_chars: int = 1_000_000


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that is not as it has to be."""

    field: str
    message: str


class Malformed(ValueError):
    """A message that cannot be worked on, with everything that is wrong with it."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(f"`{bad.field}` {bad.message}" for bad in self.violations))


class _ValueRefused(Exception):
    """One value that is not as it has to be; ``path`` leads to it from where it was caught."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.message = message


# ------------------------------------------------------------------------------- values

_TYPE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:::[A-Za-z_][A-Za-z0-9_]*)*")
_EXTENSIONS = frozenset({"decimal", "ip", "datetime", "duration", "offset"})
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1


def value_from_wire(value: value_pb2.Value, depth: int = 1) -> model.Value:
    """Return a value in Cedar's JSON form."""
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return _checked_string(value.string_value)
    if kind == "int_value":
        return value.int_value
    if kind == "bool_value":
        return value.bool_value
    if depth >= LIMITS.max_depth:
        raise _ValueRefused("", f"is nested deeper than {LIMITS.max_depth} levels; flatten it")
    if kind == "set_value":
        return _elements_from_wire(value.set_value, depth)
    if kind == "record_value":
        return _fields_from_wire(value.record_value.fields, depth + 1)
    if kind == "entity_value":
        uid = value.entity_value
        if not _TYPE_NAME.fullmatch(uid.type):
            raise _ValueRefused(".entity_value.type", _type_refusal(uid.type))
        return {"__entity": {"type": uid.type, "id": _checked_string(uid.id)}}
    if kind == "extension_value":
        return _extension_from_wire(value.extension_value, depth)
    raise _ValueRefused("", "has no value; set one, or leave the attribute out")


def _checked_string(text: str) -> str:
    if len(text) > LIMITS.max_string_chars:
        raise _ValueRefused("", f"is longer than {LIMITS.max_string_chars} characters")
    return text


def _elements_from_wire(value: value_pb2.SetValue, depth: int) -> list[model.Value]:
    if len(value.elements) > LIMITS.max_set_elements:
        raise _ValueRefused("", f"has more than {LIMITS.max_set_elements} elements")
    elements = []
    for index, element in enumerate(value.elements):
        try:
            elements.append(value_from_wire(element, depth + 1))
        except _ValueRefused as refused:
            raise _ValueRefused(f"[{index}]{refused.path}", refused.message) from None
    return elements


def _fields_from_wire(
    fields: Mapping[str, value_pb2.Value], depth: int = 1
) -> dict[str, model.Value]:
    if len(fields) > LIMITS.max_map_entries:
        raise _ValueRefused("", f"has more than {LIMITS.max_map_entries} entries")
    values = {}
    for name, value in fields.items():
        if name in _RESERVED_NAMES:
            raise _ValueRefused(f".{name}", "is a name Cedar keeps for itself; choose another")
        try:
            values[name] = value_from_wire(value, depth)
        except _ValueRefused as refused:
            raise _ValueRefused(f".{name}{refused.path}", refused.message) from None
    return values


# Escapes of Cedar's JSON form: a record with such a key would be read as
# something else.
_RESERVED_NAMES = frozenset({"__entity", "__extn", "__expr"})


def _extension_from_wire(value: value_pb2.ExtensionValue, depth: int) -> model.Value:
    if value.function not in _EXTENSIONS:
        known = ", ".join(f"`{name}`" for name in sorted(_EXTENSIONS))
        raise _ValueRefused(".function", f"is `{value.function}`; use one of {known}")
    if value.function != "offset":
        return {"__extn": {"fn": value.function, "arg": _checked_string(value.argument)}}
    if len(value.arguments) != _OFFSET_ARGUMENTS:
        raise _ValueRefused(".arguments", "of `offset` are a datetime and a duration")
    arguments = [value_from_wire(argument, depth + 1) for argument in value.arguments]
    return {"__extn": {"fn": "offset", "args": arguments}}


_OFFSET_ARGUMENTS = 2


def value_to_wire(value: model.Value) -> value_pb2.Value:
    """Return a value in Cedar's JSON form as a message."""
    if isinstance(value, bool):
        return value_pb2.Value(bool_value=value)
    if isinstance(value, int):
        return value_pb2.Value(int_value=value)
    if isinstance(value, str):
        return value_pb2.Value(string_value=value)
    if isinstance(value, Mapping):
        entity, extension = value.get("__entity"), value.get("__extn")
        if isinstance(entity, Mapping):
            return value_pb2.Value(
                entity_value=value_pb2.EntityUid(type=str(entity["type"]), id=str(entity["id"]))
            )
        if isinstance(extension, Mapping):
            return value_pb2.Value(extension_value=_extension_to_wire(extension))
        return value_pb2.Value(record_value=value_pb2.RecordValue(fields=attributes_to_wire(value)))
    return value_pb2.Value(
        set_value=value_pb2.SetValue(elements=[value_to_wire(element) for element in value])
    )


def _extension_to_wire(extension: Mapping[str, model.Value]) -> value_pb2.ExtensionValue:
    arguments = extension.get("args", ())
    return value_pb2.ExtensionValue(
        function=str(extension["fn"]),
        argument=str(extension.get("arg", "")),
        arguments=map(value_to_wire, arguments if isinstance(arguments, Sequence) else ()),
    )


def attributes_to_wire(attributes: model.Attributes) -> dict[str, value_pb2.Value]:
    """Return named values as messages."""
    return {name: value_to_wire(value) for name, value in attributes.items()}


def uid_to_wire(uid: model.EntityUid) -> value_pb2.EntityUid:
    """Return a uid as a message."""
    return value_pb2.EntityUid(type=uid.type, id=uid.id)


def entity_to_wire(entity: model.Entity) -> value_pb2.Entity:
    """Return an entity as a message."""
    return value_pb2.Entity(
        uid=uid_to_wire(entity.uid),
        attributes=attributes_to_wire(entity.attributes),
        parents=[uid_to_wire(parent) for parent in entity.parents],
        tags=attributes_to_wire(entity.tags),
    )


def _type_refusal(type_name: str) -> str:
    what = f"is `{type_name[:80]}`, which is no type name" if type_name else "is missing"
    return f"{what}; write it like `User` or `Acme::User`"


# ----------------------------------------------------------------------------- requests


class Reader:
    """Reads parts of one message and gathers everything that is wrong with it."""

    def __init__(self) -> None:
        self._violations: list[Violation] = []

    def refuse(self, field: str, message: str) -> None:
        """Note that a field is not as it has to be."""
        self._violations.append(Violation(field, message))

    def finish(self) -> None:
        """Raise :class:`Malformed` if anything was refused."""
        if self._violations:
            raise Malformed(self._violations)

    def tenant(self, tenant: str, *, field: str = "tenant", platform: bool = False) -> str:
        """Read the name of a tenant; empty only where the platform is meant by that."""
        if not tenant and not platform:
            self.refuse(field, "is missing; say whose policies decide")
        elif tenant and not _TENANT.fullmatch(tenant):
            self.refuse(
                field,
                f"is `{tenant[:80]}`; use 1 to 64 letters, digits and `._-`, none of these first",
            )
        return tenant

    def uid(self, type_name: str, id_: str, field: str, *, id_field: str = "id") -> model.EntityUid:
        """Read an entity's uid."""
        if not _TYPE_NAME.fullmatch(type_name):
            self.refuse(f"{field}.type", _type_refusal(type_name))
            return _NO_UID
        if len(id_) > LIMITS.max_id_chars:
            self.refuse(f"{field}.{id_field}", f"is longer than {LIMITS.max_id_chars} characters")
        return model.EntityUid(type_name, id_)

    def attributes(
        self, values: Mapping[str, value_pb2.Value], field: str
    ) -> dict[str, model.Value]:
        """Read named values."""
        if not values:
            return {}
        try:
            return _fields_from_wire(values)
        except _ValueRefused as refused:
            self.refuse(f"{field}{refused.path}", refused.message)
            return {}

    def entity(self, entity: value_pb2.Entity, field: str) -> model.Entity:
        """Read an entity."""
        return model.Entity(
            uid=self.uid(entity.uid.type, entity.uid.id, f"{field}.uid"),
            attributes=self.attributes(entity.attributes, f"{field}.attributes"),
            parents=tuple(
                self.uid(parent.type, parent.id, f"{field}.parents[{index}]")
                for index, parent in enumerate(entity.parents)
            ),
            tags=self.attributes(entity.tags, f"{field}.tags"),
        )

    def request(
        self, message: evaluate_service_pb2.EvaluateRequest, prefix: str = ""
    ) -> model.Request:
        """Read a request, without its tenant."""
        subject = self.subject(message.subject, f"{prefix}subject")
        action = self.action(message.action, f"{prefix}action")
        resource = self.subject(message.resource, f"{prefix}resource")
        self.permit(message.permit, f"{prefix}permit")
        return model.Request(
            subject=subject.uid,
            action=action.uid,
            resource=resource.uid,
            context=self.attributes(message.context, f"{prefix}context"),
            entities=(
                *_described(subject, action, resource),
                *self.entities(message.entities, f"{prefix}entities"),
            ),
        )

    def subject(
        self, part: evaluate_service_pb2.Subject | evaluate_service_pb2.Resource, field: str
    ) -> model.Entity:
        """Read a subject or a resource."""
        uid = self.uid(part.type, part.id, field)
        return model.Entity(uid=uid, attributes=self._properties(part.properties, field))

    def action(self, part: evaluate_service_pb2.Action, field: str) -> model.Entity:
        """Read an action."""
        uid = self.uid(part.type or "Action", part.name, field, id_field="name")
        return model.Entity(uid=uid, attributes=self._properties(part.properties, field))

    def _properties(
        self, properties: Mapping[str, value_pb2.Value], field: str
    ) -> dict[str, model.Value]:
        return self.attributes(properties, f"{field}.properties") if properties else {}

    def permit(self, permit: str, field: str) -> None:
        """Read a permit."""
        if permit:
            self.refuse(field, "is not one this server issued; leave it out")

    def entities(self, entities: Sequence[value_pb2.Entity], field: str) -> list[model.Entity]:
        """Read entities that came with a request."""
        if len(entities) > LIMITS.max_entities:
            self.refuse(field, f"has more than {LIMITS.max_entities} entries; send fewer")
            return []
        return [self.entity(entity, f"{field}[{index}]") for index, entity in enumerate(entities)]

    # ---------------------------------------------------------------------- change sets

    def change_set(self, message: policy_pb2.ChangeSet, *, owner: str) -> ChangeSet:
        """Read a change set for an owner."""
        count = (
            len(message.policies)
            + len(message.template_links)
            + len(message.entities)
            + len(message.deletes)
        )
        if count > LIMITS.max_change_items:
            self.refuse(
                "change_set", f"has {count} items; publish {LIMITS.max_change_items} at a time"
            )
            return ChangeSet()
        upserts: list[Body] = [
            self.policy(policy, f"change_set.policies[{index}]", owner)
            for index, policy in enumerate(message.policies)
        ]
        upserts += (
            self.link(link, f"change_set.template_links[{index}]")
            for index, link in enumerate(message.template_links)
        )
        upserts += (
            StoredEntity(self.entity(entity, f"change_set.entities[{index}]"))
            for index, entity in enumerate(message.entities)
        )
        if message.HasField("schema"):
            upserts.append(self.schema(message.schema, "change_set.schema"))
        if message.HasField("settings"):
            upserts.append(self.settings(message.settings, "change_set.settings"))
        return ChangeSet(
            upserts=tuple(upserts),
            deletes=tuple(
                self.key(key, f"change_set.deletes[{index}]")
                for index, key in enumerate(message.deletes)
            ),
            replace_all=message.replace_all,
        )

    def key(self, message: policy_pb2.ItemKey, field: str) -> ItemKey:
        """Read the key of an item."""
        kind = self.kind(message.kind, f"{field}.kind")
        if kind is ItemKind.ENTITY:
            uid = self.uid(message.entity.type, message.entity.id, f"{field}.entity")
            return ItemKey(kind, uid.id, uid.type)
        if kind in (ItemKind.POLICY, ItemKind.TEMPLATE_LINK):
            return ItemKey(kind, self._item_id(message.id, f"{field}.id"))
        return ItemKey(kind)

    def kind(self, number: int, field: str) -> ItemKind:
        """Read a kind of item."""
        return self.choice(ItemKind, number, field, ItemKind.POLICY)

    def choice(self, enum: type[_E], number: int, field: str, instead: _E) -> _E:
        """Read an enum that has to be one of those known here."""
        try:
            return enum(number)
        except ValueError:
            known = ", ".join(f"{member.name} ({member.value})" for member in enum)
            what = f"is {number}, which is not known" if number else "is not given"
            self.refuse(field, f"{what}; use one of {known}")
            return instead

    def policy(self, message: policy_pb2.Policy, field: str, owner: str) -> Policy:
        """Read a policy or template of an owner."""
        layer = model.Layer.TENANT if owner else model.Layer.PLATFORM
        if message.layer:
            layer = self.choice(model.Layer, message.layer, f"{field}.layer", layer)
        if bool(owner) is (layer in PLATFORM_LAYERS):
            whose = "of the platform, publish them without a tenant" if owner else "of a tenant"
            self.refuse(f"{field}.layer", f"is {layer.name}: such policies are {whose}")
        if (layer is model.Layer.JURISDICTION) is not bool(message.jurisdiction):
            self.refuse(
                f"{field}.jurisdiction", "is for policies of layer JURISDICTION, and needed there"
            )
        if not message.cedar.strip():
            self.refuse(f"{field}.cedar", "is missing; give the policy's text")
        elif len(message.cedar) > LIMITS.max_policy_chars:
            self.refuse(f"{field}.cedar", f"is longer than {LIMITS.max_policy_chars} characters")
        return Policy(
            id=self._item_id(message.id, f"{field}.id"),
            cedar=message.cedar,
            layer=layer,
            jurisdiction=message.jurisdiction,
            description=message.description,
            labels=dict(message.labels),
            position=position_from_wire(message.position),
        )

    def link(self, message: policy_pb2.TemplateLink, field: str) -> TemplateLink:
        """Read a template link."""

        def slot(name: Literal["principal", "resource"]) -> model.EntityUid | None:
            if not message.HasField(name):
                return None
            uid = message.principal if name == "principal" else message.resource
            return self.uid(uid.type, uid.id, f"{field}.{name}")

        return TemplateLink(
            id=self._item_id(message.id, f"{field}.id"),
            template_id=self._item_id(message.template_id, f"{field}.template_id"),
            principal=slot("principal"),
            resource=slot("resource"),
        )

    def schema(self, message: policy_pb2.Schema, field: str) -> SchemaText:
        """Read a schema."""
        if not message.text.strip():
            self.refuse(f"{field}.text", "is missing; to remove the schema, delete it")
        elif len(message.text) > LIMITS.max_schema_chars:
            self.refuse(f"{field}.text", f"is longer than {LIMITS.max_schema_chars} characters")
        return SchemaText(message.text)

    def settings(self, message: policy_pb2.TenantSettings, field: str) -> Settings:
        """Read a tenant's settings."""
        validation = SchemaValidation.STRICT
        if message.schema_validation:
            validation = self.choice(
                SchemaValidation,
                message.schema_validation,
                f"{field}.schema_validation",
                validation,
            )
        max_staleness_s = None
        if message.HasField("max_staleness"):
            max_staleness_s = seconds(message.max_staleness)
            if max_staleness_s <= 0:
                self.refuse(f"{field}.max_staleness", "is not positive; leave it out for no bound")
        return Settings(
            schema_validation=validation,
            jurisdictions=tuple(message.jurisdictions),
            max_staleness_s=max_staleness_s,
            allow_empty_ids=message.allow_empty_ids,
        )

    def _item_id(self, id_: str, field: str) -> str:
        if not _ITEM_ID.fullmatch(id_):
            what = f"is `{id_[:80]}`" if id_ else "is missing"
            self.refuse(field, f"{what}; use 1 to 256 letters, digits and `._-/:@#+`")
        return id_


def _described(*entities: model.Entity) -> Iterator[model.Entity]:
    """Go through the parts of a request that came with properties."""
    return (entity for entity in entities if entity.attributes)


class BatchReader:
    """Reads the requests of a batch. What they share is read once.

    Raises:
        Malformed: the batch has no items, or too many.
    """

    def __init__(self, message: evaluate_service_pb2.EvaluateBatchRequest, reader: Reader) -> None:
        count = len(message.items)
        if not 1 <= count <= LIMITS.max_batch_items:
            refusal = Violation("items", f"has {count} entries; send 1 to {LIMITS.max_batch_items}")
            raise Malformed([refusal])
        self._reader = reader
        reader.tenant(message.tenant)
        has = message.HasField
        self._subject = reader.subject(message.subject, "subject") if has("subject") else None
        self._action = reader.action(message.action, "action") if has("action") else None
        self._resource = reader.subject(message.resource, "resource") if has("resource") else None
        self._context = reader.attributes(message.context, "context")
        self._entities = reader.entities(message.entities, "entities")

    def request(self, item: evaluate_service_pb2.BatchItem, index: int) -> model.Request:
        """Read one item; what it leaves out is the batch's."""
        reader, field = self._reader, f"items[{index}]"
        subject = self._subject
        if subject is None or item.HasField("subject"):
            subject = reader.subject(item.subject, f"{field}.subject")
        action = self._action
        if action is None or item.HasField("action"):
            action = reader.action(item.action, f"{field}.action")
        resource = self._resource
        if resource is None or item.HasField("resource"):
            resource = reader.subject(item.resource, f"{field}.resource")
        reader.permit(item.permit, f"{field}.permit")
        return model.Request(
            subject=subject.uid,
            action=action.uid,
            resource=resource.uid,
            context=self._merged_context(item, f"{field}.context"),
            entities=(
                *_described(subject, action, resource),
                *self._merged_entities(item, f"{field}.entities"),
            ),
        )

    def _merged_context(
        self, item: evaluate_service_pb2.BatchItem, field: str
    ) -> Mapping[str, model.Value]:
        if not item.context:
            return self._context
        merged = {**self._context, **self._reader.attributes(item.context, field)}
        if len(merged) > LIMITS.max_map_entries:
            self._reader.refuse(field, f"has more than {LIMITS.max_map_entries} entries")
        return merged

    def _merged_entities(
        self, item: evaluate_service_pb2.BatchItem, field: str
    ) -> list[model.Entity]:
        if not item.entities:
            return self._entities
        if len(item.entities) + len(self._entities) > LIMITS.max_entities:
            self._reader.refuse(field, f"has more than {LIMITS.max_entities} entries; send fewer")
            return []
        return [*self._reader.entities(item.entities, field), *self._entities]


def shared_parts(message: evaluate_service_pb2.EvaluateBatchRequest) -> bytes:
    """Return bytes that are equal only for batches whose items share the same."""
    return evaluate_service_pb2.EvaluateRequest(
        subject=message.subject if message.HasField("subject") else None,
        action=message.action if message.HasField("action") else None,
        resource=message.resource if message.HasField("resource") else None,
        context=message.context,
        entities=message.entities,
    ).SerializeToString(deterministic=True)


_T = TypeVar("_T")
_E = TypeVar("_E", bound=IntEnum)
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ITEM_ID = re.compile(r"[A-Za-z0-9._/:@#+-]{1,256}")
_NO_UID = model.EntityUid("Unknown", "unknown")

# -------------------------------------------------------------------------------- items


def item_to_wire(item: Item) -> policy_pb2.Item:
    """Return a stored item as a message."""
    message = policy_pb2.Item(owner=item.owner, revision=item.revision, digest=item.digest)
    match item.body:
        case Policy():
            message.policy.CopyFrom(_policy_to_wire(item.body))
        case TemplateLink():
            message.template_link.CopyFrom(_link_to_wire(item.body))
        case StoredEntity():
            message.entity.CopyFrom(entity_to_wire(item.body.entity))
        case SchemaText():
            message.schema.text = item.body.text
        case Settings():
            message.settings.CopyFrom(_settings_to_wire(item.body))
    return message


def _policy_to_wire(policy: Policy) -> policy_pb2.Policy:
    message = policy_pb2.Policy(
        id=policy.id,
        layer=policy.layer.value,  # type: ignore[arg-type]  # the numbers are the wire's
        jurisdiction=policy.jurisdiction,
        cedar=policy.cedar,
        description=policy.description,
        labels=policy.labels,
    )
    if policy.position != model.NOWHERE:
        message.position.CopyFrom(position_to_wire(policy.position))
    return message


def _link_to_wire(link: TemplateLink) -> policy_pb2.TemplateLink:
    return policy_pb2.TemplateLink(
        id=link.id,
        template_id=link.template_id,
        principal=uid_to_wire(link.principal) if link.principal else None,
        resource=uid_to_wire(link.resource) if link.resource else None,
    )


def _settings_to_wire(settings: Settings) -> policy_pb2.TenantSettings:
    return policy_pb2.TenantSettings(
        schema_validation=settings.schema_validation.value,  # type: ignore[arg-type]
        jurisdictions=settings.jurisdictions,
        max_staleness=duration(settings.max_staleness_s)
        if settings.max_staleness_s is not None
        else None,
        allow_empty_ids=settings.allow_empty_ids,
    )


def item_from_wire(message: policy_pb2.Item) -> Item:
    """Read an item a server sent.

    Raises:
        Malformed: it is of a kind this version does not know, or not well formed.
    """
    reader = Reader()
    kind = message.WhichOneof("body")
    body: Body
    match kind:
        case "policy":
            body = reader.policy(message.policy, "policy", message.owner)
        case "template_link":
            body = reader.link(message.template_link, "template_link")
        case "entity":
            body = StoredEntity(reader.entity(message.entity, "entity"))
        case "schema":
            body = reader.schema(message.schema, "schema")
        case "settings":
            body = reader.settings(message.settings, "settings")
        case _:
            raise Malformed([Violation("body", "is of a kind this version does not know; upgrade")])
    reader.finish()
    return Item(message.owner, Revision(message.revision), body)


def key_to_wire(key: ItemKey) -> policy_pb2.ItemKey:
    """Return the key of an item as a message."""
    kind = key.kind.value
    if key.kind is ItemKind.ENTITY:
        uid = value_pb2.EntityUid(type=key.type, id=key.id)
        return policy_pb2.ItemKey(kind=kind, entity=uid)  # type: ignore[arg-type]
    return policy_pb2.ItemKey(kind=kind, id=key.id)  # type: ignore[arg-type]


def change_to_wire(owner: str, change: ItemChange) -> subscribe_service_pb2.Change:
    """Return one change of an owner's items as a message."""
    if change.after is not None:
        return subscribe_service_pb2.Change(upsert=item_to_wire(change.after))
    removal = subscribe_service_pb2.Removal(owner=owner, key=key_to_wire(change.key))
    return subscribe_service_pb2.Change(removal=removal)


def removal_from_wire(message: subscribe_service_pb2.Removal) -> tuple[str, ItemKey]:
    """Read which item of which owner is gone.

    Raises:
        Malformed: the key is not well formed.
    """
    reader = Reader()
    key = reader.key(message.key, "key")
    reader.finish()
    return message.owner, key


def position_to_wire(position: model.Position) -> evaluate_service_pb2.SourcePosition:
    """Return a place in a file as a message."""
    return evaluate_service_pb2.SourcePosition(
        file=position.file, line=position.line, column=position.column
    )


def position_from_wire(message: evaluate_service_pb2.SourcePosition) -> model.Position:
    """Read a place in a file; out of range means unknown."""
    return model.Position(
        file=message.file, line=max(message.line, 0), column=max(message.column, 0)
    )


def problem_to_wire(problem: model.Problem) -> policy_pb2.Problem:
    """Return a finding as a message."""
    return policy_pb2.Problem(
        severity=problem.severity.value,  # type: ignore[arg-type]
        reason=problem.reason,
        message=problem.message,
        field=problem.field,
        subject=problem.subject,
        position=position_to_wire(problem.position) if problem.position != model.NOWHERE else None,
    )


# ---------------------------------------------------------------------------- decisions


def verdict_to_wire(verdict: model.Verdict) -> decision_pb2.Decision:
    """Return what the engine says as a decision that nobody has put a name to yet."""
    message = decision_pb2.Decision(
        outcome=verdict.outcome.value,  # type: ignore[arg-type]
        cause=verdict.cause.value,  # type: ignore[arg-type]
        reasons=[_reason_to_wire(reason) for reason in verdict.reasons],
        obligations=verdict.obligations,
        errors=map(policy_error_to_wire, verdict.errors),
    )
    if verdict.approval_groups:
        message.approval.groups.extend(verdict.approval_groups)
    if verdict.log_only is not None:
        message.log_only.outcome = verdict.log_only.outcome.value  # type: ignore[assignment]
        message.log_only.reasons.extend(map(_reason_to_wire, verdict.log_only.reasons))
    return message


def policy_error_to_wire(error: model.PolicyError) -> decision_pb2.PolicyError:
    """Return a policy that failed as a message."""
    return decision_pb2.PolicyError(
        policy_id=error.policy_id,
        layer=error.layer.value,  # type: ignore[arg-type]
        message=error.message,
    )


def _reason_to_wire(reason: model.Reason) -> decision_pb2.Reason:
    return decision_pb2.Reason(
        policy_id=reason.policy_id,
        layer=reason.layer.value,  # type: ignore[arg-type]
        message=reason.message,
    )


def seconds(message: duration_pb2.Duration) -> float:
    """Return a duration in seconds."""
    return message.seconds + message.nanos / 1e9


def duration(seconds_: float) -> duration_pb2.Duration:
    """Return seconds as a duration, to the nanosecond."""
    nanos = round(seconds_ * 1e9)
    return duration_pb2.Duration(seconds=nanos // 10**9, nanos=nanos % 10**9)
