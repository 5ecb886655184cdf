"""Delays between tries: bounded, spread, reproducible."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from placet._backoff import Backoff


@given(failures=st.integers(0, 10_000), seed=st.integers())
def test_delay_is_between_zero_and_its_bound(failures: int, seed: int) -> None:
    backoff = Backoff(first_s=0.1, most_s=10.0)

    delay_s = backoff.delay_s(failures, random.Random(seed))

    assert 0.0 <= delay_s <= backoff.bound_s(failures) <= 10.0


def test_bound_doubles_up_to_the_most() -> None:
    backoff = Backoff(first_s=0.5, most_s=3.0)

    assert [0.0, 0.5, 1.0, 2.0, 3.0, 3.0] == [backoff.bound_s(failures) for failures in range(6)]


def test_delays_use_the_whole_range() -> None:
    """Full jitter: clients that were cut off together come back spread out."""
    backoff, rng = Backoff(first_s=1.0, most_s=1.0), random.Random(7)

    delays = sorted(backoff.delay_s(1, rng) for _ in range(1000))

    tenths = [sum(tenth <= delay * 10 < tenth + 1 for delay in delays) for tenth in range(10)]
    assert all(60 <= count <= 140 for count in tenths), tenths


def test_delays_of_one_seed_are_the_same() -> None:
    backoff = Backoff()

    first, second = (
        [backoff.delay_s(failures, rng) for failures in range(20)]
        for rng in (random.Random(1), random.Random(1))
    )

    assert first == second
