"""What routes are made of, and what a node says of itself."""

from __future__ import annotations

import asyncio

import pytest

from placet_engine.changes import ItemSet
from placet_engine.editions import Sides
from placet_engine.items import PLATFORM, Revision
from placet_engine.placement.geography import GeoPoint
from placet_engine.placement.nodes import Condition, NodeHealth, NodeLoad
from placet_engine.placement.regions import Region, Regions
from placet_server.admission.control import AdmissionControl, Limits
from placet_server.clock import SystemClock
from placet_server.errors import Draining, NodeChanged, TooManyWatchers
from placet_server.listening import reachable
from placet_server.policies.active import ActivePolicies
from placet_server.policies.hub import Hub
from placet_server.regions.audience import Audience
from placet_server.regions.endpoints import Endpoints
from placet_server.regions.moves import Moves
from placet_server.regions.node_settings import NodeSettingsKeeper
from placet_server.regions.own_condition import OwnCondition
from placet_server.store.memory import MemoryStore
from placet_server.testing import ManualClock
from tests.unit.regions.nodes import WELL, new_registry, registration

_IRELAND = Region(name="eu-west", jurisdiction="EU", location=GeoPoint(53.0, -6.0))
_ELSEWHERE = Region(name="us-east", jurisdiction="US", endpoints=("us1.test:1", "n9.test:7717"))


def test_endpoints_are_kept_until_something_changes() -> None:
    registry = new_registry(ManualClock())
    endpoints = Endpoints(registry.view, Regions([_IRELAND]))
    assert () == endpoints("eu-west") == endpoints("nowhere")
    registry.register(registration())
    registry.renew("n1", "first", WELL)
    first = endpoints("eu-west")
    assert ["n1"] == [endpoint.node for endpoint in first]
    registry.renew("n1", "first", Condition(load=NodeLoad(utilization=0.44)))
    assert first is endpoints("eu-west")
    registry.view.beat()
    assert 0.45 == endpoints("eu-west")[0].utilization


def test_addresses_that_the_file_of_regions_names_come_after_nodes() -> None:
    registry = new_registry(ManualClock())
    registry.register(registration("n9", region="us-east"))
    registry.renew("n9", "first", WELL)
    found = Endpoints(registry.view, Regions([_IRELAND, _ELSEWHERE]))("us-east")
    # One that registers as well is there once.
    assert [("n9", "n9.test:7717"), ("", "us1.test:1")] == [(e.node, e.address) for e in found]


@pytest.mark.parametrize(
    ("listened", "reached"),
    [
        ("0.0.0.0:7717", ""),
        ("[::]:7717", ""),
        (":7717", ""),
        ("127.0.0.1:7717", "127.0.0.1:7717"),
        ("[::1]:7717", "[::1]:7717"),
        ("eu1.test:7717", "eu1.test:7717"),
    ],
)
def test_a_wildcard_is_no_address(listened: str, reached: str) -> None:
    assert reached == reachable(listened)


async def test_a_node_says_how_busy_it_was_of_late() -> None:
    clock = ManualClock()
    busy_s = [0.0]
    admission = AdmissionControl(Limits(target_wait_s=0.004), clock.monotonic)
    hub = Hub(max_subscriptions=5, max_waiting=5)
    active = ActivePolicies(clock)
    condition = OwnCondition(
        admission=admission,
        hub=hub,
        active=active,
        clock=clock,
        thread_time=lambda: busy_s[0],
    )
    assert (NodeHealth.NOT_SERVING, NodeLoad()) == (condition().health, condition().load)
    active.swap(Revision(1), Sides(ItemSet(owner=PLATFORM)), {})
    assert (NodeHealth.SERVING, NodeLoad()) == (condition().health, condition().load)
    for _ in range(10):
        admission.admit("acme")
    clock.advance(2.0)
    busy_s[0] += 0.5
    with hub.subscription():
        assert (
            NodeLoad(utilization=0.25, requests_per_second=5.0, subscribers=1) == condition().load
        )
    # Measured over a second at least, and never more than all of it.
    clock.advance(0.5)
    busy_s[0] += 5
    assert 0.25 == condition().load.utilization
    clock.advance(0.5)
    assert 1.0 == condition().load.utilization
    assert condition().staleness_s < float("inf")


async def test_moves_wake_and_are_counted() -> None:
    everything = Moves()
    some = Moves(everything)
    waiting = asyncio.create_task(everything.past(0, 20.0))
    await asyncio.sleep(0)
    some.move()
    assert await waiting
    assert (1, 1) == (some.count, everything.count)
    assert await some.past(0, 0.0)
    assert not await some.past(1, 0.0)


async def test_an_audience_is_bounded_and_leaves() -> None:
    audience = Audience(1)
    with audience.seat():
        with pytest.raises(TooManyWatchers), audience.seat():
            pass
        waiting = asyncio.create_task(audience.wait(audience.news.count, 20.0))
        await asyncio.sleep(0)
        audience.leave()
        with pytest.raises(Draining):
            await waiting
    with pytest.raises(Draining), audience.seat():
        pass
    assert 0 == len(audience)


async def test_settings_are_compared_and_set() -> None:
    store = MemoryStore()
    keeper = NodeSettingsKeeper(store, SystemClock())
    first = await keeper.update("n1", weight=5, author="ann")
    assert first == await keeper.update("n1", weight=5)
    with pytest.raises(NodeChanged):
        await keeper.update("n1", draining=True, etag="0")
    second = await keeper.update("n1", draining=True, etag=str(first))
    assert first < second
    (newest, oldest) = await store.history(".topology", limit=5)
    assert ("node n1: drain", "node n1: weight 5", "ann") == (
        newest.message,
        oldest.message,
        oldest.author,
    )
