"""The rules of balancing by themselves: no servers, and a clock that a test sets."""

from __future__ import annotations

import random
from typing import Any

import pytest

import placet
from placet import Balancing, Endpoint, EndpointState
from placet._balancing.attempts import Attempt, Call, Method
from placet._balancing.balancer import Balancer
from placet._balancing.budget import RetryBudget
from placet._balancing.ejection import Outcomes
from placet._balancing.members import Fault, Health, Member
from placet._balancing.outcomes import Outcome
from placet._balancing.pace import Pace

EVALUATE = Method("/placet.v1.EvaluateService/Evaluate", is_repeatable=True, is_decision=True)
PUBLISH = Method("/placet.v1.PolicyService/Publish", is_repeatable=True, is_decision=False)
STREAM = Method("/placet.v1.EvaluateService/X", is_repeatable=False, is_decision=False)
BROKEN = Outcome(error=placet.Unavailable("gone"), fault=Fault.BROKEN, may_repeat=True)
SILENT = Outcome(error=placet.DeadlineExceeded("late"), fault=Fault.SILENT, may_repeat=True)
BUSY = Outcome(error=placet.ResourceExhausted("busy"), may_repeat=True, is_refusal=True)
WRONG = Outcome(error=placet.InvalidRequest("wrong"))


def fleet(count: int = 3, **options: Any) -> Balancer:
    balancer = Balancer(Balancing(strategy="round_robin", **options), rng=random.Random(3))
    balancer.route([[Endpoint(f"e{number}:1") for number in range(count)]])
    for member in balancer.wanted():
        balancer.health(member, Health.SERVING, 0.0)
    return balancer


def call(
    balancer: Balancer, method: Method = EVALUATE, *, now_s: float = 100.0, timeout_s: float = 1.0
) -> Call:
    return Call(balancer, method, "acme", now_s + timeout_s, random.Random(3))


def state(balancer: Balancer, member: Member, now_s: float) -> EndpointState:
    (found,) = [
        each for each in balancer.statistics(now_s) if each.address == member.endpoint.address
    ]
    return found.state


# -------------------------------------------------------------------------------- attempts


def test_a_decision_is_given_part_of_the_time_while_there_are_others() -> None:
    made = call(fleet())
    begun_s, timeouts = 100.0, []
    for _ in range(3):
        attempt = made.begin(begun_s)
        timeouts.append(attempt.timeout_s)
        begun_s += attempt.timeout_s
        made.failed(attempt, SILENT, begun_s)

    assert [0.25, 0.25, 0.5] == [pytest.approx(timeout_s) for timeout_s in timeouts]


def test_patience_is_never_more_than_half_of_what_is_left() -> None:
    assert 0.1 == pytest.approx(call(fleet(), timeout_s=0.2).begin(100.0).timeout_s)


def test_patience_grows_with_what_is_usual() -> None:
    balancer = fleet()
    for _ in range(20):
        made = call(balancer)
        made.answered(made.begin(100.0), 100.1)

    assert 0.4 == pytest.approx(call(balancer, timeout_s=5.0).begin(100.0).timeout_s)


def test_patience_that_is_set_is_kept() -> None:
    balancer = fleet(attempt_timeout_s=0.05)

    assert 0.05 == call(balancer).begin(100.0).timeout_s


@pytest.mark.parametrize(
    ("balancer", "method"),
    [
        (fleet(1), EVALUATE),
        (fleet(), PUBLISH),
        (fleet(), STREAM),
        (fleet(attempts=1), EVALUATE),
        (fleet(retry_ratio=0.0, retries_per_second=0.0), EVALUATE),
    ],
    ids=["nobody else", "no decision", "a stream", "one attempt", "no budget"],
)
def test_what_cannot_be_repeated_in_time_is_given_all_of_it(
    balancer: Balancer, method: Method
) -> None:
    assert 1.0 == pytest.approx(call(balancer, method).begin(100.0).timeout_s)


