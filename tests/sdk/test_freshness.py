"""States of a subscription and the age of what it holds, by a clock the tests turn."""

from __future__ import annotations

import placet
from placet import State, Status

_LOST = placet.Unavailable("gone")


def _ready(now_s: float = 0.0) -> Status:
    return Status().moved(3).confirmed(now_s, stale_after_s=15.0)


def test_nothing_is_known_at_first() -> None:
    status = Status()

    assert (State.CONNECTING, 0, None) == (status.state, status.revision, status.staleness_s(9.0))


def test_a_lost_stream_is_stale_until_it_is_back() -> None:
    status = _ready(100.0)
    assert (State.READY, 5.0) == (status.state, status.staleness_s(105.0))

    status = status.lost(_LOST)
    assert (State.STALE, 65.0) == (status.state, status.staleness_s(165.0))
    assert _LOST is status.last_error

    status = status.confirmed(170.0, stale_after_s=15.0)
    assert (State.READY, 0.0) == (status.state, status.staleness_s(170.0))
    assert 3 == status.revision


def test_a_stream_lost_before_the_first_snapshot_is_still_connecting() -> None:
    assert State.CONNECTING is Status().lost(_LOST).state


def test_a_node_that_is_behind_makes_its_subscriber_stale() -> None:
    status = _ready().confirmed(100.0, node_staleness_s=60.0, stale_after_s=15.0)

    assert State.STALE is status.state
    assert 62.0 == status.staleness_s(102.0)


def test_an_error_is_seen_until_the_stream_is_confirmed_again() -> None:
    error = placet.PermissionDenied("no")

    status = _ready().failed(error)
    assert (State.ERROR, error) == (status.state, status.last_error)
    assert 10.0 == status.staleness_s(10.0)

    assert State.READY is status.confirmed(11.0, stale_after_s=15.0).state


def test_a_clock_that_stands_still_makes_nothing_younger() -> None:
    assert 0.0 == _ready(100.0).staleness_s(99.0)
