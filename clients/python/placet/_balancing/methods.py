"""What both drivers have in common: what stubs ask of a channel, and what is known of an rpc."""

from __future__ import annotations

import random
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from placet._balancing.attempts import Call, Method
from placet._balancing.balancer import Balancer
from placet._balancing.endpoints import EndpointStatistics
from placet._balancing.links import Links
from placet._balancing.members import Member

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


class BalancedStubs(ABC):
    """A channel to stubs, and the endpoints behind it. Thread-safe."""

    def __init__(
        self,
        balancer: Balancer,
        links: Links,
        *,
        repeatable: frozenset[str],
        tenant: str,
        clock: Callable[[], float],
    ) -> None:
        """Begin without calls.

        Args:
            balancer: what is known of the fleet.
            links: the channels to its endpoints.
            repeatable: paths of the rpcs that may be made twice.
            tenant: whose calls those are that do not say.
            clock: a monotonic one, in seconds.
        """
        self.balancer = balancer
        self.links = links
        self.holders = PageHolders()
        self.clock = clock
        self._repeatable = repeatable
        self._tenant = tenant
        # Spreads pauses; nobody gains by guessing them.
        self._rng = random.Random()  # noqa: S311

    # ------------------------------------------------------------------- what stubs ask for

    def unary_unary(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        **_: Any,
    ) -> Any:
        """Return an rpc whose calls are balanced."""
        known = Method(method, method in self._repeatable, method.startswith(_DECISIONS))
        return self._unary(Rpc(known, "unary_unary", request_serializer, response_deserializer))

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        **_: Any,
    ) -> Any:
        """The same for one that answers with a stream, which stays where it begins."""
        # Nothing is lost with a stream that has not said anything.
        known = Method(method, is_repeatable=True, is_decision=False)
        return self._stream(Rpc(known, "unary_stream", request_serializer, response_deserializer))

    def stream_stream(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        **_: Any,
    ) -> Any:
        """The same for one that also takes a stream."""
        known = Method(method, is_repeatable=False, is_decision=False)
        return self._stream(Rpc(known, "stream_stream", request_serializer, response_deserializer))

    @abstractmethod
    def _unary(self, rpc: Rpc) -> Any: ...

    @abstractmethod
    def _stream(self, rpc: Rpc) -> Any: ...

    # -------------------------------------------------------------------- what drivers need

    def begin(self, rpc: Rpc, request: Any, timeout_s: float | None) -> Call:
        """Begin a call."""
        return Call(
            self.balancer,
            rpc.method,
            tenant_of(request) or self._tenant,
            self.clock() + timeout_s if timeout_s is not None else float("inf"),
            self._rng,
            holder=self.holders.of(request),
        )

    def at(self, member: Member, rpc: Rpc) -> Any:
        """Return an rpc at an endpoint."""
        link = self.links.to(member)
        bound = link.methods.get(rpc.method.path)
        if bound is None:
            bound = link.methods[rpc.method.path] = rpc.on(link.channel)
        return bound

    def is_hedged(self, rpc: Rpc) -> bool:
        """Return whether calls of an rpc may be asked of two at a time."""
        return rpc.method.is_decision and self.balancer.options.hedge_after_s is not None

    def statistics(self) -> tuple[EndpointStatistics, ...]:
        """Return what can be seen of every endpoint."""
        return self.balancer.statistics(self.clock())