def test_each_attempt_is_at_another_endpoint_and_the_third_is_the_last() -> None:
    made = call(fleet(5))
    attempts = [made.begin(100.0)]
    while made.failed(attempts[-1], BROKEN, 100.0) is not None:
        attempts.append(made.begin(100.0))

    assert 3 == len({attempt.member for attempt in attempts}) == len(attempts)


def test_when_everybody_was_tried_there_is_a_pause_before_the_next() -> None:
    made = call(fleet(2))

    assert 0.0 == made.failed(made.begin(100.0), BROKEN, 100.0)
    pause_s = made.failed(made.begin(100.0), BROKEN, 100.0)
    assert pause_s is not None
    assert 0.0 < pause_s <= 0.1
    assert made.begin(100.1).timeout_s == pytest.approx(0.9)


def test_who_is_busy_everywhere_is_not_asked_again() -> None:
    made = call(fleet(2))

    assert 0.0 == made.failed(made.begin(100.0), BUSY, 100.0)
    assert made.failed(made.begin(100.0), BUSY, 100.0) is None


def test_nothing_is_repeated_that_may_have_been_done_or_is_wrong() -> None:
    for method, outcome in ((STREAM, BROKEN), (EVALUATE, WRONG)):
        made = call(fleet(), method)
        assert made.failed(made.begin(100.0), outcome, 100.0) is None


def test_a_refusal_is_repeated_whatever_it_is_of() -> None:
    made = call(fleet(), STREAM)

    assert 0.0 == made.failed(made.begin(100.0), BUSY, 100.0)


def test_nothing_is_repeated_when_the_time_is_up() -> None:
    made = call(fleet())

    assert made.failed(made.begin(100.0), BROKEN, 101.0) is None


def test_a_call_that_lost_is_held_against_its_endpoint_only_when_it_took_long() -> None:
    balancer = fleet(hedge_after_s=0.1)
    made = call(balancer)
    first = made.begin(100.0, is_hedged=True)
    beside = made.hedge(100.1, [first])
    assert beside is not None
    assert beside.member is not first.member
    made.lost(beside, 100.2)
    made.lost(first, 100.4)

    assert EndpointState.READY is state(balancer, beside.member, 100.4)
    assert EndpointState.SUSPECT is state(balancer, first.member, 100.4)


def test_hedges_pay_from_the_budget() -> None:
    balancer = fleet(hedge_after_s=0.1, retry_ratio=0.0, retries_per_second=0.1)
    hedges = []
    for _ in range(5):
        made = call(balancer)
        hedges.append(made.hedge(100.0, [made.begin(100.0)]))

    assert 1 == sum(hedge is not None for hedge in hedges)


def test_a_budget_is_whole_again_ten_seconds_after_it_was_spent() -> None:
    budget = RetryBudget(ratio=0.0, per_second=0.5)

    spent = [sum(budget.withdraw(second) for _ in range(20)) for second in (100.0, 109.0, 110.0)]

    assert [5, 0, 5] == spent


# ------------------------------------------------------------------------------- suspicion


def test_silence_is_suspect_only_when_nothing_else_came_either() -> None:
    balancer = fleet()
    silent, answering = call(balancer), call(balancer)
    attempt = silent.begin(100.0)
    other = answering.begin(100.0)
    while other.member is not attempt.member:
        answering.answered(other, 100.0)
        other = answering.begin(100.0)
    answering.answered(other, 100.1)
    silent.failed(attempt, SILENT, 100.25)

    assert EndpointState.READY is state(balancer, attempt.member, 100.25)


def test_suspicion_ends_with_the_first_answer_or_word_of_health() -> None:
    for mend in ("answer", "health"):
        balancer = fleet()
        made, other = call(balancer), call(balancer)
        attempts = [made.begin(100.0)]
        beside = other.begin(100.0)
        while beside.member is not attempts[0].member:
            other.dropped(beside)
            beside = other.begin(100.0)
        made.failed(attempts[0], BROKEN, 100.1)
        assert EndpointState.SUSPECT is state(balancer, beside.member, 100.2)
        if mend == "answer":
            other.answered(beside, 100.3)
        else:
            balancer.health(beside.member, Health.SERVING, 100.3)
        assert EndpointState.READY is state(balancer, beside.member, 100.3)


