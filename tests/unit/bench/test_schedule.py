from __future__ import annotations

import itertools

import pytest

from bench.schedule import NEVER, ClosedLoop, OpenLoop, exponential, fixed

MS = 1_000_000


def test_fixed_times_are_evenly_spaced() -> None:
    assert [0, 250 * MS, 500 * MS, 750 * MS] == list(fixed(4, 1))


def test_fixed_times_do_not_drift() -> None:
    times = list(fixed(3, 1000))

    assert 3000 == len(times)
    assert round(2999 / 3 * 1e9) == times[-1]


def test_exponential_times_come_at_the_rate_and_unevenly() -> None:
    times = list(exponential(1000, 10, seed=1))
    gaps = [later - sooner for sooner, later in itertools.pairwise(times)]

    assert 10_000 == pytest.approx(len(times), rel=0.05)
    assert sorted(times) == times
    assert times[-1] < 10 * 1_000 * MS
    # Of independent arrivals, the part e^-1 waits longer than the mean.
    assert 0.368 == pytest.approx(sum(gap > MS for gap in gaps) / len(gaps), abs=0.02)


def test_exponential_times_are_the_same_for_a_seed() -> None:
    assert list(exponential(50, 1, seed=7)) == list(exponential(50, 1, seed=7))
    assert list(exponential(50, 1, seed=7)) != list(exponential(50, 1, seed=8))


def test_open_loop_gives_the_intended_time_however_late_it_is() -> None:
    loop = OpenLoop(fixed(10, 1), start=1000 * MS, max_in_flight=5)

    assert 0 == loop.take(999 * MS, 0)
    assert 1000 * MS == loop.next_ns(999 * MS)
    # Half a second late: five are due, each with its own time.
    taken = [loop.take(1450 * MS, 0) for _ in range(6)]
    assert [1000 * MS, 1100 * MS, 1200 * MS, 1300 * MS, 1400 * MS, 0] == taken
    assert not loop.over(1450 * MS)


def test_open_loop_waits_for_room() -> None:
    loop = OpenLoop(fixed(10, 1), start=1000 * MS, max_in_flight=2)

    assert 0 == loop.take(1000 * MS, 2)
    assert NEVER == loop.next_ns(1000 * MS)
    assert 1000 * MS == loop.take(2000 * MS, 1)


def test_open_loop_says_what_it_never_sent() -> None:
    loop = OpenLoop(fixed(10, 1), start=1000 * MS, max_in_flight=2)
    loop.take(1000 * MS, 0)

    assert 9 == loop.left
    assert loop.over(1000 * MS)
    assert 0 == loop.left


def test_open_loop_is_over_behind_its_last_time() -> None:
    loop = OpenLoop(fixed(1, 1), start=1000 * MS, max_in_flight=2)

    loop.take(1000 * MS, 0)

    assert loop.over(1000 * MS)
    assert 0 == loop.take(9000 * MS, 0)


def test_closed_loop_keeps_so_many_under_way_until_the_end() -> None:
    loop = ClosedLoop(2, end=5000)

    assert [100, 100, 0] == [loop.take(100, in_flight) for in_flight in (0, 1, 2)]
    assert 0 == loop.take(5000, 0)
    assert [False, True] == [loop.over(4999), loop.over(5000)]
    assert [5000, NEVER] == [loop.next_ns(100), loop.next_ns(5000)]
