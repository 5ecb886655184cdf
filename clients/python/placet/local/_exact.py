"""Tells requests apart as they were written, before anything is made of them."""

from __future__ import annotations

import marshal
from typing import Any

from placet._requests import Action, ActionLike, Resource, ResourceLike, Subject, SubjectLike
from placet._values import Attributes


def exact_key(
    subject: SubjectLike, action: ActionLike, resource: ResourceLike, context: Attributes | None
) -> bytes | None:
    """Return bytes that are equal only for requests that are written the same.

    None for what is not made of plain types only: it has to be read to be known.
    """
    parts = (_named(subject), _acted(action), _named(resource), context)
    if None in parts[:3]:
        return None
    try:
        # True and 1, a list and a tuple have different bytes. From the third version on, those of
        # one value depend on who else refers to it.
        return marshal.dumps(parts, 2)  # type: ignore[arg-type]
    except ValueError:
        return None


def _named(part: SubjectLike | ResourceLike) -> Any:
    if type(part) is tuple and len(part) == _PAIR:
        return part
    if isinstance(part, Subject | Resource):
        return part.type, part.id, part.properties
    return None


def _acted(action: ActionLike) -> Any:
    if type(action) is str:
        return action
    if isinstance(action, Action):
        return action.name, action.type, action.properties
    return None


_PAIR = 2