# -------------------------------------------------------------------------------- ejection


def fail_at(balancer: Balancer, member: Member, now_s: float, times: int = 1) -> None:
    for _ in range(times):
        member.begin()
        balancer.failed(member, placet.Internal("bad"), Fault.FAILED, now_s, now_s)


def answer_at(balancer: Balancer, member: Member, now_s: float, times: int = 1) -> None:
    for _ in range(times):
        member.begin()
        balancer.answered(member, 0.001, "/x", now_s)


def test_failures_in_a_row_eject_and_an_answer_in_between_does_not() -> None:
    balancer = fleet()
    bad, good, _ = balancer.wanted()
    fail_at(balancer, bad, 100.0, 3)
    fail_at(balancer, good, 100.0, 2)
    answer_at(balancer, good, 100.0)
    fail_at(balancer, good, 100.0, 2)

    assert EndpointState.EJECTED is state(balancer, bad, 100.5)
    assert EndpointState.READY is state(balancer, good, 100.5)
    assert EndpointState.READY is state(balancer, bad, 101.1)


def test_one_failure_after_its_return_ejects_again_for_twice_as_long() -> None:
    balancer = fleet()
    bad, *_ = balancer.wanted()
    fail_at(balancer, bad, 100.0, 3)
    fail_at(balancer, bad, 101.1)

    assert EndpointState.EJECTED is state(balancer, bad, 103.0)
    assert EndpointState.READY is state(balancer, bad, 103.2)


def test_ejections_get_no_longer_than_half_a_minute_and_are_forgotten_in_time() -> None:
    outcomes = Outcomes(Balancing())
    until_s, spans = 0.0, []
    for _ in range(8):
        before_s, until_s = until_s, outcomes.eject(until_s)
        spans.append(until_s - before_s)
    much_later_s = until_s + 600

    assert [1, 2, 4, 8, 16, 30, 30, 30] == spans
    assert 1.0 == outcomes.eject(much_later_s) - much_later_s


def test_a_share_of_failures_ejects_what_fails_every_other_time() -> None:
    balancer = fleet()
    bad, good, _ = balancer.wanted()
    for _ in range(9):
        answer_at(balancer, bad, 100.0)
        fail_at(balancer, bad, 100.0)
        answer_at(balancer, good, 100.0, 2)
    assert EndpointState.READY is state(balancer, bad, 100.0)
    answer_at(balancer, bad, 100.0)
    fail_at(balancer, bad, 100.0)

    assert EndpointState.EJECTED is state(balancer, bad, 100.0)


def test_what_fails_everywhere_ejects_nobody_by_its_share() -> None:
    balancer = fleet(4)
    for _ in range(15):
        for member in balancer.wanted():
            answer_at(balancer, member, 100.0)
            fail_at(balancer, member, 100.0)

    states = {state(balancer, member, 103.0) for member in balancer.wanted()}
    assert {EndpointState.READY} == states
    assert [0] * 4 == [found.ejections for found in balancer.statistics(103.0)]


def test_no_more_than_a_share_is_ejected_at_a_time() -> None:
    balancer = fleet(4)
    for member in balancer.wanted():
        fail_at(balancer, member, 100.0, 5)

    ejected = [
        member
        for member in balancer.wanted()
        if state(balancer, member, 100.0) is EndpointState.EJECTED
    ]
    assert 2 == len(ejected)


def test_the_only_endpoint_is_never_ejected() -> None:
    balancer = fleet(1)
    (only,) = balancer.wanted()
    fail_at(balancer, only, 100.0, 9)

    assert EndpointState.READY is state(balancer, only, 100.0)


# ---------------------------------------------------------------------------------- routes


