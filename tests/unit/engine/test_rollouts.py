"""What can happen to a rollout, and what guards make of what was measured."""

from __future__ import annotations

import datetime
from dataclasses import replace

import mmh3
import pytest

from placet_engine.changes import Edit, ItemSet, candidate_edits
from placet_engine.items import (
    CANDIDATE_KEY,
    ROLLOUT_KEY,
    CandidateEdits,
    Item,
    Policy,
    Revision,
    RolloutRecord,
    body_from_json,
    body_to_json,
    canonical_json,
)
from placet_engine.rollouts import guards, moving
from placet_engine.rollouts.choosing import bucket
from placet_engine.rollouts.guards import LATENCY_BOUNDS_S, Samples
from placet_engine.rollouts.moving import MoveRefused
from placet_engine.rollouts.plan import (
    CanaryUnit,
    Guard,
    GuardKind,
    Plan,
    PlanDefaults,
    Step,
    Strategy,
)
from placet_engine.rollouts.record import (
    GuardStatus,
    Reading,
    Rollback,
    RollbackCause,
    Rollout,
    RolloutState,
)

NOON = datetime.datetime(2026, 6, 1, 12, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)
CANARY = Plan(
    strategy=Strategy.CANARY,
    steps=(Step(10, 60), Step(50, 60), Step(100, 60)),
    guards=PlanDefaults().guards,
)
SCHEDULED = Plan(strategy=Strategy.SCHEDULED, start_time=NOON + HOUR)
MANUAL = Plan(strategy=Strategy.MANUAL, deadline=NOON + HOUR)
_S = RolloutState
BREACH = Reading(kind=GuardKind.ERROR_RATE, measured=0.5, samples=100, status=GuardStatus.BREACHED)
WAITING = replace(BREACH, status=GuardStatus.WAITING)
HOLDS = replace(BREACH, status=GuardStatus.HOLDS)


def begun(plan: Plan = CANARY) -> Rollout:
    return moving.begin(
        id_="r1",
        plan=plan,
        stable_revision=4,
        seed=7,
        author="ann",
        message="why",
        now=NOON,
    )


# ---------------------------------------------------------------------------------- moves


@pytest.mark.parametrize(
    ("plan", "state", "share"),
    [
        (Plan(), _S.COMPLETED, 100),
        (CANARY, _S.RUNNING, 10),
        (SCHEDULED, _S.SCHEDULED, 0),
        (MANUAL, _S.AWAITING_APPROVAL, 0),
    ],
)
def test_how_a_rollout_begins(plan: Plan, state: RolloutState, share: int) -> None:
    rollout = begun(plan)

    assert (rollout.state, rollout.share_percent) == (state, share)


def test_steps_are_taken_when_they_are_due_and_one_at_a_time() -> None:
    rollout, now, shares = begun(), NOON, []
    while not rollout.state.is_final:
        shares.append(rollout.share_percent)
        early = moving.due(rollout, [HOLDS], now + datetime.timedelta(seconds=59))
        assert early is None
        # However late it is looked at: the next step is baked as well.
        now += HOUR
        after = moving.due(rollout, [HOLDS], now)
        assert after is not None
        rollout = after

    assert shares == [10, 50, 100]
    assert (rollout.state, rollout.step, rollout.share_percent) == (_S.COMPLETED, 2, 100)
    assert moving.due(rollout, [BREACH], now + HOUR) is None


@pytest.mark.parametrize(
    ("readings", "pending"), [([WAITING], 0), ([HOLDS, WAITING], 0), ([HOLDS], 1)]
)
def test_a_step_waits_for_samples_and_nodes(readings: list[Reading], pending: int) -> None:
    assert moving.due(begun(), readings, NOON + HOUR, pending_nodes=pending) is None


@pytest.mark.parametrize("state", [_S.RUNNING, _S.PAUSED])
def test_a_breach_undoes_it_at_once(state: RolloutState) -> None:
    after = moving.due(replace(begun(), state=state), [HOLDS, BREACH], NOON)

    assert after is not None
    assert after.state is _S.ROLLED_BACK
    assert after.rollback == Rollback(
        cause=RollbackCause.GUARD, time=NOON, step=0, share_percent=10, breach=BREACH
    )
    assert after.share_percent == 0


def test_a_disabled_guard_neither_undoes_nor_holds() -> None:
    disabled = Guard(kind=GuardKind.ERROR_RATE, threshold=0, disabled=True)
    rollout = begun(replace(CANARY, guards=(disabled,)))

    for reading in (BREACH, WAITING):
        after = moving.due(rollout, [reading], NOON + HOUR)
        assert after is not None
        assert after.step == 1


def test_a_scheduled_rollout_waits_for_its_time_and_then_is_done() -> None:
    assert moving.due(begun(SCHEDULED), [], NOON) is None

    after = moving.due(begun(SCHEDULED), [], NOON + HOUR)

    assert after is not None
    assert after.state is _S.COMPLETED


