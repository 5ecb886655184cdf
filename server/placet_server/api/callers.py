"""Who calls, as far as a call says so.

Until callers have certificates or tokens, they say themselves who they are, in the metadata
`placet-actor` and `placet-groups`. A node that others can reach must not rest on that alone: it
listens on this machine only, unless its configuration says that its network is to be trusted.
"""

from __future__ import annotations

from typing import Any

import grpc

from placet.wire import Reader
from placet_server.rollouts.controller import Caller

ACTOR = "placet-actor"
GROUPS = "placet-groups"

_MAX_NAME_CHARS = 256
_MAX_GROUPS = 100


def caller_of(context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
    """Return who calls.

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
