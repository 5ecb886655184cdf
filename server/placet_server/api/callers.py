"""Who does something, for the history and for approvals.

Callers who proved who they are, are that. Where nobody is asked for proof, callers say who they
are in the metadata `placet-actor` and `placet-groups`, and are believed.
"""

from __future__ import annotations

from typing import Any

import grpc

from placet.wire import Reader
from placet_server.api.identity import current_caller
from placet_server.errors import ActorDiffers
from placet_server.rollouts.controller import Caller

ACTOR = "placet-actor"
GROUPS = "placet-groups"

_MAX_NAME_CHARS = 256
_MAX_GROUPS = 100


def caller_of(context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
    """Return who calls.

    Raises:
        Malformed: a name is longer than names are.
        ActorDiffers: the call says that it is somebody else's than was proved.
    """
    said = _said(context)
    proved = current_caller()
    if proved is None:
        return said
    if said.name not in ("", proved.name):
        raise ActorDiffers(said.name, proved.name)
    if not said.groups <= proved.groups:
        raise ActorDiffers(", ".join(sorted(said.groups)), ", ".join(sorted(proved.groups)))
    return Caller(proved.name, proved.groups)


def _said(context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
    """Return who the metadata of a call says calls.

    Raises:
        Malformed: a name is longer than names are.
    """
    metadata = {str(key): value for key, value in context.invocation_metadata() or ()}
    reader = Reader()
    name, groups = _text(metadata.get(ACTOR)), _text(metadata.get(GROUPS))
    members = frozenset(group.strip() for group in groups.split(",") if group.strip())
    if len(name) > _MAX_NAME_CHARS or any(len(group) > _MAX_NAME_CHARS for group in members):
        reader.refuse(ACTOR, f"or one of `{GROUPS}` is longer than {_MAX_NAME_CHARS} characters")
    if len(members) > _MAX_GROUPS:
        reader.refuse(GROUPS, f"names more than {_MAX_GROUPS} groups")
    reader.finish()
    return Caller(name, members)


def _text(value: str | bytes | None) -> str:
    return value if isinstance(value, str) else ""