def test_a_scheduled_rollout_that_nodes_reject_does_not_begin() -> None:
    after = moving.due(begun(SCHEDULED), [replace(BREACH, kind=GuardKind.REJECTIONS)], NOON + HOUR)

    assert after is not None
    assert after.state is _S.ROLLED_BACK


def test_what_nobody_approves_is_undone_at_its_deadline() -> None:
    assert moving.due(begun(MANUAL), [], NOON) is None

    after = moving.due(begun(MANUAL), [], NOON + HOUR)

    assert after is not None
    assert after.rollback is not None
    assert after.rollback.cause is RollbackCause.NOT_APPROVED
    assert moving.due(begun(replace(MANUAL, deadline=None)), [], NOON + 1000 * HOUR) is None


# What people may do in which state, and where it leads.
_CAN = {
    "approve": {_S.AWAITING_APPROVAL: _S.COMPLETED},
    "pause": {_S.RUNNING: _S.PAUSED},
    "resume": {_S.PAUSED: _S.RUNNING},
    "promote": {
        _S.RUNNING: _S.RUNNING,
        _S.PAUSED: _S.RUNNING,
        _S.SCHEDULED: _S.COMPLETED,
    },
    "roll back": {
        _S.SCHEDULED: _S.ROLLED_BACK,
        _S.AWAITING_APPROVAL: _S.ROLLED_BACK,
        _S.RUNNING: _S.ROLLED_BACK,
        _S.PAUSED: _S.ROLLED_BACK,
    },
}
_MOVES = {
    "approve": lambda it: moving.approve(it, "bob", NOON),
    "pause": lambda it: moving.pause(it, NOON),
    "resume": lambda it: moving.resume(it, NOON),
    "promote": lambda it: moving.promote(it, [HOLDS], NOON, all_steps=False),
    "roll back": lambda it: moving.roll_back(it, "bob", "no", NOON),
}
_PLANS = {_S.SCHEDULED: SCHEDULED, _S.AWAITING_APPROVAL: MANUAL}


@pytest.mark.parametrize("move", _CAN)
@pytest.mark.parametrize("state", RolloutState)
def test_what_people_may_do_in_each_state(move: str, state: RolloutState) -> None:
    rollout = replace(begun(_PLANS.get(state, CANARY)), state=state)
    leads_to = _CAN[move].get(state)
    if leads_to is None:
        with pytest.raises(MoveRefused, match="`r1`"):
            _MOVES[move](rollout)
    else:
        assert _MOVES[move](rollout).state is leads_to


def test_promoting_takes_one_step_or_all() -> None:
    one = moving.promote(begun(), [WAITING], NOON, all_steps=False)
    last = moving.promote(replace(begun(), step=2), [WAITING], NOON, all_steps=False)
    every = moving.promote(begun(), [WAITING], NOON, all_steps=True)

    assert (one.state, one.step) == (_S.RUNNING, 1)
    assert last.state is every.state is _S.COMPLETED


def test_what_is_breached_cannot_be_promoted() -> None:
    with pytest.raises(MoveRefused, match="guard on errors is breached"):
        moving.promote(begun(), [BREACH], NOON, all_steps=True)


# --------------------------------------------------------------------------------- guards

ERRORS = Guard(kind=GuardKind.ERROR_RATE, threshold=0.05, min_samples=100)
DENIES = Guard(kind=GuardKind.DENY_RATE_CHANGE, threshold=0.1, min_samples=100)
LATENCY = Guard(kind=GuardKind.LATENCY, threshold=0.01, min_samples=100)
REJECTIONS = Guard(kind=GuardKind.REJECTIONS, threshold=0, min_samples=100)


def reading(guard: Guard, samples: Samples, rejections: int = 0) -> Reading:
    (found,) = guards.read(Plan(guards=(guard,)), samples, rejections=rejections)
    return found


@pytest.mark.parametrize(
    ("decisions", "errors", "measured", "status"),
    [
        (0, 0, 0.0, GuardStatus.WAITING),
        (99, 99, 1.0, GuardStatus.WAITING),
        (100, 5, 0.05, GuardStatus.HOLDS),
        (100, 6, 0.06, GuardStatus.BREACHED),
        (1000, 50, 0.05, GuardStatus.HOLDS),
        (1000, 51, 0.051, GuardStatus.BREACHED),
    ],
)
def test_errors_by_hand(decisions: int, errors: int, measured: float, status: GuardStatus) -> None:
    found = reading(ERRORS, Samples(decisions=decisions, errors=errors))

    assert (found.samples, found.status) == (decisions, status)
    assert found.measured == pytest.approx(measured)


@pytest.mark.parametrize(
    ("stable", "candidate", "measured", "status"),
    [
        (20, 20, 0.0, GuardStatus.HOLDS),
        (20, 40, 0.1, GuardStatus.HOLDS),
        (20, 41, 0.105, GuardStatus.BREACHED),
        # That fewer are denied is as suspicious.
        (60, 20, 0.2, GuardStatus.BREACHED),
    ],
)
def test_the_change_of_denials_by_hand(
    stable: int, candidate: int, measured: float, status: GuardStatus
) -> None:
    found = reading(
        DENIES, Samples(shadowed=200, stable_denials=stable, candidate_denials=candidate)
    )

    assert found.measured == pytest.approx(measured)
    assert found.status is status
    assert (found.stable_rate, found.candidate_rate) == (stable / 200, candidate / 200)


