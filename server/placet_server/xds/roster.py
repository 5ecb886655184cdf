"""Who is connected to this node by xDS: bounded in number, woken by news, shown to people."""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from placet_server.errors import TooManyXdsClients
from placet_server.regions.audience import Audience
from placet_server.xds.clients import Client, Kind
from placet_server.xds.exchange import Exchange, Nack
from placet_server.xds.resources import Type

log = logging.getLogger(__name__)

_GATHERED_S = 0.02
"""So long after news clients are woken again only then: much that changes goes in one response."""
_REMEMBERED = 1000


@dataclass(slots=True, kw_only=True, eq=False)
class Session:
    """One client's stream."""

    client: Client
    exchange: Exchange
    peer: str
    """Where it calls from, as gRPC has it."""
    caller: str
    """Who it is; empty where nobody asks."""
    start_time: datetime.datetime
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there may be something to send."""


class Roster:
    """All clients of this node.

    Args:
        max_clients: how many streams there may be.
        audience: whose routes change, and who is told when the node is about to stop.
    """

    def __init__(self, *, max_clients: int, audience: Audience) -> None:
        self._max_clients = max_clients
        self._audience = audience
        self._streams = 0
        self._sessions: set[Session] = set()
        self._told: OrderedDict[tuple[str, str, Type, str], None] = OrderedDict()
        self.sent: Counter[Type] = Counter()
        """Responses, by type."""
        self.refused: Counter[tuple[Kind, Type]] = Counter()
        """Those that clients did not take over."""

    @property
    def sessions(self) -> Collection[Session]:
        """The clients that are connected and have said who they are."""
        return self._sessions

    def listed(self) -> list[Session]:
        """Return them in order of id; those of one id, first come first."""
        return sorted(self._sessions, key=lambda one: (one.client.id, one.start_time, one.peer))

    def counts(self) -> Counter[Kind]:
        """Return how many clients there are of each library."""
        return Counter(session.client.kind for session in list(self._sessions))

    @contextmanager
    def seat(self) -> Iterator[None]:
        """Have room for one stream for the length of a ``with`` block.

        Raises:
            TooManyXdsClients: there is none.
            Draining: the node is about to stop.
        """
        self._audience.check_staying()
        if self._streams >= self._max_clients:
            raise TooManyXdsClients(self._max_clients)
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    @contextmanager
    def known(self, session: Session) -> Iterator[None]:
        """Have a client on the list, and woken, for the length of a ``with`` block."""
        self._sessions.add(session)
        try:
            yield
        finally:
            self._sessions.discard(session)

    async def run(self) -> None:
        """Wake clients when there may be something for them, until cancelled."""
        routes = self._audience.routes
        while True:
            seen = routes.count
            for session in list(self._sessions):
                session.woken.set()
            await asyncio.sleep(_GATHERED_S)
            while not await routes.past(seen, _IDLE_S):
                pass

    def note_refusal(self, session: Session, nack: Nack) -> None:
        """Take note that a client did not take over what it was sent."""
        client = session.client
        self.refused[client.kind, nack.type] += 1
        # Who comes again and again with the same is told of once.
        key = (client.id, client.version, nack.type, nack.version)
        if key not in self._told:
            self._told[key] = None
            if len(self._told) > _REMEMBERED:
                self._told.popitem(last=False)
            log.error(
                "an xDS client refuses what it was sent, and goes on with what it has",
                extra={
                    "client": client.id,
                    "library": f"{client.agent} {client.version}",
                    "type": nack.type.name.lower(),
                    "version": nack.version,
                    "reason": nack.message[:_REASON_CHARS],
                },
            )


_IDLE_S = 3600.0
_REASON_CHARS = 2000
