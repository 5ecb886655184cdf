"""Shares are sticky, monotone and of the size they say; rollouts go step by step."""

from __future__ import annotations

import datetime
from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from placet.wire import item_from_wire, item_to_wire
from placet_engine.editions import Edition, Variant
from placet_engine.items import CandidateEdits, Item, ItemKey, ItemKind, Revision, RolloutRecord
from placet_engine.model import EntityUid
from placet_engine.rollouts import moving
from placet_engine.rollouts.choosing import is_chosen, subject_key
from placet_engine.rollouts.plan import Guard, GuardKind, Plan, Step, Strategy
from placet_engine.rollouts.record import GuardStatus, Reading, Rollout, RolloutState
from tests.property import strategies
from tests.unit.engine import make

NOON = datetime.datetime(2026, 6, 1, 12, tzinfo=datetime.UTC)
seeds = st.integers(0, 2**32 - 1)
subjects = st.builds(EntityUid, st.sampled_from(["User", "Agent"]), st.text(max_size=20))
shares = st.lists(st.integers(1, 99), max_size=5, unique=True).map(
    lambda some: [*sorted(some), 100]
)


def rollout_of(seed: int, steps: list[int], step: int = 0) -> Rollout:
    return Rollout(
        id="r",
        plan=Plan(strategy=Strategy.CANARY, steps=tuple(Step(share, 60) for share in steps)),
        state=RolloutState.RUNNING,
        stable_revision=1,
        candidate_revision=2,
        step=step,
        seed=seed,
        create_time=NOON,
        update_time=NOON,
    )


@given(seed=seeds, subject=subjects, steps=shares)
def test_whoever_has_the_candidate_keeps_it(
    seed: int, subject: EntityUid, steps: list[int]
) -> None:
    program = make.program()
    variants = [
        Edition(program, program, rollout_of(seed, steps, step)).role_for(subject).variant
        for step in range(len(steps))
    ]

    assert all(
        after is Variant.CANDIDATE
        for before, after in pairwise(variants)
        if before is Variant.CANDIDATE
    )
    assert variants[-1] is Variant.CANDIDATE


@given(seed=seeds, subject=subjects, share=st.integers(0, 100))
def test_the_same_subject_gets_the_same_everywhere(
    seed: int, subject: EntityUid, share: int
) -> None:
    """What a node is called, and what else it knows, has no part in it."""
    program = make.program()
    rollout = rollout_of(seed, [max(share, 1), 100] if share < 100 else [100])
    chosen = {
        Edition(program, program, rollout, node=node).role_for(subject).variant
        for node in ("a", "b", "eu-west/1")
    }

    assert len(chosen) == 1


@settings(max_examples=25)
@given(seed=seeds, share=st.integers(1, 99))
def test_a_share_is_as_large_as_it_says(seed: int, share: int) -> None:
    """Of 10,000 subjects, within five standard deviations."""
    count = 10_000
    chosen = sum(
        is_chosen(seed, subject_key(EntityUid("User", f"u{number}")), share)
        for number in range(count)
    )
    part = share / 100

    assert abs(chosen - count * part) <= 5 * (count * part * (1 - part)) ** 0.5


readings = st.lists(
    st.builds(
        Reading,
        kind=st.sampled_from(GuardKind),
        measured=st.floats(0, 1),
        samples=st.integers(0, 1000),
        status=st.sampled_from(GuardStatus),
    ),
    max_size=4,
    unique_by=lambda reading: reading.kind,
)


@given(
    steps=shares,
    looks=st.lists(st.tuples(readings, st.integers(0, 200), st.integers(0, 1)), max_size=30),
)
def test_shares_rise_step_by_step_until_the_end_or_a_breach(
    steps: list[int], looks: list[tuple[list[Reading], int, int]]
) -> None:
    rollout, now = rollout_of(1, steps), NOON
    for seen, seconds, pending in looks:
        now += datetime.timedelta(seconds=seconds)
        after = moving.due(rollout, seen, now, pending_nodes=pending)
        if after is None:
            continue
        assert not rollout.state.is_final
        is_breached = any(reading.status is GuardStatus.BREACHED for reading in seen)
        assert (after.state is RolloutState.ROLLED_BACK) == is_breached
        if not is_breached:
            assert not pending
            assert after.step == rollout.step + 1 or (
                after.state is RolloutState.COMPLETED and rollout.step == len(steps) - 1
            )
            assert rollout.step_time is None or (now - rollout.step_time).total_seconds() >= 60
        rollout = after


@given(
    rollout=st.builds(
        lambda seed, steps, guards, author: replace(
            rollout_of(seed, steps),
            plan=replace(rollout_of(seed, steps).plan, guards=tuple(guards), shadow_percent=12.5),
            author=author,
            step_time=NOON,
        ),
        seeds,
        shares,
        st.lists(
            st.builds(
                Guard,
                kind=st.sampled_from(GuardKind),
                threshold=st.floats(0, 1e6),
                min_samples=st.integers(1, 10**6),
                disabled=st.booleans(),
            ),
            min_size=4,
            max_size=4,
            unique_by=lambda guard: guard.kind,
        ).map(lambda guards: sorted(guards, key=lambda guard: guard.kind)),
        st.text(max_size=10),
    )
)
def test_a_rollout_has_the_same_digest_after_the_wire(rollout: Rollout) -> None:
    item = Item("acme", Revision(3), RolloutRecord(rollout))

    assert item_from_wire(item_to_wire(item)).digest == item.digest


@given(
    upserts=st.lists(strategies.few_bodies(), max_size=5, unique_by=lambda body: body.key),
    deletes=st.lists(st.sampled_from(["a", "b", "c"]), unique=True),
)
def test_a_candidate_has_the_same_digest_after_the_wire(
    upserts: list[object], deletes: list[str]
) -> None:
    ordered = sorted(upserts, key=lambda body: body.key)  # type: ignore[attr-defined]
    candidate = CandidateEdits(
        upserts=tuple(ordered),  # type: ignore[arg-type]
        deletes=tuple(ItemKey(ItemKind.POLICY, id_) for id_ in sorted(deletes)),
    )
    item = Item("acme", Revision(3), candidate)

    assert item_from_wire(item_to_wire(item)).digest == item.digest