@pytest.mark.parametrize(
    ("slow", "measured", "status"),
    [
        # Of 1,000 the 99th percentile is the 990th: ten slow ones are still above it.
        (10, 0.001, GuardStatus.HOLDS),
        (11, 0.02, GuardStatus.BREACHED),
    ],
)
def test_the_99th_percentile_by_hand(slow: int, measured: float, status: GuardStatus) -> None:
    found = reading(LATENCY, Samples(latencies={0.001: 1000 - slow, 0.02: slow}))

    assert (found.measured, found.samples, found.status) == (measured, 1000, status)


def test_one_node_that_rejects_is_enough_without_any_samples() -> None:
    assert reading(REJECTIONS, Samples()).status is GuardStatus.HOLDS
    assert reading(REJECTIONS, Samples(), 1).status is GuardStatus.BREACHED
    tolerant = replace(REJECTIONS, threshold=1)
    assert reading(tolerant, Samples(), 1).status is GuardStatus.HOLDS


def test_samples_of_nodes_add_up() -> None:
    one = Samples(decisions=1, errors=2, latencies={0.1: 3}, shadowed=4, stable_denials=5)
    other = Samples(decisions=10, latencies={0.1: 1, 0.2: 1}, candidate_denials=6)

    assert guards.together([one, other]) == Samples(
        decisions=11,
        errors=2,
        latencies={0.1: 4, 0.2: 1},
        shadowed=4,
        stable_denials=5,
        candidate_denials=6,
    )


def test_bounds_of_times_rise_from_microseconds_to_seconds() -> None:
    assert list(LATENCY_BOUNDS_S) == sorted(LATENCY_BOUNDS_S)
    assert LATENCY_BOUNDS_S[0] == pytest.approx(1e-5)
    assert LATENCY_BOUNDS_S[-1] > 10


# ------------------------------------------------------------------------------- choosing


def test_buckets_are_the_upper_bits_of_murmur3() -> None:
    """Worked out by hand from the hash's published test value: murmur3("hello", 0)."""
    assert mmh3.hash("hello", 0, signed=False) == 0x248BFA47
    assert bucket(0, "hello") == 0x248BFA47 * 100 // 2**32 == 14


# ----------------------------------------------------------------------------------- items

BODY = Policy(id="p", cedar="permit(principal, action, resource);")
RECORDS = [
    begun(),
    begun(SCHEDULED),
    begun(MANUAL),
    replace(
        begun(replace(CANARY, unit=CanaryUnit.NODE, approver_groups=("leads",))),
        candidate_revision=5,
        approver="bob",
        state=_S.ROLLED_BACK,
        rollback=Rollback(
            cause=RollbackCause.GUARD,
            time=NOON,
            step=1,
            share_percent=50,
            breach=BREACH,
            actor="x",
            message="y",
        ),
    ),
]


@pytest.mark.parametrize("rollout", RECORDS)
def test_a_record_survives_json(rollout: Rollout) -> None:
    body = RolloutRecord(rollout)
    document = body_to_json(body)

    read = body_from_json(body.key.kind, document)

    assert read == body
    assert canonical_json(body_to_json(read)) == canonical_json(document)


def with_rollout(rollout: Rollout, *, at: int = 5, revision: int = 5) -> ItemSet:
    bodies = (BODY, RolloutRecord(rollout), CandidateEdits(deletes=(BODY.key,)))
    items = {body.key: Item("acme", Revision(at), body) for body in bodies}
    return ItemSet(owner="acme", revision=Revision(revision), items=items)


def test_steps_do_not_change_the_revision_that_decides() -> None:
    running = begun()
    assert with_rollout(running).content_revision == 4
    assert (
        with_rollout(replace(running, candidate_revision=5), at=9, revision=9).content_revision == 4
    )
    undone = moving.roll_back(running, "", "", NOON)
    assert with_rollout(undone).content_revision == 4
    done = moving.promote(running, [], NOON, all_steps=True)
    assert with_rollout(done).content_revision == 5
    # What is published after a rollout counts, whatever came of the rollout.
    assert with_rollout(undone, at=5, revision=6).content_revision == 6


def test_a_candidate_is_the_set_with_its_edits_at_its_own_revision() -> None:
    items = with_rollout(begun())

    candidate = items.candidate()

    assert candidate is not None
    assert dict(candidate.items) == {}
    assert candidate.revision == candidate.content_revision == 5
    assert with_rollout(moving.roll_back(begun(), "", "", NOON)).candidate() is None


def test_a_candidate_comes_to_edits_of_its_owner() -> None:
    candidate = CandidateEdits(upserts=(BODY,), deletes=(ROLLOUT_KEY, CANDIDATE_KEY))

    assert candidate_edits(candidate) == [
        Edit(BODY.key, BODY),
        Edit(ROLLOUT_KEY, None),
        Edit(CANDIDATE_KEY, None),
    ]
