"""What of a request can have a part in its verdict, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping

from placet_engine.model import Attributes, Entity, Request, Value
from placet_engine.reads import Reads
from placet_engine.slices import Slice


def whole(request: Request) -> str:
    """Return all of a request as text."""
    entities = [
        (entity.uid, entity.attributes, entity.tags, entity.parents) for entity in request.entities
    ]
    return _ENCODE(
        (
            request.subject,
            request.action,
            request.resource,
            request.context,
            entities,
            request.approved,
        )
    )


def project(request: Request, chosen: Slice) -> str | None:
    """Return as text all that the verdict by the policies of a slice can depend on.

    The slice stands for what scopes look at: it holds exactly the policies whose scope matches.
    What their conditions look at is in the text. So requests with the same text get the same
    verdict from one program, and requests of different slices have different texts.

    Returns None where an attribute nobody looks at could still make Cedar refuse the request: a
    value of an extension type need not be well formed.
    """
    reads = chosen.reads
    context: Attributes | None = request.context
    if context and "context" not in reads.variables:
        context = _kept(context, reads.context)
    if context is None:
        return None
    entities = [_projected(entity, reads) for entity in request.entities]
    if None in entities:
        return None
    variables = reads.variables
    return _ENCODE(
        (
            request.subject if "principal" in variables else 0,
            request.action if "action" in variables else 0,
            request.resource if "resource" in variables else 0,
            context,
            entities,
            request.approved,
            chosen.serial,
        )
    )


_ENCODE = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def _projected(entity: Entity, reads: Reads) -> tuple[object, ...] | None:
    attributes = _kept(entity.attributes, reads.attributes)
    tags = entity.tags if reads.tags else _kept(entity.tags, frozenset())
    if attributes is None or tags is None:
        return None
    return entity.uid, attributes, tags, entity.parents


def _kept(values: Attributes, names: frozenset[str]) -> Attributes | None:
    """Leave out what has no name that counts; None if that could hide something."""
    kept = {}
    for name, value in values.items():
        if name in names:
            kept[name] = value
        elif not _is_plain(value):
            return None
    return kept


def _is_plain(value: Value) -> bool:
    """Whether a value is well formed whatever is in it."""
    if isinstance(value, str | int):
        return True
    if isinstance(value, Mapping):
        return "__extn" not in value and all(map(_is_plain, value.values()))
    return all(map(_is_plain, value))
