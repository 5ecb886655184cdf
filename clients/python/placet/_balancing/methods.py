"""What both drivers know of an rpc when a stub asks for it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from placet._balancing.attempts import Method

_DECISIONS = "/placet.v1.EvaluateService/"
_MOST_TOKENS = 256

Serializer: TypeAlias = "Callable[[Any], bytes] | None"
Deserializer: TypeAlias = "Callable[[bytes], Any] | None"


@dataclass(frozen=True, slots=True)
class Rpc:
    """An rpc, and how to make a multi-callable of it on any channel."""

    method: Method
    kind: str
    """``unary_unary`` and so on: what the channel calls it."""
    serializer: Serializer
    deserializer: Deserializer

    def on(self, channel: Any) -> Any:
        """Return the rpc on a channel."""
        return getattr(channel, self.kind)(
            self.method.path,
            request_serializer=self.serializer,
            response_deserializer=self.deserializer,
        )


def method_of(path: str, repeatable: frozenset[str]) -> Method:
    """Return what is known of an rpc by its path."""
    return Method(path, path in repeatable, path.startswith(_DECISIONS))


def tenant_of(request: Any) -> str:
    """Return whose call it is."""
    tenant = getattr(request, "tenant", "")
    if not isinstance(tenant, str):
        # Who places a tenant goes wherever placements are kept, not where the tenant is.
        return ""
    if not tenant and hasattr(request, "request"):
        # Explain has the whole request of an Evaluate in it.
        tenant = getattr(request.request, "tenant", "")
    return tenant


class PageHolders:
    """Who gave which page token.

    Any node can read it, and one that is a revision behind or ahead refuses it: so that the next
    page is best asked for where the last one came from.
    """

    def __init__(self) -> None:
        self._addresses: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, request: Any) -> str:
        """Return the address to ask for a page; empty if it does not matter."""
        token = getattr(request, "page_token", "")
        return self._addresses.get(token, "") if token else ""

    def note(self, response: Any, address: str) -> None:
        """Note whose page it is."""
        token = getattr(response, "next_page_token", "")
        if token:
            with self._lock:
                self._addresses[token] = address
                if len(self._addresses) > _MOST_TOKENS:
                    self._addresses.popitem(last=False)