def test_what_is_listed_no_longer_is_kept_until_its_last_call_is_over() -> None:
    balancer = fleet(2)
    changes: list[int] = []
    balancer.on_change = lambda: changes.append(1)
    made = call(balancer)
    attempt = made.begin(100.0)
    left = [Endpoint(f"e{number}:1") for number in range(2)]
    left.remove(attempt.member.endpoint)
    balancer.route([left])

    assert EndpointState.DRAINING is state(balancer, attempt.member, 100.0)
    assert [] == balancer.gone()
    changes.clear()
    made.answered(attempt, 100.1)
    assert [1] == changes
    assert [attempt.member] == balancer.gone()
    assert 1 == len(balancer.statistics(100.1))


def test_a_route_that_says_nothing_new_changes_nothing() -> None:
    balancer = fleet(2)
    changes: list[int] = []
    balancer.on_change = lambda: changes.append(1)

    balancer.route([[Endpoint("e0:1"), Endpoint("e1:1")]])
    assert [] == changes
    balancer.route([[Endpoint("e0:1", weight=7), Endpoint("e1:1")]])
    assert [1] == changes
    assert [7, 100] == [found.weight for found in balancer.statistics(0.0)]


def test_a_tenants_own_route_is_forgotten_after_a_while() -> None:
    balancer = fleet(1)
    balancer.tenant_route("acme", [[Endpoint("other:1")]], 100.0)

    def who(now_s: float) -> Attempt:
        return call(balancer, now_s=now_s).begin(now_s)

    assert "other:1" == who(159.0).member.endpoint.address
    assert "e0:1" == who(161.0).member.endpoint.address
    assert "e0:1" == call(balancer).begin(100.0).member.endpoint.address


def test_tenants_routes_are_bounded() -> None:
    balancer = fleet(1)
    for number in range(1_100):
        balancer.tenant_route(f"tenant-{number}", [[Endpoint(f"t{number}:1")]], 100.0)
    balancer.gone()

    assert 1_024 + 1 == len(balancer.statistics(100.0))


def test_next_regions_are_kept_warm_in_a_small_number() -> None:
    balancer = Balancer(Balancing(regions=["a", "b", "c"], warm_fallbacks=1))
    balancer.route([[Endpoint(f"{region}{number}:1") for number in range(2)] for region in "abc"])
    near = balancer.wanted()
    for member in near[:2]:
        balancer.health(member, Health.AWAY, 1.0)
    balancer.begin("acme", "/x", 2.0)

    assert ["a0:1", "a1:1", "b0:1"] == [member.endpoint.address for member in near]
    assert ["a0:1", "a1:1", "b0:1", "b1:1", "c0:1"] == [
        member.endpoint.address for member in balancer.wanted()
    ]


def test_a_region_nobody_watched_before_is_found_when_it_is_needed() -> None:
    """With nothing kept warm, its endpoints were taken for dead, and the region never used."""
    balancer = Balancer(Balancing(regions=["a", "b"], warm_fallbacks=0))
    balancer.route([[Endpoint("a:1")], [Endpoint("b:1")]])
    (near,) = balancer.wanted()
    balancer.watch_begins(near, 0.0)
    balancer.health(near, Health.AWAY, 1.0)
    begun = balancer.begin("acme", "/x", 50.0)

    assert begun is not None
    assert "b:1" == begun.member.endpoint.address


# ------------------------------------------------------------------------------------ pace


def test_pace_forgets_what_was_long_ago() -> None:
    pace = Pace()
    pace.note(5.0)
    assert 5.0 == pace.longest_s
    for _ in range(150):
        pace.note(0.01)

    assert (0.01, 0.01) == (pace.longest_s, pace.p95_s)


def test_pace_knows_what_one_in_twenty_exceeds() -> None:
    pace = Pace()
    for number in range(128):
        pace.note((number % 100) / 1000)

    assert 0.085 <= pace.p95_s <= 0.099
    assert 0.099 == pace.longest_s
