"""Makes requests of decision records, to ask again. Needs none of what a server needs."""

from __future__ import annotations

from placet.v1 import evaluate_service_pb2, value_pb2
from placet.wire import attributes_to_wire
from placet_server.telemetry.decision_log.records import AskedRequest, DecisionRecord


def request_of(record: DecisionRecord) -> evaluate_service_pb2.EvaluateRequest:
    """Return the request of a record, to ask again.

    Masked values stay masked; what was masked as a whole is left out.
    """
    return request_of_asked(record.tenant, record)


def request_of_asked(
    tenant: str, asked: AskedRequest | DecisionRecord
) -> evaluate_service_pb2.EvaluateRequest:
    """Return the request that was asked, as :func:`request_of` does."""
    subject, action, resource = asked.subject, asked.action, asked.resource
    return evaluate_service_pb2.EvaluateRequest(
        tenant=tenant,
        subject=evaluate_service_pb2.Subject(
            type=subject.get("type", ""),
            id=subject.get("id", ""),
            properties=_values(subject.get("properties")),
        ),
        action=evaluate_service_pb2.Action(
            type=action.get("type", ""),
            name=action.get("name", ""),
            properties=_values(action.get("properties")),
        ),
        resource=evaluate_service_pb2.Resource(
            type=resource.get("type", ""),
            id=resource.get("id", ""),
            properties=_values(resource.get("properties")),
        ),
        context=_values(asked.context),
        entities=[
            value_pb2.Entity(
                uid=value_pb2.EntityUid(**entity["uid"]),
                attributes=_values(entity.get("attributes")),
                parents=[value_pb2.EntityUid(**parent) for parent in entity["parents"]],
                tags=_values(entity.get("tags")),
            )
            for entity in asked.entities
            if "uid" in entity
        ],
    )


def _values(attributes: object) -> dict[str, value_pb2.Value]:
    return attributes_to_wire(attributes) if isinstance(attributes, dict) else {}
