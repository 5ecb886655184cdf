"""Who is connected: bounded, woken together, and told of once."""

from __future__ import annotations

import asyncio
import datetime
import logging
from contextlib import ExitStack

import pytest

from placet_engine.placement.residency import ResidencyRule
from placet_server.errors import Draining, TooManyXdsClients
from placet_server.regions.audience import Audience
from placet_server.xds.clients import Client, Kind
from placet_server.xds.exchange import Exchange, Nack
from placet_server.xds.names import Scope
from placet_server.xds.resources import Type
from placet_server.xds.roster import Roster, Session

_NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def session(id_: str = "c", version: str = "1.72") -> Session:
    client = Client(
        id=id_,
        kind=Kind.GO,
        agent="gRPC Go",
        version=version,
        region="",
        place=None,
        default=Scope(rule=ResidencyRule.ANY),
        bound=None,
        balancing=None,
    )
    return Session(client=client, exchange=Exchange(), peer="", caller="", start_time=_NOW)


def nack(version: str = "v1") -> Nack:
    return Nack(Type.CLUSTER, version, "no such policy", _NOW)


async def test_there_is_room_for_so_many() -> None:
    audience = Audience(1)
    roster = Roster(max_clients=2, audience=audience)
    with ExitStack() as stack:
        stack.enter_context(roster.seat())
        with roster.seat(), pytest.raises(TooManyXdsClients), roster.seat():
            pass
        stack.enter_context(roster.seat())
    with roster.seat():
        audience.leave()
    with pytest.raises(Draining), roster.seat():
        pass


async def test_all_are_woken_when_calls_may_have_to_go_elsewhere() -> None:
    audience = Audience(1)
    roster = Roster(max_clients=2, audience=audience)
    first, second = session("a"), session("b")
    running = asyncio.create_task(roster.run())
    try:
        with roster.known(first), roster.known(second):
            async with asyncio.timeout(10):
                await first.woken.wait()
            for one in (first, second):
                one.woken.clear()
            # How busy nodes are is nothing to them.
            audience.news.move()
            await asyncio.sleep(0)
            assert not first.woken.is_set()
            audience.routes.move()
            async with asyncio.timeout(10):
                await asyncio.gather(first.woken.wait(), second.woken.wait())
            assert {Kind.GO: 2} == roster.counts()
            assert ["a", "b"] == [one.client.id for one in roster.listed()]
        assert {} == roster.counts()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_what_is_refused_again_and_again_is_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    roster = Roster(max_clients=2, audience=Audience(1))
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            roster.note_refusal(session(), nack())
        assert 1 == len(caplog.records)
        for one, what in (
            (session("d"), nack()),
            (session(version="1.73"), nack()),
            (session(), nack("v2")),
        ):
            roster.note_refusal(one, what)
    assert 4 == len(caplog.records)
    assert {(Kind.GO, Type.CLUSTER): 6} == roster.refused
