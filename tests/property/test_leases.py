"""Whatever nodes do and whenever they do it: who renews in time is there, who does not is lost."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from placet_engine.items import NodeSettings, Revision
from placet_engine.placement.nodes import Condition, NodeHealth
from placet_server.errors import LeaseGone, NodeIdTaken
from placet_server.regions.leases import Lease, LeaseTerms
from placet_server.regions.registry import LOST_FOR_S, Registry
from placet_server.testing import ManualClock
from tests.unit.regions.nodes import registration

_LEASE_S = 1.0
ids = st.sampled_from(["a", "b"])
instances = st.sampled_from(["1", "2"])
conditions = st.builds(
    Condition,
    health=st.sampled_from([NodeHealth.SERVING, NodeHealth.NOT_SERVING]),
    draining=st.booleans(),
)


@dataclass
class _Expected:
    """What one node's entry has to be."""

    instance: str
    deadline_s: float
    condition: Condition | None = None
    lost_at_s: float | None = None


class Leases(RuleBasedStateMachine):
    """One registry, beside what is plainly expected of it."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.registry = Registry(
            clock=self.clock, terms=LeaseTerms(lease_s=_LEASE_S, max_renewals_per_second=1e9)
        )
        self.expected: dict[str, _Expected] = {}
        self.settings: dict[str, bool] = {}
        self.revision = 0
        self.seen = dict(self.registry.view.nodes)
        self.moved = self.registry.view.membership.count

    def _is_live(self, id_: str) -> bool:
        node = self.expected.get(id_)
        return node is not None and node.lost_at_s is None

    @rule(id_=ids, instance=instances)
    def register(self, id_: str, instance: str) -> None:
        now_s = self.clock.monotonic()
        if self._is_live(id_) and self.expected[id_].instance != instance:
            with pytest.raises(NodeIdTaken):
                self.registry.register(registration(id_, instance))
            return
        self.registry.register(registration(id_, instance))
        known = self.expected[id_].condition if self._is_live(id_) else None
        self.expected[id_] = _Expected(instance, now_s + _LEASE_S, known)

    @rule(id_=ids, instance=instances, condition=conditions)
    def renew(self, id_: str, instance: str, condition: Condition) -> None:
        if not self._is_live(id_) or self.expected[id_].instance != instance:
            with pytest.raises(LeaseGone):
                self.registry.renew(id_, instance, condition)
            return
        self.registry.renew(id_, instance, condition)
        deadline_s = self.clock.monotonic() + _LEASE_S
        self.expected[id_] = _Expected(instance, deadline_s, condition)

    @rule(id_=ids, instance=instances)
    def deregister(self, id_: str, instance: str) -> None:
        self.registry.deregister(id_, instance)
        if id_ in self.expected and self.expected[id_].instance == instance:
            del self.expected[id_]

    @rule(id_=ids, draining=st.booleans())
    def set_draining(self, id_: str, draining: bool) -> None:
        self.revision += 1
        settings = NodeSettings(node=id_, draining=draining)
        self.registry.take_settings(id_, settings, Revision(self.revision))
        self.settings[id_] = draining

    @rule(seconds=st.sampled_from([0.1, 0.5, 0.9, 1.0, 2.0, LOST_FOR_S]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.registry.sweep()
        now_s = self.clock.monotonic()
        for id_, node in list(self.expected.items()):
            if node.lost_at_s is None and now_s >= node.deadline_s:
                node.lost_at_s = now_s
            elif node.lost_at_s is not None and now_s >= node.lost_at_s + LOST_FOR_S:
                del self.expected[id_]

    @precondition(lambda self: self.expected)
    @rule(seconds=st.sampled_from([0.5, 5.0]))
    def oversleep(self, seconds: float) -> None:
        """The process itself did nothing: nobody is lost for that."""
        self.clock.advance(seconds)
        self.registry.sweep(overslept_s=seconds)
        for node in self.expected.values():
            node.deadline_s += seconds
            if node.lost_at_s is not None:
                node.lost_at_s += seconds

    @invariant()
    def who_is_there_is_seen(self) -> None:
        nodes = self.registry.view.nodes
        assert nodes.keys() == self.expected.keys()
        for id_, expected in self.expected.items():
            node = nodes[id_]
            assert node.registration.instance == expected.instance
            if expected.lost_at_s is not None:
                assert node.health is NodeHealth.LOST
            elif expected.condition is None:
                assert node.health is NodeHealth.NOT_SERVING
            else:
                assert node.health is expected.condition.health
            drains = self.settings.get(id_, False)
            drains = drains or bool(expected.condition and expected.condition.draining)
            assert node.draining is drains
            serves = expected.condition is not None and node.health is NodeHealth.SERVING
            assert node.takes_calls is (serves and not drains)

    @invariant()
    def news_are_told_and_nothing_else(self) -> None:
        now = dict(self.registry.view.nodes)
        is_news = {id_: node.standing for id_, node in now.items()} != {
            id_: node.standing for id_, node in self.seen.items()
        }
        moved = self.registry.view.membership.count
        assert not is_news or moved > self.moved
        self.seen, self.moved = now, moved


TestLeases = Leases.TestCase


class TwoGrantors(RuleBasedStateMachine):
    """Two registries that hear of each other now and then agree once they have heard."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        terms = LeaseTerms(lease_s=_LEASE_S, max_renewals_per_second=1e9)
        self.registries = [Registry(clock=self.clock, terms=terms) for _ in range(2)]

    @rule(number=st.integers(0, 1), id_=ids, instance=instances)
    def register(self, number: int, id_: str, instance: str) -> None:
        with suppress(NodeIdTaken):
            self.registries[number].register(registration(id_, instance))

    @rule(number=st.integers(0, 1), id_=ids, instance=instances)
    def renew(self, number: int, id_: str, instance: str) -> None:
        with suppress(LeaseGone):
            self.registries[number].renew(id_, instance, Condition())

    @rule(number=st.integers(0, 1), id_=ids, instance=instances)
    def deregister(self, number: int, id_: str, instance: str) -> None:
        self.registries[number].deregister(id_, instance)

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.1]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for registry in self.registries:
            registry.sweep()

    @rule(number=st.integers(0, 1))
    def hear(self, number: int) -> None:
        self._hear(number)

    def _hear(self, number: int) -> None:
        other = self.registries[1 - number]
        self.registries[number].believe("other", other.leases(), other.left())

    def _live(self, number: int) -> dict[str, str]:
        nodes = self.registries[number].view.nodes.values()
        return {
            node.id: node.registration.instance
            for node in nodes
            if node.health is not NodeHealth.LOST
        }

    @rule()
    def agree(self) -> None:
        for number in (0, 1, 0, 1):
            self._hear(number)
        assert self._live(0) == self._live(1)

    @rule()
    def be_silent(self) -> None:
        """Whoever nobody has renewed for longer than a lease is lost to both."""
        self.clock.advance(_LEASE_S + 0.1)
        for registry in self.registries:
            registry.sweep()
        for number in (0, 1, 0, 1):
            self._hear(number)
        assert {} == self._live(0) == self._live(1)


TestTwoGrantors = TwoGrantors.TestCase


def test_of_two_leases_one_goes_before_the_other() -> None:
    """Whatever they are, both control nodes take the same one."""
    clock = ManualClock()
    leases = []
    for instance in ("1", "2"):
        for is_lost in (False, True):
            for registered, renewed in ((0, 0), (0, 1), (1, 1), (1, 2)):
                times = ManualClock(clock.now())
                times.advance(registered)
                register_time = times.now()
                times.advance(renewed - registered)
                leases.append(
                    Lease(
                        registration=registration("a", instance),
                        condition=Condition(),
                        register_time=register_time,
                        renew_time=times.now(),
                        lease_s=1.0,
                        is_lost=is_lost,
                    )
                )
    for one in leases:
        for other in leases:
            assert not (one.goes_before(other) and other.goes_before(one))
