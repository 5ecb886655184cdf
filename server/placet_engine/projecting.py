"""What of a request can have a part in its verdict, and nothing else.

As bytes that nobody reads: what matters is only that different things have different bytes, and
that they are made quickly.
"""

from __future__ import annotations

import json
import marshal
from collections.abc import Mapping

from placet_engine.model import Attributes, Entity, Request, Value
from placet_engine.reads import Reads
from placet_engine.slices import Slice


def whole(request: Request) -> bytes:
    """Return all of a request."""
    return _encode(
        (
            (*request.subject, *request.action, *request.resource),
            request.context,
            [
                (*entity.uid, entity.attributes, entity.tags, _parents(entity))
                for entity in request.entities
            ],
            request.approved,
        )
    )


def project(request: Request, chosen: Slice) -> bytes | None:
    """Return all that the verdict by the policies of a slice can depend on.

    The slice stands for what scopes look at: it holds exactly the policies whose scope matches.
    What their conditions look at is in the bytes. So requests with the same bytes get the same
    verdict from one program, and requests of different slices have different bytes.

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
    uids = [
        uid
        for name, uid in (
            ("principal", request.subject),
            ("action", request.action),
            ("resource", request.resource),
        )
        if name in variables
    ]
    return _encode(
        (chosen.serial, [tuple(uid) for uid in uids], context, entities, request.approved)
    )


def _encode(value: object) -> bytes:
    try:
        # From the third version on, bytes depend on who else refers to a value.
        return marshal.dumps(value, 2)  # type: ignore[arg-type]
    except ValueError:
        # A mapping that is no dict, say.
        return json.dumps(value, sort_keys=True, default=dict).encode()


def _projected(entity: Entity, reads: Reads) -> tuple[object, ...] | None:
    attributes = _kept(entity.attributes, reads.attributes)
    tags = entity.tags if reads.tags else _kept(entity.tags, frozenset())
    if attributes is None or tags is None:
        return None
    return *entity.uid, attributes, tags, _parents(entity)


def _parents(entity: Entity) -> list[tuple[str, ...]]:
    return [tuple(parent) for parent in entity.parents]


def _kept(values: Attributes, names: frozenset[str]) -> Attributes | None:
    """Return what has a name that counts; None if leaving out the rest could hide something."""
    if not values:
        return values
    kept = {name: values[name] for name in names if name in values}
    if len(kept) < len(values):
        for name, value in values.items():
            if name not in kept and not _is_plain(value):
                return None
    return kept


def _is_plain(value: Value) -> bool:
    """Whether a value is well formed whatever is in it."""
    if isinstance(value, str | int):
        return True
    if isinstance(value, Mapping):
        return "__extn" not in value and all(map(_is_plain, value.values()))
    return all(map(_is_plain, value))
