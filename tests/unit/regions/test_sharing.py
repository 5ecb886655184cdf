"""Control nodes on one store know each other's nodes, and find out who fell silent."""

from __future__ import annotations

import datetime
import json
from contextlib import suppress

import pytest

from placet_engine.items import Revision
from placet_engine.placement.nodes import Condition, NodeHealth, NodeLoad, NodeRole
from placet_server.errors import NodeIdTaken
from placet_server.regions.leases import Holder, Lease
from placet_server.regions.sharing import TOPIC, Told
from placet_server.store.contract import Notice, StoreUnavailable
from placet_server.store.memory import MemoryStore
from placet_server.testing import ManualClock
from tests.unit.regions.nodes import Control, healths, registration

SERVING, LOST = NodeHealth.SERVING, NodeHealth.LOST


@pytest.fixture(name="clock")
def clock_fixture() -> ManualClock:
    return ManualClock()


@pytest.fixture(name="store")
def store_fixture() -> MemoryStore:
    return MemoryStore()


async def pass_time(clock: ManualClock, seconds: float, *controls: Control) -> None:
    """Let time pass for control nodes that do what they do."""
    for _ in range(round(seconds / 0.1)):
        clock.advance(0.1)
        for control in controls:
            control.keep()
            control.registry.sweep()
            await control.sharing.tick()


async def test_what_is_told_reads_as_it_was_written(clock: ManualClock) -> None:
    told = Told(
        node="c1",
        instance="i",
        since=clock.now(),
        number=4,
        time=clock.now() + datetime.timedelta(seconds=5),
        lasts_s=3.0,
        leases=(
            Lease(
                registration=registration(upstreams=("c1", "c2"), weight=3, version="1"),
                condition=Condition(
                    health=NodeHealth.NOT_SERVING,
                    health_reason="é",
                    draining=True,
                    load=NodeLoad(utilization=0.25, requests_per_second=1.5, subscribers=2),
                    revision=Revision(9),
                    staleness_s=0.5,
                ),
                register_time=clock.now(),
                renew_time=clock.now(),
                lease_s=0.45,
                is_lost=True,
                probe_failure="it cannot be reached",
            ),
        ),
        left=(Holder("n9", "gone"),),
    )
    notice = told.to_notice()
    stored = Notice(
        topic=notice.topic,
        name=notice.name,
        time=notice.time,
        body=json.loads(json.dumps(notice.body)),
    )

    assert told == Told.from_notice(stored)
    assert isinstance(told.leases[0].registration.role, NodeRole)


async def test_each_knows_the_nodes_of_the_others(store: MemoryStore, clock: ManualClock) -> None:
    one, two = Control(store, clock, "c1"), Control(store, clock, "c2")
    one.keep(("edge", "first"))
    two.keep()
    for control in (one, two, one):
        await control.sharing.tick()

    everybody = {"c1": SERVING, "c2": SERVING, "edge": SERVING}
    assert everybody == healths(one.registry) == healths(two.registry)


async def test_a_silent_control_node_is_lost_with_those_it_knew(
    store: MemoryStore, clock: ManualClock
) -> None:
    one, two = Control(store, clock, "c1"), Control(store, clock, "c2")
    one.keep(("edge", "first"))
    await pass_time(clock, 0.2, one, two)
    await pass_time(clock, 2.5, two)
    assert {"c1": SERVING, "c2": SERVING, "edge": SERVING} == healths(two.registry)
    await pass_time(clock, 1.5, two)
    assert {"c1": LOST, "c2": SERVING, "edge": LOST} == healths(two.registry)
    # It comes back, and is believed again.
    one.keep(("edge", "first"))
    await pass_time(clock, 0.2, one, two)
    assert {"c1": SERVING, "c2": SERVING} == {
        id_: health for id_, health in healths(two.registry).items() if id_ != "edge"
    }


async def test_a_control_node_that_does_not_lose_its_clock_is_believed_whatever_it_says(
    store: MemoryStore,
) -> None:
    clock, wrong = ManualClock(), ManualClock()
    wrong.advance(24 * 3600)
    one, two = Control(store, clock, "c1"), Control(store, wrong, "c2")
    for _ in range(50):
        for control in (one, two):
            control.clock.advance(0.1)
            control.keep()
            await control.sharing.tick()
    assert {"c1": SERVING, "c2": SERVING} == healths(one.registry) == healths(two.registry)


