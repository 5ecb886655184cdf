"""Token buckets and shares."""

from __future__ import annotations

import pytest

from placet_server.admission.tenants import Shares, TokenBuckets


def _buckets(**changed: float) -> TokenBuckets:
    return TokenBuckets(**{"per_second": 10, "burst_s": 2, **changed})  # type: ignore[arg-type]


def test_a_full_bucket_has_a_burst_and_fills_at_its_rate() -> None:
    buckets = _buckets()

    assert 0.0 == buckets.take("acme", 20, 0.0)
    assert 0.1 == pytest.approx(buckets.take("acme", 1, 0.0))
    assert 0.0 == buckets.take("acme", 1, 0.1)
    assert 0.3 == pytest.approx(buckets.take("acme", 5, 0.3))
    assert 0.0 == buckets.take("acme", 5, 0.6)


def test_a_bucket_does_not_fill_beyond_its_room() -> None:
    buckets = _buckets()
    buckets.take("acme", 20, 0.0)

    assert 0.0 == buckets.take("acme", 20, 1000.0)
    assert 0.0 < buckets.take("acme", 1, 1000.0)


def test_what_is_refused_costs_nothing() -> None:
    buckets = _buckets()
    buckets.take("acme", 20, 0.0)
    for _ in range(100):
        buckets.take("acme", 10, 0.0)

    assert 0.0 == buckets.take("acme", 10, 1.0)


def test_what_is_larger_than_the_room_is_paid_for_afterwards() -> None:
    buckets = _buckets()

    assert 0.0 == buckets.take("acme", 50, 0.0)
    assert 3.1 == pytest.approx(buckets.take("acme", 1, 0.0))


def test_the_longest_unused_bucket_is_forgotten() -> None:
    buckets = TokenBuckets(per_second=1, burst_s=1, max_tenants=2)
    buckets.take("a", 1, 0.0)
    buckets.take("b", 1, 0.0)
    buckets.take("a", 1, 0.0)
    buckets.take("c", 1, 0.0)

    assert 2 == len(buckets)
    assert 0.0 < buckets.take("a", 1, 0.0)
    assert 0.0 == buckets.take("b", 1, 0.0)


def test_a_share_is_an_equal_part_of_what_was_given() -> None:
    shares = Shares()
    shares.add("large", 90, 0.0)
    shares.add("small", 10, 0.0)

    assert shares.is_below_fair("small", 0.1)
    assert shares.is_below_fair("new", 0.1)
    assert not shares.is_below_fair("large", 0.1)


def test_shares_fade() -> None:
    shares = Shares()
    shares.add("large", 90, 0.0)
    shares.add("small", 10, 0.0)
    shares.add("small", 60, 0.9)

    # A fifth of the last window counts: 18 and 62.
    assert shares.is_below_fair("large", 0.9)
    assert not shares.is_below_fair("small", 0.9)


def test_others_are_noticed() -> None:
    shares = Shares()
    assert not shares.has_others(0.0)
    shares.add("a", 1, 0.0)
    assert not shares.has_others(0.0)
    shares.add("b", 1, 0.6)
    assert shares.has_others(0.6)
    assert not shares.has_others(5.0)


def test_shares_of_many_names_take_bounded_room() -> None:
    shares = Shares(max_tenants=100)
    for number in range(100_000):
        shares.add(f"t{number}", 1, 0.0)

    assert len(shares) <= 101
