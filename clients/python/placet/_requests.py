"""Requests as callers write them, and how they go onto the wire.

Wherever a subject or resource is asked for, a pair ``("User", "alice")`` or an
``EntityRef`` will do; an action may be just its name. A single text such as
``"User::alice"`` is refused: ids come from outside and may contain anything,
so that putting names together and taking them apart again is how one user
becomes another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from placet._errors import InvalidRequest
from placet._values import (
    Attributes,
    Entity,
    EntityRef,
    attributes_to_wire,
    entities_to_wire,
    pair,
    refusal,
    text_to_wire,
)
from placet.v1 import evaluate_service_pb2 as pb


@dataclass(frozen=True, slots=True)
class Subject:
    """Who asks, with attributes the caller knows. Stored ones of the same name win."""

    type: str
    id: str
    properties: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Action:
    """What the subject wants to do. The type is for actions in a namespace: ``Acme::Action``."""

    name: str
    type: str = ""
    properties: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Resource:
    """What the action is done to, with attributes the caller knows. Stored ones win."""

    type: str
    id: str
    properties: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """In a search, the part that is looked for: any entity of a type, or any action."""

    type: str = ""


SubjectLike: TypeAlias = Subject | EntityRef | tuple[str, str]
ActionLike: TypeAlias = Action | EntityRef | str
ResourceLike: TypeAlias = Resource | EntityRef | tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request out of several. In a batch, what it leaves out comes from the defaults."""

    subject: SubjectLike | None = None
    action: ActionLike | None = None
    resource: ResourceLike | None = None
    context: Attributes = field(default_factory=dict)
    entities: Sequence[Entity] = ()
    """Further entities the caller knows, merged under stored ones."""
    permit: str = ""
    """Leave to do exactly this action, given after an approval."""


class BatchSemantics(Enum):
    """When a batch may stop early."""

    EXECUTE_ALL = 1
    DENY_ON_FIRST_DENY = 2
    """Stop after the first item that is not allowed."""
    PERMIT_ON_FIRST_PERMIT = 3
    """Stop after the first item that is allowed."""


# ------------------------------------------------------------------------- onto the wire


def evaluate_request(
    tenant: str | None,
    subject: SubjectLike,
    action: ActionLike,
    resource: ResourceLike,
    context: Attributes | None = None,
    *,
    entities: Iterable[Entity] = (),
    permit: str = "",
    min_revision: int = 0,
) -> pb.EvaluateRequest:
    """Return one request as a message.

    Raises:
        InvalidRequest: part of it cannot be put on the wire. The server
            checks the rest.
    """
    return pb.EvaluateRequest(
        tenant=tenant_to_wire(tenant),
        subject=_subject(subject),
        action=_action(action),
        resource=_resource(resource),
        context=attributes_to_wire(context, "context") if context else None,
        entities=entities_to_wire(entities, "entities"),
        permit=text_to_wire(permit, "permit"),
        min_revision=_revision(min_revision),
    )


def whole_request(
    tenant: str | None, request: Request, *, min_revision: int = 0
) -> pb.EvaluateRequest:
    """Return a request that has no defaults to fall back on as a message."""
    if request.subject is None or request.action is None or request.resource is None:
        raise InvalidRequest(
            "`subject`, `action` and `resource` are needed; there are no defaults here",
            reason="REQUEST_MALFORMED",
        )
    return evaluate_request(
        tenant,
        request.subject,
        request.action,
        request.resource,
        request.context,
        entities=request.entities,
        permit=request.permit,
        min_revision=min_revision,
    )


def batch_request(
    tenant: str | None,
    items: Iterable[Request],
    *,
    subject: SubjectLike | None = None,
    action: ActionLike | None = None,
    resource: ResourceLike | None = None,
    context: Attributes | None = None,
    entities: Iterable[Entity] = (),
    semantics: BatchSemantics = BatchSemantics.EXECUTE_ALL,
    min_revision: int = 0,
) -> pb.EvaluateBatchRequest:
    """Return a batch as a message."""
    return pb.EvaluateBatchRequest(
        tenant=tenant_to_wire(tenant),
        subject=_subject(subject) if subject is not None else None,
        action=_action(action) if action is not None else None,
        resource=_resource(resource) if resource is not None else None,
        context=attributes_to_wire(context, "context") if context else None,
        entities=entities_to_wire(entities, "entities"),
        semantics=pb.BatchSemantics.ValueType(semantics.value),
        items=[_batch_item(item, f"items[{index}].") for index, item in enumerate(items)],
        min_revision=_revision(min_revision),
    )


