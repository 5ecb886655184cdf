"""Leases come, are kept, lapse and are given back; of two nodes with one id, one is there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from placet_engine.items import NodeSettings, Revision
from placet_engine.placement.nodes import Condition, NodeHealth, NodeLoad, NodeRole
from placet_server.errors import (
    LeaseGone,
    NodeIdTaken,
    NodeUnknown,
    TooManyNodes,
    UpstreamLoop,
)
from placet_server.regions.leases import Lease, LeaseTerms
from placet_server.regions.registry import LOST_FOR_S, Registry
from placet_server.testing import ManualClock
from tests.unit.regions.nodes import (
    LEASE_S,
    UNWELL,
    WELL,
    healths,
    new_registry,
    pass_time,
    registration,
)

SERVING, NOT_SERVING, LOST = NodeHealth.SERVING, NodeHealth.NOT_SERVING, NodeHealth.LOST


@pytest.fixture(name="clock")
def clock_fixture() -> ManualClock:
    return ManualClock()


@pytest.fixture(name="registry")
def registry_fixture(clock: ManualClock) -> Registry:
    return new_registry(clock)


# --------------------------------------------------------------------------------- leases


def test_a_node_serves_once_it_has_said_how_it_fares(registry: Registry) -> None:
    granted = registry.register(registration(weight=7))
    before = registry.view.node("n1")
    registry.renew("n1", "first", WELL)
    after = registry.view.node("n1")

    assert (LEASE_S, NOT_SERVING, 7) == (granted.lease_s, before.health, granted.node.weight)
    assert "not said yet" in before.health_reason
    assert (SERVING, "", True) == (after.health, after.health_reason, after.takes_calls)


def test_a_lease_lasts_as_long_as_it_is_renewed(registry: Registry, clock: ManualClock) -> None:
    registry.register(registration())
    for _ in range(10):
        registry.renew("n1", "first", WELL)
        pass_time(clock, LEASE_S / 3, registry)
        assert SERVING is registry.view.node("n1").health


def test_a_silent_node_is_lost_and_told(
    registry: Registry, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    registry.register(registration())
    registry.renew("n1", "first", WELL)
    moved = registry.view.membership.count
    pass_time(clock, LEASE_S + 0.05, registry)

    node = registry.view.node("n1")
    assert (LOST, False, 1) == (node.health, node.takes_calls, registry.lapses)
    assert "its lease lapsed" in node.health_reason
    assert moved + 1 == registry.view.membership.count
    assert "a node is lost" in caplog.text
    with pytest.raises(LeaseGone, match="register again"):
        registry.renew("n1", "first", WELL)
    registry.register(registration())
    registry.renew("n1", "first", WELL)
    assert SERVING is registry.view.node("n1").health


def test_a_lost_node_is_listed_for_a_day(registry: Registry, clock: ManualClock) -> None:
    registry.register(registration())
    pass_time(clock, LEASE_S + 0.05, registry)
    clock.advance(LOST_FOR_S - 1)
    registry.sweep()
    assert {"n1": LOST} == healths(registry)
    clock.advance(2)
    registry.sweep()
    assert {} == healths(registry)
    with pytest.raises(NodeUnknown):
        registry.view.node("n1")


def test_time_in_which_this_process_did_nothing_is_nobodys_silence(
    registry: Registry, clock: ManualClock
) -> None:
    registry.register(registration())
    clock.advance(10.0)
    registry.sweep(overslept_s=10.0)
    assert NOT_SERVING is registry.view.node("n1").health
    pass_time(clock, LEASE_S + 0.05, registry)
    assert LOST is registry.view.node("n1").health


def test_a_node_that_stops_is_gone_at_once(registry: Registry) -> None:
    registry.register(registration())
    registry.deregister("n1", "other")
    assert ["n1"] == list(registry.view.nodes)
    registry.deregister("n1", "first")
    registry.deregister("n1", "first")
    assert {} == dict(registry.view.nodes)
    with pytest.raises(LeaseGone):
        registry.renew("n1", "first", WELL)


def test_registering_again_keeps_what_is_known(registry: Registry, clock: ManualClock) -> None:
    registry.register(registration())
    registry.renew("n1", "first", UNWELL)
    registered = registry.view.node("n1").register_time
    clock.advance(0.3)
    registry.register(registration(address="elsewhere.test:1"))

    node = registry.view.node("n1")
    assert (registered, "no disk") == (node.register_time, node.health_reason)
    assert ("elsewhere.test:1", clock.now()) == (node.registration.address, node.renew_time)


def test_another_process_gets_the_id_when_the_lease_is_over(
    registry: Registry, clock: ManualClock
) -> None:
    registry.register(registration())
    clock.advance(0.2)
    with pytest.raises(NodeIdTaken, match="give each its own id") as caught:
        registry.register(registration(instance="second"))
    assert pytest.approx(0.4) == caught.value.retry_after_s
    assert "first" == registry.view.node("n1").registration.instance
    pass_time(clock, LEASE_S, registry)
    registry.register(registration(instance="second"))
    registry.renew("n1", "second", WELL)
    with pytest.raises(LeaseGone):
        registry.renew("n1", "first", WELL)
    assert {"n1": SERVING} == healths(registry)


def test_no_more_nodes_than_there_is_room_for(clock: ManualClock) -> None:
    registry = Registry(clock=clock, max_nodes=1)
    registry.register(registration())
    registry.register(registration())
    with pytest.raises(TooManyNodes):
        registry.register(registration("n2"))


def test_nodes_are_listed_by_region_and_id(registry: Registry) -> None:
    for id_, region in (("b", "eu-west"), ("c", "apac-northeast"), ("a", "eu-west")):
        registry.register(registration(id_, region=region))
    assert ["c", "a", "b"] == [node.id for node in registry.view.listed()]
    assert ["a", "b"] == [node.id for node in registry.view.listed(["eu-west", "nowhere"])]


# -------------------------------------------------------------------------- lease's length


@pytest.mark.parametrize(
    ("nodes", "round_trip_s", "lease_s"),
    [(1, 0.0, 0.45), (45, 0.0, 0.45), (1000, 0.0, 10.0), (1, 0.25, 1.5), (100_000, 0.0, 60.0)],
)
def test_leases_are_longer_of_many_nodes_and_of_those_far_away(
    nodes: int, round_trip_s: float, lease_s: float
) -> None:
    assert pytest.approx(lease_s) == LeaseTerms().grant_s(nodes, round_trip_s)


def test_a_lease_grows_with_each_renewal_as_nodes_come(clock: ManualClock) -> None:
    registry = new_registry(clock, max_renewals_per_second=10)
    registry.register(registration())
    for number in range(2, 11):
        registry.register(registration(f"n{number}"))
    assert pytest.approx(3.0) == registry.renew("n1", "first", WELL).lease_s


# ---------------------------------------------------------------------------------- loops


@pytest.mark.parametrize(
    "chains",
    [
        {"n1": ("n1",)},
        {"n1": ("n1.test:7717",)},
        {"n2": ("n1",), "n1": ("n2",)},
        {"n3": ("n2",), "n2": ("n1.test:7717",), "n1": ("c0", "n3.test:7717")},
    ],
)
def test_what_leads_back_is_refused(registry: Registry, chains: dict[str, tuple[str, ...]]) -> None:
    *earlier, last = chains.items()
    for id_, upstreams in earlier:
        registry.register(registration(id_, upstreams=upstreams))
    with pytest.raises(UpstreamLoop, match="leads back"):
        registry.register(registration(last[0], upstreams=last[1]))
    assert last[0] not in registry.view.nodes


def test_two_ways_to_one_node_are_no_loop(registry: Registry) -> None:
    for id_, upstreams in (("n1", ("c",)), ("n2", ("c",)), ("n3", ("n1", "n2"))):
        registry.register(registration(id_, upstreams=upstreams))
    registry.register(registration("n3", upstreams=("n2", "n1")))
    assert 3 == len(registry.view.nodes)


def test_who_is_lost_follows_nobody(registry: Registry, clock: ManualClock) -> None:
    registry.register(registration("n2", upstreams=("n1",)))
    pass_time(clock, LEASE_S + 0.05, registry)
    registry.register(registration("n1", upstreams=("n2",)))
    with pytest.raises(UpstreamLoop):
        registry.register(registration("n2", upstreams=("n1",)))


# ------------------------------------------------------------------- settings, health, news


def test_what_operators_set_goes_before_what_the_node_says(registry: Registry) -> None:
    registry.take_settings("n1", NodeSettings(node="n1", weight=5, draining=True), Revision(8))
    granted = registry.register(registration(weight=70))
    registry.renew("n1", "first", WELL)
    drained = registry.view.node("n1")
    registry.take_settings("n1", NodeSettings(node="n1", draining=False), Revision(9))
    back = registry.view.node("n1")
    stopping = registry.renew("n1", "first", replace(WELL, draining=True)).node

    assert (5, True, "8") == (granted.node.weight, drained.draining, drained.etag)
    assert (SERVING, False) == (drained.health, drained.takes_calls)
    assert (70, False, "9", True) == (back.weight, back.draining, back.etag, back.takes_calls)
    assert stopping.draining
    registry.take_settings("n1", None)
    assert "0" == registry.view.node("n1").etag


def test_a_node_that_keeps_its_lease_and_answers_nobody_gets_no_calls(registry: Registry) -> None:
    registry.register(registration())
    registry.renew("n1", "first", WELL)
    registry.take_probes({"n1.test:7717": "it does not answer in time"})
    hung = registry.view.node("n1")
    registry.take_probes({"other.test:1": "it cannot be reached"})

    assert (NOT_SERVING, "it does not answer in time") == (hung.health, hung.health_reason)
    assert {"n1": SERVING} == healths(registry)


def test_whoever_drains_is_not_asked(registry: Registry) -> None:
    for id_ in ("n1", "n2", "n3"):
        registry.register(registration(id_))
        registry.renew(id_, "first", WELL)
    registry.register(registration("n4", address=""))
    registry.renew("n2", "first", replace(WELL, draining=True))
    assert {"n1.test:7717"} == registry.to_probe("n3.test:7717")


def test_load_is_told_at_the_next_beat_and_all_else_at_once(registry: Registry) -> None:
    registry.register(registration())
    registry.renew("n1", "first", WELL)
    membership, loads = registry.view.membership, registry.view.loads
    registry.view.beat()
    before = (membership.count, loads.count)
    registry.renew("n1", "first", Condition(load=NodeLoad(utilization=0.5)))
    assert before == (membership.count, loads.count)
    registry.view.beat()
    registry.view.beat()
    assert (before[0], before[1] + 1) == (membership.count, loads.count)
    registry.renew("n1", "first", UNWELL)
    assert before[0] + 1 == membership.count


# -------------------------------------------------------------------------- what others tell


def _told(clock: ManualClock, id_: str = "n1", instance: str = "first", **fields: object) -> Lease:
    now = clock.now()
    lease = Lease(
        registration=registration(id_, instance),
        condition=WELL,
        register_time=now,
        renew_time=now,
        lease_s=LEASE_S,
    )
    return replace(lease, **fields)  # type: ignore[arg-type]


def test_leases_of_other_control_nodes_are_believed_until_they_are_doubted(
    registry: Registry, clock: ManualClock
) -> None:
    registry.believe("c2", [_told(clock), _told(clock, "n2", probe_failure="it cannot be reached")])
    # It is for whoever granted it to let it lapse.
    pass_time(clock, 10, registry)
    assert {"n1": SERVING, "n2": NOT_SERVING} == healths(registry)
    registry.believe("c2", [_told(clock)])
    assert {"n1": SERVING} == healths(registry)
    registry.doubt("c2")
    assert {"n1": LOST} == healths(registry)
    registry.believe("c2", [_told(clock)])
    assert {"n1": SERVING} == healths(registry)
    registry.forget("c2")
    assert {} == healths(registry)


def test_an_id_that_is_taken_elsewhere_is_taken(registry: Registry, clock: ManualClock) -> None:
    registry.believe("c2", [_told(clock)])
    with pytest.raises(NodeIdTaken):
        registry.register(registration(instance="second"))
    registry.doubt("c2")
    registry.register(registration(instance="second"))
    assert "second" == registry.view.node("n1").registration.instance


def test_a_renewal_moves_a_lease_here(registry: Registry, clock: ManualClock) -> None:
    told = _told(clock)
    registry.believe("c2", [told])
    clock.advance(0.2)
    registry.renew("n1", "first", UNWELL)
    registry.believe("c2", [told])
    node = registry.view.node("n1")
    assert (NOT_SERVING, told.register_time) == (node.health, node.register_time)
    # It lapses there, which means nothing.
    registry.believe("c2", [replace(told, is_lost=True)])
    assert NOT_SERVING is registry.view.node("n1").health
    assert 1 == len(registry.leases())


def test_a_lease_that_moved_away_is_dropped_once_it_lapsed_here(
    registry: Registry, clock: ManualClock
) -> None:
    registry.register(registration())
    registry.renew("n1", "first", WELL)
    clock.advance(0.4)
    registry.believe("c2", [_told(clock)])
    pass_time(clock, 0.4, registry)
    registry.believe("c2", [_told(clock)])
    assert {"n1": SERVING} == healths(registry)
    assert [] == registry.leases()


@pytest.mark.parametrize("is_first_here", [True, False])
def test_of_two_processes_with_one_id_the_first_keeps_it(
    clock: ManualClock, is_first_here: bool, caplog: pytest.LogCaptureFixture
) -> None:
    here = new_registry(clock)
    early = clock.now()
    clock.advance(0.1)
    late = clock.now()
    here.register(registration(instance="here"))
    here.renew("n1", "here", WELL)
    elsewhere = _told(clock, instance="there", register_time=late if is_first_here else early)
    if is_first_here:
        elsewhere = replace(elsewhere, register_time=late.replace(year=late.year + 1))
    here.believe("c2", [elsewhere])

    kept = "here" if is_first_here else "there"
    assert kept == here.view.node("n1").registration.instance
    assert is_first_here is (len(here.leases()) == 1)
    assert ("two nodes have one id" in caplog.text) is not is_first_here
    if not is_first_here:
        with pytest.raises(LeaseGone):
            here.renew("n1", "here", WELL)
        with pytest.raises(NodeIdTaken):
            here.register(registration(instance="here"))


def test_who_gives_its_lease_back_here_is_gone_elsewhere_too(
    registry: Registry, clock: ManualClock
) -> None:
    other = new_registry(clock)
    other.register(registration())
    other.renew("n1", "first", WELL)
    registry.believe("c2", other.leases())
    registry.deregister("n1", "first")
    # What was told before it was heard.
    registry.believe("c2", other.leases())
    assert {} == healths(registry)
    other.believe("c1", registry.leases(), registry.left())
    assert {} == healths(other)
    assert [] == other.leases()
    pass_time(clock, 61, registry)
    assert [] == registry.left()


def test_what_a_former_process_granted_goes_on(registry: Registry, clock: ManualClock) -> None:
    kept, lost = _told(clock), _told(clock, "n2", is_lost=True)
    registry.take_over([kept, lost], grace_s=2.0)
    assert {"n1": SERVING, "n2": LOST} == healths(registry)
    pass_time(clock, 1.9, registry)
    registry.renew("n1", "first", WELL)
    pass_time(clock, 0.3, registry)
    assert {"n1": SERVING, "n2": LOST} == healths(registry)

    later = new_registry(clock)
    later.take_over([kept], grace_s=-5.0)
    assert {"n1": LOST} == healths(later)


def test_control_nodes_of_others_are_asked_and_their_edges_are_not(
    registry: Registry, clock: ManualClock
) -> None:
    control = _told(clock, "c2")
    control = replace(control, registration=replace(control.registration, role=NodeRole.CONTROL))
    registry.believe("c2", [control, _told(clock, "n2")])
    assert {"c2.test:7717"} == registry.to_probe("c1.test:7717")
    registry.take_probes({"c2.test:7717": "it cannot be reached"})
    assert {"c2": NOT_SERVING, "n2": SERVING} == healths(registry)
