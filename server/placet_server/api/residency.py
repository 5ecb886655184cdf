"""Refuses calls about tenants whose data may not be on this node, whatever the call would do.

What asks the node's memory finds no such tenant there. This is for what goes to the store, or
keeps what it is given: it is refused before anything is done for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

from placet_server.api.rpcs import RPCS, Rpc
from placet_server.regions.directory import Directory

# Says where tenants are placed and where to go, which everybody may know who may ask.
_EXEMPT = "/placet.v1.TopologyService/"


class ResidencyGuard:
    """Looks at calls before they are handled.

    Args:
        directory: knows where tenants may be, and where their callers go.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def check(self, method: str, request: Message) -> None:
        """See that every tenant a request names may be on this node.

        Args:
            method: ``/package.Service/Method``.
            request: what was read.

        Raises:
            WrongRegion: one of them may not.
        """
        if method.startswith(_EXEMPT):
            return
        for tenant in _named(RPCS[method], request):
            self._directory.check(tenant)


def _named(rpc: Rpc, request: Message) -> Iterator[str]:
    yield rpc.tenant(request)
    for path in rpc.passed_over:
        yield from _texts(request, path.split("."))


def _texts(found: Any, path: list[str]) -> Iterator[str]:
    """Yield all texts at a path, through messages that are repeated and those that are not."""
    if not path:
        yield found
        return
    inner = getattr(found, path[0])
    is_one = isinstance(inner, str | Message)
    for each in (inner,) if is_one else inner:
        yield from _texts(each, path[1:])
