"""How calls are distributed, against how they should be; and what holds whatever happens."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.chi_square import chi_square, chi_square_limit
from placet import Balancing, Endpoint, EndpointState, Unavailable
from placet._balancing.balancer import Balancer
from placet._balancing.budget import RetryBudget
from placet._balancing.members import Fault, Health, Member
from placet._balancing.pickers import Strategy

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
CALLS = 8_000
BROKEN = Unavailable("cut off")


def test_the_limit_is_that_of_the_tables() -> None:
    assert [10.8, 13.8, 16.3, 18.5] == [
        pytest.approx(chi_square_limit(freedom), abs=0.4) for freedom in (1, 2, 3, 4)
    ]


def fleet(strategy: Strategy, weights: Sequence[int], seed: int, **options: Any) -> Balancer:
    balancer = Balancer(Balancing(strategy=strategy, **options), rng=random.Random(seed))
    balancer.route(
        [[Endpoint(f"e{place}:1", weight=weight) for place, weight in enumerate(weights)]]
    )
    for member in balancer.wanted():
        balancer.health(member, Health.SERVING, 0.0)
    return balancer


def ask(balancer: Balancer, count: int, now_s: float = 1.0) -> Counter[str]:
    """Make calls one after the other."""
    counts: Counter[str] = Counter()
    for _ in range(count):
        begun = balancer.begin("acme", "/x", now_s)
        assert begun is not None
        counts[begun.member.endpoint.address] += 1
        balancer.answered(begun.member, 0.001, "/x", now_s)
    return counts


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_calls_are_distributed_as_the_strategy_says(strategy: Strategy, seed: int) -> None:
    weights = (100, 100, 100, 100, 100) if strategy != "weighted" else (100, 50, 200, 400, 25)
    counts = ask(fleet(strategy, weights, seed), CALLS)

    statistic = chi_square([counts[f"e{place}:1"] for place in range(5)], weights)

    assert statistic < chi_square_limit(4), (dict(counts), statistic)


def test_the_statistic_finds_a_distribution_that_is_off() -> None:
    counts = ask(fleet("random", (100, 100, 100, 100, 100), 1), CALLS)
    expected = (110, 100, 100, 100, 90)

    assert chi_square([counts[f"e{place}:1"] for place in range(5)], expected) > 18.5


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_of_five_on_its_ramp_gets_that_part(strategy: Strategy) -> None:
    balancer = fleet(strategy, (100,) * 5, 4)
    back = balancer.wanted()[0]
    balancer.health(back, Health.AWAY, 2.0)
    ask(balancer, 10, 2.0)
    balancer.health(back, Health.SERVING, 3.0)
    ask(balancer, 1, 3.0)
    counts = ask(balancer, CALLS, 8.0)

    # Half of the slow start is over: 0.1 and half of 0.9.
    statistic = chi_square([counts[f"e{place}:1"] for place in range(5)], [0.55, 1, 1, 1, 1])

    assert statistic < chi_square_limit(4), (dict(counts), statistic)


def test_least_request_avoids_a_slow_endpoint_and_round_robin_does_not() -> None:
    """One of four takes ten times as long; callers ask on and on, eight at a time."""
    found = {}
    for strategy in ("round_robin", "least_request"):
        balancer = fleet(strategy, (100,) * 4, 5)
        now_s, counts = 1.0, Counter[str]()
        running: list[tuple[float, Member]] = []
        for _ in range(4_000):
            if len(running) == 8:
                running.sort(key=lambda entry: -entry[0])
                now_s, done = running.pop()
                balancer.answered(done, 0.001, "/x", now_s)
            begun = balancer.begin("acme", "/x", now_s)
            assert begun is not None
            counts[begun.member.endpoint.address] += 1
            is_slow = begun.member.endpoint.address == "e0:1"
            running.append((now_s + (0.010 if is_slow else 0.001), begun.member))
        found[strategy] = counts["e0:1"] / 4_000

    assert 0.24 < found["round_robin"] < 0.26
    assert found["least_request"] < 0.12, found


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.sampled_from(["answer", "broken", "silent", "failed"])),
        st.tuples(st.just("health"), st.tuples(st.integers(0, 4), st.sampled_from(Health))),
        st.tuples(st.just("route"), st.lists(st.integers(0, 4), unique=True, min_size=1)),
        st.tuples(st.just("time"), st.floats(0.0, 5.0)),
    ),
    max_size=60,
)


@given(strategy=st.sampled_from(STRATEGIES), events=EVENTS, seed=st.integers(0, 1000))
def test_whatever_happens_the_unhealthy_get_nothing_while_somebody_is_healthy(
    strategy: Strategy, events: list[tuple[str, Any]], seed: int
) -> None:
    balancer = Balancer(Balancing(strategy=strategy), rng=random.Random(seed))
    endpoints = [Endpoint(f"e{place}:1") for place in range(5)]
    balancer.route([endpoints[:3], endpoints[3:]])
    now_s = 0.0
    for kind, event in events:
        if kind == "time":
            now_s += event
        elif kind == "route":
            balancer.route([[endpoints[place] for place in event]])
        elif kind == "health":
            place, health = event
            for member in balancer.wanted():
                if member.endpoint is endpoints[place]:
                    balancer.health(member, health, now_s)
        else:
            states = {found.address: found.state for found in balancer.statistics(now_s)}
            begun = balancer.begin("acme", "/x", now_s)
            assert begun is not None
            member = begun.member
            address = member.endpoint.address
            assert states[address] is not EndpointState.DRAINING
            if EndpointState.READY in states.values():
                assert states[address] in (EndpointState.READY, EndpointState.CONNECTING)
            if event == "answer":
                balancer.answered(member, 0.001, "/x", now_s)
            else:
                balancer.failed(member, BROKEN, Fault(event), now_s, now_s)
        balancer.gone()
    assert all(found.in_flight == 0 for found in balancer.statistics(now_s))


@given(
    steps=st.lists(st.tuples(st.floats(0.0, 3.0), st.booleans()), max_size=200),
    ratio=st.floats(0.0, 1.0),
    per_second=st.floats(0.0, 20.0),
)
def test_no_ten_seconds_see_more_retries_than_the_budget_has(
    steps: list[tuple[float, bool]], ratio: float, per_second: float
) -> None:
    budget = RetryBudget(ratio=ratio, per_second=per_second)
    now_s, calls, spent = 0.0, [], []
    for pause_s, is_retry in steps:
        now_s += pause_s
        if not is_retry:
            budget.deposit(now_s)
            calls.append(int(now_s))
        elif budget.withdraw(now_s):
            spent.append(int(now_s))
            recent = int(now_s) - 10
            allowed = per_second * 10 + ratio * sum(second > recent for second in calls)
            assert sum(second > recent for second in spent) <= allowed
