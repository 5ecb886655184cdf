"""What the SDK returns as JSON documents, for programs that read the command line's output.

Names are those of the SDK; enums are written by name, durations in seconds under ``..._s``, and
attribute values in Cedar's JSON form, in which they can be sent back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from placet import DecisionError, Entity, EntityRef
from placet._values import entity_to_wire
from placet.wire import Reader


def to_json(value: object) -> Any:
    """Return a value of the SDK as what ``json`` can write."""
    match value:
        case DecisionError():
            return error_to_json(value)
        case Entity():
            return entity_to_json(value)
        case EntityRef():
            return {"type": value.type, "id": value.id}
        case Enum():
            return value.name
        case timedelta():
            return value.total_seconds()
        case datetime():
            return value.isoformat()
        case bytes():
            return value.hex()
        case Mapping():
            return {str(name): to_json(inner) for name, inner in value.items()}
        case list() | tuple():
            return [to_json(inner) for inner in value]
    return _fields(value) if dataclasses.is_dataclass(value) else value


def _fields(value: Any) -> dict[str, Any]:
    document = {}
    for spec in dataclasses.fields(value):
        inner = getattr(value, spec.name)
        name = f"{spec.name}_s" if isinstance(inner, timedelta) else spec.name
        document[name] = to_json(inner)
    return document


def error_to_json(error: DecisionError) -> dict[str, Any]:
    """Return why something was not decided."""
    return {
        "outcome": None,
        "error": {"code": error.code, "reason": error.reason, "message": error.message}
        | ({"field": error.field} if error.field else {}),
    }


def entity_to_json(entity: Entity) -> dict[str, Any]:
    """Return an entity in Cedar's JSON form, attributes in order of name."""
    document = Reader().entity(entity_to_wire(entity, "entity"), "entity").to_json()
    return {
        name: dict(sorted(part.items())) if isinstance(part, dict) else part
        for name, part in document.items()
    }
