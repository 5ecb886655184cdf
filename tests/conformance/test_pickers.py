"""What every strategy has to keep to: by itself, and within a selection of endpoints.

A picker judges nobody's health; that the unhealthy are left out is the selection's part. So the
suite looks at both, for each strategy there is.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import get_args

import pytest

from placet import Balancing, Endpoint, EndpointState, Unavailable
from placet._balancing.members import Fault, Health, Member
from placet._balancing.pickers import PICKERS, Picker, Strategy
from placet._balancing.selection import Selection

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
SEED = 20
BROKEN = Unavailable("cut off")


@dataclass(eq=False, slots=True)
class Seat:
    """A candidate that is as the test says."""

    name: str
    weight: float = 100.0
    ramp: float = 1.0
    in_flight: int = 0


@pytest.fixture(name="strategy", params=STRATEGIES)
def strategy_fixture(request: pytest.FixtureRequest) -> Strategy:
    strategy: Strategy = request.param
    return strategy


@pytest.fixture(name="picker")
def picker_fixture(strategy: Strategy) -> Picker:
    return PICKERS[strategy](random.Random(SEED))


def seats(*names: str) -> list[Seat]:
    return [Seat(name) for name in names]


def shares(picker: Picker, candidates: list[Seat], picks: int = 4_000) -> dict[str, float]:
    counts = Counter(picker.pick(candidates).name for _ in range(picks))
    return {seat.name: counts[seat.name] / picks for seat in candidates}


def selection(strategy: Strategy, *regions: int) -> Selection:
    """Return endpoints by region, all of them heard of: `r0-0`, `r0-1`, `r1-0` ..."""
    options = Balancing(strategy=strategy)
    tiers = [
        [Member(Endpoint(f"r{place}-{number}:1"), options, founding=True) for number in range(size)]
        for place, size in enumerate(regions)
    ]
    for tier in tiers:
        for member in tier:
            member.health_is(Health.SERVING, 0.0)
    rng = random.Random(SEED)
    return Selection(tiers, PICKERS[strategy](rng), rng, slow_start_s=10.0)


def picks(chosen: Selection, now_s: float, count: int = 300) -> Counter[str]:
    found = (chosen.pick(now_s) for _ in range(count))
    return Counter(member.endpoint.address for member in found if member is not None)


def test_there_are_the_four_that_are_promised() -> None:
    assert {"round_robin", "random", "least_request", "weighted"} == set(PICKERS) == set(STRATEGIES)


# ------------------------------------------------------------------------------- by itself


def test_an_only_candidate_is_picked(picker: Picker) -> None:
    only = seats("a")

    assert [only[0]] * 3 == [picker.pick(only) for _ in range(3)]


def test_equal_candidates_get_equal_shares(picker: Picker) -> None:
    found = shares(picker, seats("a", "b", "c", "d"))

    assert all(0.22 < share < 0.28 for share in found.values()), found


def test_a_candidate_on_its_ramp_gets_that_part_of_its_share(picker: Picker) -> None:
    candidates = seats("a", "b", "back")
    candidates[2].ramp = 0.1

    found = shares(picker, candidates)

    assert 0.03 < found["back"] < 0.065, found


def test_weights_count_where_the_strategy_knows_weights(strategy: Strategy, picker: Picker) -> None:
    candidates = [Seat("light", weight=100), Seat("heavy", weight=300)]

    found = shares(picker, candidates)

    expected = 0.75 if strategy in ("weighted", "least_request") else 0.5
    assert abs(found["heavy"] - expected) < 0.03, found


def test_who_was_away_does_not_get_what_was_missed(picker: Picker) -> None:
    candidates = seats("a", "b", "c")
    shares(picker, candidates)
    shares(picker, candidates[:2])

    first = Counter(picker.pick(candidates).name for _ in range(60))

    assert 6 <= first["c"] <= 36, first


def test_candidates_may_come_and_go_between_any_two_picks(picker: Picker) -> None:
    rng = random.Random(SEED)
    everybody = seats(*"abcdefgh")

    for _ in range(2_000):
        some = rng.sample(everybody, rng.randint(1, len(everybody)))
        assert picker.pick(some) in some


def test_newcomers_get_their_share_and_no_more(picker: Picker) -> None:
    shares(picker, seats("a", "b"))
    candidates = seats("c", "d", "e", "f")

    found = shares(picker, candidates)

    assert all(0.21 < share < 0.29 for share in found.values()), found


def test_what_is_remembered_stays_bounded(picker: Picker) -> None:
    for _ in range(500):
        picker.pick(seats("a", "b"))

    remembered = getattr(picker, "_due", {})
    assert len(remembered) <= 32


def test_least_request_goes_to_who_is_less_busy() -> None:
    picker = PICKERS["least_request"](random.Random(SEED))
    candidates = seats("idle", "busy", "busier")
    _, busy, busier = candidates
    busy.in_flight, busier.in_flight = 5, 50

    found = shares(picker, candidates)

    # Of two drawn the less busy: the busiest is never it.
    assert 0.0 == found["busier"]
    assert 0.62 < found["idle"] < 0.71, found


def test_least_request_counts_what_is_under_way_by_weight() -> None:
    picker = PICKERS["least_request"](random.Random(SEED))
    light, heavy = candidates = [Seat("light", weight=10), Seat("heavy", weight=100)]
    light.in_flight, heavy.in_flight = 2, 10

    assert 1.0 == shares(picker, candidates)["heavy"]


@pytest.mark.parametrize("strategy", ["round_robin", "weighted"])
def test_turns_are_interleaved(strategy: Strategy) -> None:
    picker = PICKERS[strategy](random.Random(SEED))
    candidates = seats("a", "b", "c")

    rounds = ["".join(picker.pick(candidates).name for _ in range(3)) for _ in range(50)]

    assert all("abc" == "".join(sorted(turn)) for turn in rounds), rounds


# ---------------------------------------------------------------------- within a selection


def test_the_unhealthy_get_nothing_while_somebody_is_healthy(strategy: Strategy) -> None:
    chosen = selection(strategy, 4)
    sick, gone, ejected, well = chosen.tiers[0]
    sick.health_is(Health.NOT_SERVING, 1.0)
    gone.health_is(Health.AWAY, 1.0)
    ejected.eject(1.0)
    chosen.doubt()

    assert {well.endpoint.address: 300} == picks(chosen, 1.5)


def test_when_nobody_is_healthy_everybody_is_tried(strategy: Strategy) -> None:
    chosen = selection(strategy, 3)
    for member in chosen.tiers[0]:
        member.health_is(Health.AWAY, 1.0)
    chosen.doubt()

    found = picks(chosen, 1.5)

    assert {"r0-0:1", "r0-1:1", "r0-2:1"} == set(found)


def test_who_was_tried_is_left_out(strategy: Strategy) -> None:
    chosen = selection(strategy, 3)
    first, second, third = chosen.tiers[0]

    left = {chosen.pick(1.0, {first, second}) for _ in range(50)}

    assert {third} == left
    assert chosen.pick(1.0, {first, second, third}) is None


def test_a_retry_goes_to_the_next_region_before_it_goes_to_the_sick(strategy: Strategy) -> None:
    chosen = selection(strategy, 2, 1)
    tried, sick = chosen.tiers[0]
    sick.health_is(Health.AWAY, 1.0)
    chosen.doubt()

    assert {chosen.tiers[1][0]} == {chosen.pick(1.5, {tried}) for _ in range(20)}


def test_a_suspect_gets_nothing_until_more_is_known(strategy: Strategy) -> None:
    chosen = selection(strategy, 2)
    suspect, other = chosen.tiers[0]
    suspect.begin()
    suspect.end()
    suspect.failed(BROKEN, Fault.BROKEN, 0.9, 1.0)
    chosen.doubt()

    assert {other.endpoint.address} == set(picks(chosen, 2.9))
    assert {suspect.endpoint.address, other.endpoint.address} == set(picks(chosen, 3.1))


def test_an_endpoint_that_comes_back_gets_little_at_first(strategy: Strategy) -> None:
    chosen = selection(strategy, 2)
    back, _ = chosen.tiers[0]
    back.health_is(Health.AWAY, 1.0)
    chosen.doubt()
    picks(chosen, 2.0)
    back.health_is(Health.SERVING, 3.0)
    chosen.doubt()

    at_once = picks(chosen, 3.0, 1_000)[back.endpoint.address] / 1_000
    halfway = picks(chosen, 8.0, 1_000)[back.endpoint.address] / 1_000
    later = picks(chosen, 13.1, 1_000)[back.endpoint.address] / 1_000

    assert 0.05 < at_once < 0.15
    assert 0.28 < halfway < 0.42
    assert 0.44 < later < 0.56


def test_the_next_region_gets_nothing_while_a_nearer_one_can_serve(strategy: Strategy) -> None:
    chosen = selection(strategy, 2, 2)
    chosen.tiers[0][0].health_is(Health.AWAY, 1.0)
    chosen.doubt()

    assert {"r0-1:1": 300} == picks(chosen, 1.5)


def test_a_region_that_is_lost_hands_over_to_the_next_and_comes_back_slowly(
    strategy: Strategy,
) -> None:
    chosen = selection(strategy, 2, 2, 2)
    picks(chosen, 0.5)
    for member in chosen.tiers[0]:
        member.health_is(Health.AWAY, 1.0)
    chosen.doubt()
    lost = picks(chosen, 1.5)
    for member in chosen.tiers[0]:
        member.health_is(Health.SERVING, 5.0)
    chosen.doubt()
    at_once = picks(chosen, 5.0, 1_000)
    later = picks(chosen, 16.0)

    near, far = {"r0-0:1", "r0-1:1"}, {"r1-0:1", "r1-1:1"}
    assert far == set(lost)
    assert near | far == set(at_once)
    assert 50 < sum(at_once[address] for address in near) < 160
    assert near == set(later)


def test_a_region_that_falls_again_on_its_way_back_is_left_again(strategy: Strategy) -> None:
    chosen = selection(strategy, 1, 1)
    (near,), (far,) = chosen.tiers
    picks(chosen, 0.0)
    near.health_is(Health.AWAY, 1.0)
    chosen.doubt()
    picks(chosen, 1.5)
    near.health_is(Health.SERVING, 2.0)
    chosen.doubt()
    picks(chosen, 9.0)
    near.health_is(Health.AWAY, 9.5)
    chosen.doubt()
    assert {far.endpoint.address} == set(picks(chosen, 9.6))
    near.health_is(Health.SERVING, 10.0)
    chosen.doubt()

    assert picks(chosen, 10.0, 1_000)[near.endpoint.address] < 160


def test_an_endpoint_that_is_added_is_found_and_one_that_is_removed_is_left(
    strategy: Strategy,
) -> None:
    chosen = selection(strategy, 2)
    picks(chosen, 0.5)
    former = chosen.tiers[0]
    options = Balancing(strategy=strategy)
    added = Member(Endpoint("added:1"), options, founding=False)
    rng = random.Random(SEED)
    changed = Selection(
        [[former[1], added]], PICKERS[strategy](rng), rng, slow_start_s=options.slow_start_s
    )
    changed.take_over(chosen)
    connecting = picks(changed, 1.0)
    added.health_is(Health.SERVING, 1.1)
    changed.doubt()

    assert {"r0-1:1": 300} == connecting
    assert EndpointState.READY is added.state(1.2)
    assert {"r0-1:1", "added:1"} == set(picks(changed, 5.0))
