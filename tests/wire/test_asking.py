"""How control nodes ask others, over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from placet_server.api.asking import HealthAsker
from tests.wire.service import TIMEOUT_S, running_service


@pytest.fixture(name="asker")
async def asker_fixture() -> AsyncIterator[HealthAsker]:
    asker = HealthAsker(lambda: None)
    yield asker
    await asker.aclose()


async def test_who_asks_is_told_when_a_connection_breaks(asker: HealthAsker) -> None:
    lost: asyncio.Queue[str] = asyncio.Queue()
    asker.when_lost(lost.put_nowait)
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(running_service())
        address = service.node.address
        assert "" == (await asker.ask(address, TIMEOUT_S)).reason
        assert lost.empty()
        await stack.aclose()
    async with asyncio.timeout(TIMEOUT_S):
        assert address == await lost.get()
    assert "it cannot be reached" == (await asker.ask(address, TIMEOUT_S)).reason


async def test_nobody_is_told_of_connections_that_are_closed_here(asker: HealthAsker) -> None:
    lost: list[str] = []
    asker.when_lost(lost.append)
    async with running_service() as service:
        address = service.node.address
        assert "" == (await asker.ask(address, TIMEOUT_S)).reason
        asker.connect_anew()
        assert "" == (await asker.ask(address, TIMEOUT_S)).reason
        await asker.keep(())
    assert [] == lost
