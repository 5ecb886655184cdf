"""Being one of the nodes: from when this one listens until it has stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from placet_engine.placement.nodes import Condition, Registration
from placet_server.clock import Clock
from placet_server.regions.announcing import Announcer, Registrar


class Joining:
    """Has a node among the others, whoever grants its lease.

    Args:
        registration: what the node is, without its address: that is known once it listens.
        registrar: grants its lease.
        clock: the time.
    """

    def __init__(self, registration: Registration, registrar: Registrar, clock: Clock) -> None:
        self.registration = registration
        """What the node is; with its address once it has joined."""
        self._granted_by = registrar
        self._clock = clock
        self._announcer: Announcer | None = None
        self.informed = asyncio.Event()
        """Set once it is known here which nodes there are, by others who knew."""

    @property
    def has_joined(self) -> bool:
        """Whether the others were ever told of the node."""
        return self._announcer is not None

    async def join(
        self,
        address: str,
        *,
        condition: Callable[[], Condition],
        follow: Callable[[bool], Awaitable[None]],
    ) -> None:
        """Be one of the nodes until cancelled.

        Args:
            address: where clients reach this one, ``host:port``. Empty: they cannot.
            condition: tells how it fares.
            follow: is called with whether it is to drain, whenever an operator says so.
        """
        self.registration = replace(self.registration, address=address)
        self._announcer = Announcer(
            registrar=self._granted_by, condition=condition, follow=follow, clock=self._clock
        )
        await self._announcer.run(self.registration)

    def drain(self) -> None:
        """Tell the others that this node has begun to stop."""
        if self._announcer is not None:
            self._announcer.drain()

    async def leave(self) -> None:
        """Tell them that it is gone. Not while :meth:`join` runs."""
        if self._announcer is not None:
            await self._announcer.leave()
