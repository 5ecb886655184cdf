"""A node stays registered, whatever happens to whoever grants its lease."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from placet_engine.placement.nodes import Condition, Registration
from placet_server.clock import SystemClock
from placet_server.errors import LeaseGone, NodeIdTaken, UpstreamLoop
from placet_server.regions.announcing import (
    Announcer,
    LocalRegistrar,
    RegistrarAway,
    Renewed,
)
from placet_server.regions.leases import LeaseTerms
from placet_server.regions.registry import Granted, Registry
from tests.unit.regions.nodes import registration

SOON_S = 20.0


class Scripted:
    """Grants leases out of a real registry, but for what it is told to raise."""

    def __init__(self) -> None:
        terms = LeaseTerms(lease_s=0.06, max_renewals_per_second=1e9)
        self.registry = Registry(clock=SystemClock(), terms=terms)
        self.local = LocalRegistrar(self.registry)
        self.errors: list[Exception] = []
        self.calls: list[str] = []
        self.renewals: list[tuple[Condition, float]] = []
        self.happened = asyncio.Event()

    def _happen(self, what: str) -> None:
        self.calls.append(what)
        self.happened.set()
        if self.errors:
            raise self.errors.pop(0)

    async def register(self, registration: Registration) -> Granted:
        self._happen("register")
        return await self.local.register(registration)

    async def renew(
        self, id_: str, instance: str, condition: Condition, *, round_trip_s: float
    ) -> Renewed:
        self._happen("renew")
        self.renewals.append((condition, round_trip_s))
        return await self.local.renew(id_, instance, condition, round_trip_s=round_trip_s)

    async def deregister(self, id_: str, instance: str) -> None:
        self._happen("deregister")
        await self.local.deregister(id_, instance)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(SOON_S):
            while not holds():
                self.happened.clear()
                await self.happened.wait()


@asynccontextmanager
async def announced(registrar: Scripted, followed: list[bool]) -> AsyncIterator[Announcer]:
    async def follow(is_drained: bool) -> None:
        followed.append(is_drained)

    announcer = Announcer(
        registrar=registrar,
        condition=Condition,
        follow=follow,
        clock=SystemClock(),
        rng=random.Random(1),
    )
    task = asyncio.create_task(announcer.run(registration()))
    try:
        yield announcer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_node_registers_says_at_once_how_it_fares_and_renews() -> None:
    registrar = Scripted()
    async with announced(registrar, []):
        await registrar.until(lambda: registrar.calls.count("renew") >= 4)
    assert ["register", "renew", "renew"] == registrar.calls[:3]
    assert registrar.registry.view.node("n1").takes_calls
    assert 0.0 == registrar.renewals[0][1]
    assert registrar.renewals[1][1] > 0.0


@pytest.mark.parametrize(
    "errors",
    [
        [RegistrarAway("away"), RegistrarAway("away")],
        [NodeIdTaken("n1", retry_after_s=0.01), UpstreamLoop("n1")],
    ],
)
async def test_who_is_refused_tries_again_and_tells_once(
    errors: list[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    registrar = Scripted()
    registrar.errors = [*errors]
    async with announced(registrar, []):
        await registrar.until(lambda: "renew" in registrar.calls)
    told = [record for record in caplog.records if "not registered" in record.message]
    assert len({type(error) for error in errors}) == len(told)
    assert len(errors) + 1 == registrar.calls.index("renew")


async def test_a_lease_that_is_gone_is_asked_for_again() -> None:
    registrar = Scripted()
    async with announced(registrar, []):
        await registrar.until(lambda: len(registrar.calls) >= 3)
        registrar.errors = [LeaseGone("n1")]
        before = len(registrar.calls)
        await registrar.until(lambda: "register" in registrar.calls[before:])
        await registrar.until(lambda: registrar.calls[-1] == "renew")


async def test_what_operators_say_is_followed_and_stopping_is_told_at_once() -> None:
    from placet_engine.items import NodeSettings

    registrar, followed = Scripted(), list[bool]()
    async with announced(registrar, followed) as announcer:
        await registrar.until(lambda: bool(registrar.renewals))
        for draining in (True, False):
            registrar.registry.take_settings("n1", NodeSettings(node="n1", draining=draining))
            await registrar.until(lambda d=draining: followed[-1:] == [d])  # type: ignore[misc]
        announcer.drain()
        await registrar.until(lambda: registrar.renewals[-1][0].draining)
        seen = len(registrar.renewals)
        await registrar.until(lambda: len(registrar.renewals) > seen + 1)
    # Nobody has to tell the node of what it does by itself.
    assert [True, False] == followed


async def test_a_change_is_told_at_once() -> None:
    registrar = Scripted()
    registrar.registry = Registry(clock=SystemClock(), terms=LeaseTerms(lease_s=3600))
    registrar.local = LocalRegistrar(registrar.registry)
    async with announced(registrar, []) as announcer:
        await registrar.until(lambda: "renew" in registrar.calls)
        announcer.hurry()
        await registrar.until(lambda: registrar.calls.count("renew") == 2)


async def test_who_leaves_is_gone_and_does_not_mind_if_nobody_hears() -> None:
    registrar = Scripted()
    async with announced(registrar, []) as announcer:
        await registrar.until(lambda: "renew" in registrar.calls)
    registrar.errors = [RegistrarAway("away")]
    await announcer.leave()
    assert "n1" in registrar.registry.view.nodes
    await announcer.leave()
    assert {} == dict(registrar.registry.view.nodes)
