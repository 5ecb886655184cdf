"""Names of nodes become numbers, and stay what they were while nobody knows better."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from placet_server.regions.moves import Moves
from placet_server.xds import addresses
from placet_server.xds.addresses import Addresses, looked_up
from tests.waiting import until


class Resolver:
    """Knows the hosts it is told of."""

    def __init__(self) -> None:
        self.hosts: dict[str, Sequence[str]] = {}
        self.asked: list[str] = []
        self.wanted: set[str] = set()

    async def look_up(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        if host not in self.hosts:
            raise OSError("no such host")
        return self.hosts[host]


@pytest.fixture(name="resolver")
def resolver_fixture() -> Resolver:
    return Resolver()


@pytest.fixture(name="moves")
def moves_fixture() -> Moves:
    return Moves()


@pytest.fixture(name="known")
async def known_fixture(
    resolver: Resolver, moves: Moves, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Addresses]:
    monkeypatch.setattr(addresses, "_REFRESH_S", 0.01)
    monkeypatch.setattr(addresses, "_PAUSE_S", 0.001)
    known = Addresses(lambda: resolver.wanted, moves, resolver.look_up)
    running = asyncio.create_task(known.run())
    yield known
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_numbers_are_themselves(known: Addresses, resolver: Resolver) -> None:
    resolver.wanted = {"192.0.2.1", "::1"}
    assert (("192.0.2.1",), ("::1",)) == (known("192.0.2.1"), known("::1"))
    await asyncio.sleep(0)
    assert [] == resolver.asked


async def test_a_name_is_looked_up_at_once_and_again(
    known: Addresses, resolver: Resolver, moves: Moves
) -> None:
    resolver.wanted = {"eu.test"}
    resolver.hosts["eu.test"] = ["192.0.2.2", "192.0.2.1", "192.0.2.2"]
    assert () == known("eu.test")
    await until(lambda: moves.count == 1)
    assert ("192.0.2.1", "192.0.2.2") == known("eu.test")

    resolver.hosts["eu.test"] = ["192.0.2.3"]
    await until(lambda: known("eu.test") == ("192.0.2.3",))
    assert 2 == moves.count


async def test_what_was_found_stays_while_nobody_can_be_asked(
    known: Addresses, resolver: Resolver, moves: Moves
) -> None:
    resolver.wanted = {"eu.test"}
    resolver.hosts["eu.test"] = ["192.0.2.1"]
    await until(lambda: known("eu.test") == ("192.0.2.1",))
    del resolver.hosts["eu.test"]
    asked = len(resolver.asked)
    await until(lambda: len(resolver.asked) > asked + 2)
    assert (("192.0.2.1",), 1) == (known("eu.test"), moves.count)


async def test_a_name_that_is_not_known_is_tried_again(
    known: Addresses, resolver: Resolver, caplog: pytest.LogCaptureFixture
) -> None:
    resolver.wanted = {"new.test"}
    assert () == known("new.test")
    await until(lambda: len(resolver.asked) > 1)
    assert 1 == caplog.text.count("xDS clients are not sent there")
    resolver.hosts["new.test"] = ["192.0.2.9"]
    await until(lambda: known("new.test") == ("192.0.2.9",))


async def test_who_is_gone_is_forgotten(known: Addresses, resolver: Resolver) -> None:
    resolver.hosts |= {"eu.test": ["192.0.2.1"], "us.test": ["192.0.2.2"]}
    resolver.wanted = {"eu.test", "us.test"}
    await until(lambda: known("us.test") == ("192.0.2.2",))
    resolver.wanted = {"eu.test"}
    await until(lambda: known("us.test") == ())
    assert ("192.0.2.1",) == known("eu.test")


async def test_this_machines_resolver_knows_this_machine() -> None:
    assert "127.0.0.1" in await looked_up("localhost")
