"""What is stored, both ways: what authors write, rollouts, and what operators set."""

from __future__ import annotations

from typing import Literal

from placet.v1 import policy_pb2
from placet.wire.durations import duration, seconds
from placet.wire.keys import key_to_wire, read_item_id, read_key
from placet.wire.limits import LIMITS
from placet.wire.placements import (
    node_settings_to_wire,
    placement_to_wire,
    read_node_settings,
    read_placement,
)
from placet.wire.positions import position_from_wire, position_to_wire
from placet.wire.reader import Reader
from placet.wire.refusals import Malformed, Violation
from placet.wire.rollouts import read_rollout, rollout_to_wire
from placet.wire.values import entity_to_wire, uid_to_wire
from placet_engine import model
from placet_engine.items import (
    PLATFORM_LAYERS,
    Body,
    CandidateEdits,
    Content,
    Item,
    NodeSettings,
    Placement,
    Policy,
    Revision,
    RolloutRecord,
    SchemaText,
    SchemaValidation,
    Settings,
    StoredEntity,
    TemplateLink,
)


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
        case RolloutRecord():
            message.rollout.CopyFrom(rollout_to_wire(item.body.rollout))
        case CandidateEdits():
            message.candidate.CopyFrom(_candidate_to_wire(item.body))
        case Placement():
            message.placement.CopyFrom(placement_to_wire(item.body))
        case NodeSettings():
            message.node_settings.CopyFrom(node_settings_to_wire(item.body))
    return message


def _candidate_to_wire(candidate: CandidateEdits) -> policy_pb2.CandidateEdits:
    message = policy_pb2.CandidateEdits(deletes=map(key_to_wire, candidate.deletes))
    for body in candidate.upserts:
        match body:
            case Policy():
                message.policies.append(_policy_to_wire(body))
            case TemplateLink():
                message.template_links.append(_link_to_wire(body))
            case StoredEntity():
                message.entities.append(entity_to_wire(body.entity))
            case SchemaText():
                message.schema.text = body.text
            case Settings():
                message.settings.CopyFrom(_settings_to_wire(body))
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
            body = read_policy(message.policy, reader, "policy", message.owner)
        case "template_link":
            body = read_link(message.template_link, reader, "template_link")
        case "entity":
            body = StoredEntity(reader.entity(message.entity, "entity"))
        case "schema":
            body = read_schema(message.schema, reader, "schema")
        case "settings":
            body = read_settings(message.settings, reader, "settings")
        case "rollout":
            body = RolloutRecord(read_rollout(message.rollout, reader, "rollout"))
        case "candidate":
            body = _read_candidate(message.candidate, reader, message.owner)
        case "placement":
            body = read_placement(message.placement, reader, "placement")
        case "node_settings":
            body = read_node_settings(message.node_settings, reader, "node_settings")
        case _:
            raise Malformed([Violation("body", "is of a kind this version does not know; upgrade")])
    reader.finish()
    return Item(message.owner, Revision(message.revision), body)


def _read_candidate(
    message: policy_pb2.CandidateEdits, reader: Reader, owner: str
) -> CandidateEdits:
    return CandidateEdits(
        upserts=tuple(read_contents(message, reader, "candidate", owner)),
        deletes=tuple(
            read_key(key, reader, f"candidate.deletes[{index}]")
            for index, key in enumerate(message.deletes)
        ),
    )


def read_contents(
    message: policy_pb2.ChangeSet | policy_pb2.CandidateEdits,
    reader: Reader,
    field: str,
    owner: str,
) -> list[Content]:
    """Read all that a message would write for an owner, kind by kind."""
    contents: list[Content] = [
        read_policy(policy, reader, f"{field}.policies[{index}]", owner)
        for index, policy in enumerate(message.policies)
    ]
    contents += (
        read_link(link, reader, f"{field}.template_links[{index}]")
        for index, link in enumerate(message.template_links)
    )
    contents += (
        StoredEntity(reader.entity(entity, f"{field}.entities[{index}]"))
        for index, entity in enumerate(message.entities)
    )
    if message.HasField("schema"):
        contents.append(read_schema(message.schema, reader, f"{field}.schema"))
    if message.HasField("settings"):
        contents.append(read_settings(message.settings, reader, f"{field}.settings"))
    return contents


def read_policy(message: policy_pb2.Policy, reader: Reader, field: str, owner: str) -> Policy:
    """Read a policy or template of an owner."""
    layer = model.Layer.TENANT if owner else model.Layer.PLATFORM
    if message.layer:
        layer = reader.choice(model.Layer, message.layer, f"{field}.layer", layer)
    if bool(owner) is (layer in PLATFORM_LAYERS):
        whose = "of the platform, publish them without a tenant" if owner else "of a tenant"
        reader.refuse(f"{field}.layer", f"is {layer.name}: such policies are {whose}")
    if (layer is model.Layer.JURISDICTION) is not bool(message.jurisdiction):
        reader.refuse(
            f"{field}.jurisdiction", "is for policies of layer JURISDICTION, and needed there"
        )
    if not message.cedar.strip():
        reader.refuse(f"{field}.cedar", "is missing; give the policy's text")
    elif len(message.cedar) > LIMITS.max_policy_chars:
        reader.refuse(f"{field}.cedar", f"is longer than {LIMITS.max_policy_chars} characters")
    return Policy(
        id=read_item_id(message.id, reader, f"{field}.id"),
        cedar=message.cedar,
        layer=layer,
        jurisdiction=message.jurisdiction,
        description=message.description,
        labels=dict(message.labels),
        position=position_from_wire(message.position),
    )


def read_link(message: policy_pb2.TemplateLink, reader: Reader, field: str) -> TemplateLink:
    """Read a template link."""

    def slot(name: Literal["principal", "resource"]) -> model.EntityUid | None:
        if not message.HasField(name):
            return None
        uid = message.principal if name == "principal" else message.resource
        return reader.uid(uid.type, uid.id, f"{field}.{name}")

    return TemplateLink(
        id=read_item_id(message.id, reader, f"{field}.id"),
        template_id=read_item_id(message.template_id, reader, f"{field}.template_id"),
        principal=slot("principal"),
        resource=slot("resource"),
    )


def read_schema(message: policy_pb2.Schema, reader: Reader, field: str) -> SchemaText:
    """Read a schema."""
    if not message.text.strip():
        reader.refuse(f"{field}.text", "is missing; to remove the schema, delete it")
    elif len(message.text) > LIMITS.max_schema_chars:
        reader.refuse(f"{field}.text", f"is longer than {LIMITS.max_schema_chars} characters")
    return SchemaText(message.text)


def read_settings(message: policy_pb2.TenantSettings, reader: Reader, field: str) -> Settings:
    """Read a tenant's settings."""
    validation = SchemaValidation.STRICT
    if message.schema_validation:
        validation = reader.choice(
            SchemaValidation,
            message.schema_validation,
            f"{field}.schema_validation",
            validation,
        )
    max_staleness_s = None
    if message.HasField("max_staleness"):
        max_staleness_s = seconds(message.max_staleness)
        if max_staleness_s <= 0:
            reader.refuse(f"{field}.max_staleness", "is not positive; leave it out for no bound")
    return Settings(
        schema_validation=validation,
        jurisdictions=tuple(message.jurisdictions),
        max_staleness_s=max_staleness_s,
        allow_empty_ids=message.allow_empty_ids,
    )