async def test_time_without_the_store_is_nobodys_silence(
    store: MemoryStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = Control(store, clock, "c1"), Control(store, clock, "c2")
    await pass_time(clock, 0.5, one, two)

    async def away(topic: str) -> list[Notice]:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(store, "notices", away)
        for _ in range(100):
            clock.advance(0.1)
            with pytest.raises(StoreUnavailable):
                await one.sharing.tick()
    one.keep()
    await one.sharing.tick()
    assert {"c1": SERVING, "c2": SERVING} == healths(one.registry)
    await pass_time(clock, 1.0, one, two)
    assert {"c1": SERVING, "c2": SERVING} == healths(one.registry) == healths(two.registry)


async def test_news_are_written_at_once_and_all_else_now_and_then(
    store: MemoryStore, clock: ManualClock
) -> None:
    one, two = Control(store, clock, "c1"), Control(store, clock, "c2")

    async def told(*edges: str) -> Notice:
        one.keep(*((edge, "first") for edge in edges))
        await one.sharing.tick()
        return next(notice for notice in await store.notices(TOPIC) if notice.name == "c1")

    await pass_time(clock, 0.3, one, two)
    first = await told()
    clock.advance(0.3)
    assert first == await told()
    second = await told("edge")
    assert 2 == len(second.body["leases"])
    clock.advance(0.9)
    assert second == await told("edge")
    clock.advance(0.2)
    assert second != await told("edge")


async def test_with_nobody_to_listen_the_store_is_seldom_written_to(
    store: MemoryStore, clock: ManualClock
) -> None:
    one = Control(store, clock, "c1")
    written = set()
    for _ in range(100):
        await pass_time(clock, 0.1, one)
        written |= {notice.time for notice in await store.notices(TOPIC)}
    assert len(written) <= 2
    # Who comes later finds it there all the same, and hears more often from then on.
    two = Control(store, clock, "c2")
    await pass_time(clock, 0.1, two, one)
    assert {"c1": SERVING, "c2": SERVING} == healths(two.registry)
    for _ in range(40):
        await pass_time(clock, 0.1, two, one)
        written |= {notice.time for notice in await store.notices(TOPIC) if notice.name == "c1"}
    assert 5 <= len(written) <= 8
    assert {"c1": SERVING, "c2": SERVING} == healths(two.registry)


async def test_a_control_node_started_anew_goes_on_with_its_leases(
    store: MemoryStore, clock: ManualClock
) -> None:
    one, two = Control(store, clock, "c1"), Control(store, clock, "c2")
    one.keep(("edge", "first"))
    await pass_time(clock, 0.2, one, two)

    again = Control(store, clock, "c1", "second")
    again.keep()
    await again.sharing.tick()
    await two.sharing.tick()

    everybody = {"c1": SERVING, "c2": SERVING, "edge": SERVING}
    assert everybody == healths(again.registry) == healths(two.registry)
    assert "second" == two.registry.view.node("c1").registration.instance
    again.registry.renew("edge", "first", Condition())


async def test_what_one_that_was_alone_told_is_not_believed_for_long(
    store: MemoryStore, clock: ManualClock
) -> None:
    one = Control(store, clock, "c1")
    one.keep(("edge", "first"))
    await pass_time(clock, 0.1, one)
    two = Control(store, clock, "c2")
    await pass_time(clock, 2.5, two)
    assert {"c1": SERVING, "c2": SERVING, "edge": SERVING} == healths(two.registry)
    await pass_time(clock, 1.0, two)
    assert {"c1": LOST, "c2": SERVING, "edge": LOST} == healths(two.registry)


async def test_of_two_control_nodes_with_one_id_the_second_is_not_listed(
    store: MemoryStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    first = Control(store, clock, "c1", "first")
    third = Control(store, clock, "c3")
    await pass_time(clock, 0.3, first, third)
    clock.advance(1.0)
    second = Control(store, clock, "c1", "second")
    second.keep()
    for _ in range(20):
        clock.advance(0.1)
        first.keep()
        third.keep()
        for control in (second, first, third):
            control.registry.sweep()
            await control.sharing.tick()

    assert "first" == third.registry.view.node("c1").registration.instance
    assert "first" == second.registry.view.node("c1").registration.instance
    assert "give it another id" in caplog.text
    assert [] == second.registry.leases()

    # The first ends, and the second has the id for itself.
    for _ in range(60):
        clock.advance(0.1)
        third.keep()
        with suppress(NodeIdTaken):
            second.keep()
        for control in (second, third):
            control.registry.sweep()
            await control.sharing.tick()
    assert "second" == third.registry.view.node("c1").registration.instance
    assert {"c1": SERVING, "c3": SERVING} == healths(third.registry)


async def test_the_last_words_leave_time_to_the_others(
    store: MemoryStore, clock: ManualClock
) -> None:
    one, two = Control(store, clock, "c1"), Control(store, clock, "c2")
    one.keep(("edge", "first"))
    await pass_time(clock, 0.2, one, two)
    one.registry.deregister("c1", "first")
    await one.sharing.leave()
    await pass_time(clock, 2.0, two)
    assert {"c2": SERVING, "edge": SERVING} == healths(two.registry)
    two.registry.renew("edge", "first", Condition())
    for _ in range(20):
        two.registry.renew("edge", "first", Condition())
        await pass_time(clock, 0.1, two)
    assert {"c2": SERVING, "edge": SERVING} == healths(two.registry)


async def test_what_is_older_than_a_day_is_taken_down(
    store: MemoryStore, clock: ManualClock
) -> None:
    one, two = Control(store, clock, "c1"), Control(store, clock, "c2")
    await pass_time(clock, 0.2, one, two)
    clock.advance(25 * 3600)
    await pass_time(clock, 0.3, two)
    assert {"c2": SERVING} == healths(two.registry)