def _batch_item(item: Request, prefix: str) -> pb.BatchItem:
    return pb.BatchItem(
        subject=_subject(item.subject, prefix) if item.subject is not None else None,
        action=_action(item.action, prefix) if item.action is not None else None,
        resource=_resource(item.resource, prefix) if item.resource is not None else None,
        context=attributes_to_wire(item.context, f"{prefix}context"),
        entities=entities_to_wire(item.entities, f"{prefix}entities"),
        permit=text_to_wire(item.permit, f"{prefix}permit"),
    )


def search_request(
    tenant: str | None,
    subject: SubjectLike | AnyOf,
    action: ActionLike | AnyOf,
    resource: ResourceLike | AnyOf,
    context: Attributes | None = None,
    *,
    entities: Iterable[Entity] = (),
    page_size: int = 0,
    min_revision: int = 0,
) -> pb.SearchRequest:
    """Return a search as a message; exactly one part is an ``AnyOf``."""
    parts = {
        pb.SEARCH_TARGET_SUBJECT: subject,
        pb.SEARCH_TARGET_ACTION: action,
        pb.SEARCH_TARGET_RESOURCE: resource,
    }
    targets = [target for target, part in parts.items() if isinstance(part, AnyOf)]
    if len(targets) != 1:
        raise InvalidRequest(
            f"{len(targets)} parts of the search are left open; pass `placet.AnyOf` for exactly "
            "one of `subject`, `action` and `resource`"
        )
    request = evaluate_request(
        tenant,
        Subject(subject.type, "") if isinstance(subject, AnyOf) else subject,
        Action("", action.type) if isinstance(action, AnyOf) else action,
        Resource(resource.type, "") if isinstance(resource, AnyOf) else resource,
        context,
        entities=entities,
        min_revision=min_revision,
    )
    return pb.SearchRequest(target=targets[0], request=request, page_size=page_size)


def tenant_to_wire(tenant: str | None) -> str:
    """Check that a tenant was given, to the call or to the client."""
    if tenant is None:
        raise refusal("tenant", "is missing; pass it to the call, or to the client for all calls")
    return text_to_wire(tenant, "tenant")


def _revision(revision: int) -> int:
    if not 0 <= revision < 2**63:
        raise refusal("min_revision", "is not a revision; pass what `publish` returned")
    return revision


def _subject(subject: SubjectLike, prefix: str = "") -> pb.Subject:
    field_ = f"{prefix}subject"
    if not isinstance(subject, Subject):
        type_, id_ = pair(subject, field_)
        return pb.Subject(type=type_, id=id_)
    return pb.Subject(
        type=text_to_wire(subject.type, f"{field_}.type"),
        id=text_to_wire(subject.id, f"{field_}.id"),
        properties=attributes_to_wire(subject.properties, f"{field_}.properties"),
    )


def _resource(resource: ResourceLike, prefix: str = "") -> pb.Resource:
    field_ = f"{prefix}resource"
    if not isinstance(resource, Resource):
        type_, id_ = pair(resource, field_)
        return pb.Resource(type=type_, id=id_)
    return pb.Resource(
        type=text_to_wire(resource.type, f"{field_}.type"),
        id=text_to_wire(resource.id, f"{field_}.id"),
        properties=attributes_to_wire(resource.properties, f"{field_}.properties"),
    )


def _action(action: ActionLike, prefix: str = "") -> pb.Action:
    field_ = f"{prefix}action"
    if isinstance(action, str):
        return pb.Action(name=text_to_wire(action, f"{field_}.name"))
    if not isinstance(action, Action):
        type_, name = pair(action, field_)
        return pb.Action(type=type_, name=name)
    return pb.Action(
        name=text_to_wire(action.name, f"{field_}.name"),
        type=text_to_wire(action.type, f"{field_}.type"),
        properties=attributes_to_wire(action.properties, f"{field_}.properties"),
    )


def stops_after(semantics: BatchSemantics, *, is_allowed: bool) -> bool:
    """Whether a batch ends with an item that came out like this."""
    match semantics:
        case BatchSemantics.DENY_ON_FIRST_DENY:
            return not is_allowed
        case BatchSemantics.PERMIT_ON_FIRST_PERMIT:
            return is_allowed
        case BatchSemantics.EXECUTE_ALL:
            return False
