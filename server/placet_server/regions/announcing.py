"""Keeps one node registered: registers, renews in time, and gives the lease back at the end.

It does so against whoever grants leases: the registry of the same process, in a control node, or
an upstream, in an edge node.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from placet_engine.placement.nodes import Condition, Registration
from placet_server.clock import Clock
from placet_server.errors import LeaseGone, NodeIdTaken, PlacetError
from placet_server.regions.leases import RENEWALS_A_LEASE
from placet_server.regions.registry import Granted, Registry

log = logging.getLogger(__name__)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """What a node is told when it renews."""

    lease_s: float
    draining: bool
    """The node is to drain, or to go on draining."""


class RegistrarAway(Exception):
    """Nobody is there who grants leases, now. Try again."""


class Registrar(Protocol):
    """Grants leases. Beside what is said, every method may raise ``RegistrarAway``."""

    async def register(self, registration: Registration) -> Granted:
        """Make a node known and give it a lease.

        Raises:
            NodeIdTaken: another instance holds the id's lease.
            PlacetError: the registration cannot be taken, and trying again will not help soon.
        """
        ...

    async def renew(
        self, id_: str, instance: str, condition: Condition, *, round_trip_s: float
    ) -> Renewed:
        """Keep a lease, and say how the node fares.

        Raises:
            LeaseGone: register again.
        """
        ...

    async def deregister(self, id_: str, instance: str) -> None:
        """Give a lease back."""
        ...


class LocalRegistrar:
    """The registry of this process."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def register(self, registration: Registration) -> Granted:
        """See ``Registrar``."""
        return self._registry.register(registration)

    async def renew(
        self, id_: str, instance: str, condition: Condition, *, round_trip_s: float
    ) -> Renewed:
        """See ``Registrar``."""
        granted = self._registry.renew(id_, instance, condition, round_trip_s=round_trip_s)
        return Renewed(lease_s=granted.lease_s, draining=granted.node.draining)

    async def deregister(self, id_: str, instance: str) -> None:
        """See ``Registrar``."""
        self._registry.deregister(id_, instance)


_RETRY_FIRST_S, _RETRY_MOST_S = 0.1, 5.0
_CALL_S = 2.0


class Announcer:
    """Keeps a node registered for as long as :meth:`run` runs.

    Args:
        registrar: who grants the lease.
        condition: tells how it fares, each time it is asked.
        follow: is called with whether the node is to drain, whenever that changes.
        clock: measures how long renewals take.
        rng: spreads what many nodes do at the same time.
    """

    def __init__(
        self,
        *,
        registrar: Registrar,
        condition: Callable[[], Condition],
        follow: Callable[[bool], Awaitable[None]],
        clock: Clock,
        rng: random.Random | None = None,
    ) -> None:
        self._registrar = registrar
        self._registration: Registration | None = None
        self._condition = condition
        self._follow = follow
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311  # spreads, guards nothing
        self._hurry = asyncio.Event()
        self._is_draining = False
        self._is_leaving = False
        self._round_trip_s = 0.0
        self._told = ""

    async def run(self, registration: Registration) -> None:
        """Be registered until cancelled, whatever happens to whoever grants the lease.

        Args:
            registration: what the node is.
        """
        self._registration = registration
        failures = 0
        while True:
            try:
                await self._call(self._registrar.register(registration))
                log.info("registered", extra={"node": registration.id})
                failures, self._told = 0, ""
                await self._renew_on(registration)
            except LeaseGone:
                # Registering again may succeed at once.
                continue
            except (RegistrarAway, PlacetError) as error:
                failures += 1
                self._tell(registration, error)
                await asyncio.sleep(self._pause_s(error, failures))

    def hurry(self) -> None:
        """Renew at once: the node does not fare as it last said."""
        self._hurry.set()

    def drain(self) -> None:
        """Say from now on, and at once, that the node has begun to stop."""
        self._is_leaving = True
        self.hurry()

    async def leave(self) -> None:
        """Give the lease back, if anybody is there to take it. Not while :meth:`run` runs."""
        node = self._registration
        if node is None:
            return
        try:
            await self._call(self._registrar.deregister(node.id, node.instance))
        except (RegistrarAway, PlacetError) as error:
            # It lapses by itself.
            log.info("could not deregister", extra={"node": node.id, "reason": str(error)})

    async def _renew_on(self, node: Registration) -> None:
        """Renew at once, since nothing is known yet of how the node fares, and on and on."""
        while True:
            self._hurry.clear()
            condition = self._condition()
            if self._is_leaving:
                condition = replace(condition, draining=True)
            began_s = self._clock.monotonic()
            answer = await self._call(
                self._registrar.renew(
                    node.id, node.instance, condition, round_trip_s=self._round_trip_s
                )
            )
            self._round_trip_s = self._clock.monotonic() - began_s
            if answer.draining is not self._is_draining and not self._is_leaving:
                self._is_draining = answer.draining
                await self._follow(answer.draining)
            # A little early rather than late, and not all at the same time.
            wait_s = answer.lease_s / RENEWALS_A_LEASE * self._rng.uniform(0.9, 1.0)
            try:
                async with asyncio.timeout(max(wait_s - self._round_trip_s, 0.0)):
                    await self._hurry.wait()
            except TimeoutError:
                continue

    async def _call(self, call: Awaitable[_T]) -> _T:
        try:
            async with asyncio.timeout(_CALL_S):
                return await call
        except TimeoutError:
            raise RegistrarAway(f"no answer within {_CALL_S:g} s") from None

    def _pause_s(self, error: Exception, failures: int) -> float:
        if isinstance(error, NodeIdTaken):
            return min(error.retry_after_s, _RETRY_MOST_S)
        most_s = min(_RETRY_FIRST_S * 2.0 ** min(failures - 1, 10), _RETRY_MOST_S)
        return most_s * self._rng.uniform(0.5, 1.0)

    def _tell(self, node: Registration, error: Exception) -> None:
        """Say once why the node is not registered."""
        kind = type(error).__name__
        if kind != self._told:
            self._told = kind
            log.warning(
                "not registered; trying again",
                extra={"node": node.id, "reason": str(error)},
            )
