"""Reading requests, alone and in batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from placet.v1 import evaluate_service_pb2, value_pb2
from placet.wire.limits import LIMITS
from placet.wire.reader import Reader
from placet.wire.refusals import Malformed, Violation
from placet_engine import model


def read_request(
    message: evaluate_service_pb2.EvaluateRequest, reader: Reader, prefix: str = ""
) -> model.Request:
    """Read a request, without its tenant."""
    subject = _subject(message.subject, reader, f"{prefix}subject")
    action = _action(message.action, reader, f"{prefix}action")
    resource = _subject(message.resource, reader, f"{prefix}resource")
    _refuse_permit(message.permit, reader, f"{prefix}permit")
    return model.Request(
        subject=subject[0],
        action=action[0],
        resource=resource[0],
        context=reader.attributes(message.context, f"{prefix}context"),
        entities=_entities(
            (subject, action, resource), reader.entities(message.entities, f"{prefix}entities")
        ),
    )


def shared_parts(message: evaluate_service_pb2.EvaluateBatchRequest) -> bytes:
    """Return bytes that are equal only for batches whose items share the same."""
    return evaluate_service_pb2.EvaluateRequest(
        subject=message.subject if message.HasField("subject") else None,
        action=message.action if message.HasField("action") else None,
        resource=message.resource if message.HasField("resource") else None,
        context=message.context,
        entities=message.entities,
    ).SerializeToString(deterministic=True)


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
        self._subject = _subject(message.subject, reader, "subject") if has("subject") else None
        self._action = _action(message.action, reader, "action") if has("action") else None
        self._resource = _subject(message.resource, reader, "resource") if has("resource") else None
        self._context = reader.attributes(message.context, "context")
        self._entities = reader.entities(message.entities, "entities")

    def request(self, item: evaluate_service_pb2.BatchItem, index: int) -> model.Request:
        """Read one item; what it leaves out is the batch's."""
        reader, field = self._reader, f"items[{index}]"
        subject = self._subject
        if subject is None or item.HasField("subject"):
            subject = _subject(item.subject, reader, f"{field}.subject")
        action = self._action
        if action is None or item.HasField("action"):
            action = _action(item.action, reader, f"{field}.action")
        resource = self._resource
        if resource is None or item.HasField("resource"):
            resource = _subject(item.resource, reader, f"{field}.resource")
        _refuse_permit(item.permit, reader, f"{field}.permit")
        return model.Request(
            subject=subject[0],
            action=action[0],
            resource=resource[0],
            context=self._merged_context(item, f"{field}.context"),
            entities=_entities(
                (subject, action, resource), self._merged_entities(item, f"{field}.entities")
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


_Part: TypeAlias = tuple[model.EntityUid, model.Entity | None]
"""A subject, action or resource: its name, and what came with it, if anything did."""


def _subject(
    part: evaluate_service_pb2.Subject | evaluate_service_pb2.Resource, reader: Reader, field: str
) -> _Part:
    return _described(reader.uid(part.type, part.id, field), part.properties, reader, field)


def _action(part: evaluate_service_pb2.Action, reader: Reader, field: str) -> _Part:
    uid = reader.uid(part.type or "Action", part.name, field, id_field="name")
    return _described(uid, part.properties, reader, field)


def _described(
    uid: model.EntityUid, properties: Mapping[str, value_pb2.Value], reader: Reader, field: str
) -> _Part:
    if not properties:
        return uid, None
    attributes = reader.attributes(properties, f"{field}.properties")
    return uid, model.Entity(uid=uid, attributes=attributes)


def _entities(parts: Iterable[_Part], others: Iterable[model.Entity]) -> tuple[model.Entity, ...]:
    """Return the entities of a request: its parts as far as they were described, and others."""
    return (*(entity for _, entity in parts if entity is not None), *others)


def _refuse_permit(permit: str, reader: Reader, field: str) -> None:
    if permit:
        reader.refuse(field, "is not one this server issued; leave it out")


def whole_item(shared: bytes, item: bytes) -> evaluate_service_pb2.EvaluateRequest:
    """Return the request that an item of a batch comes to.

    Args:
        shared: :func:`shared_parts` of the batch.
        item: the item's bytes.
    """
    request = evaluate_service_pb2.EvaluateRequest.FromString(shared)
    own = evaluate_service_pb2.BatchItem.FromString(item)
    for part in ("subject", "action", "resource"):
        if own.HasField(part):
            getattr(request, part).CopyFrom(getattr(own, part))
    for name, value in own.context.items():
        request.context[name].CopyFrom(value)
    entities = [*own.entities, *request.entities]
    del request.entities[:]
    request.entities.extend(entities)
    return request
