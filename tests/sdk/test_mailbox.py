"""Events for a reader who may be slow: bounded, and nothing is lost in the end."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

import placet
from placet._mailbox import Mailbox


class _Set:
    """A number that deltas add to, as a stand-in for a policy set."""

    def __init__(self) -> None:
        self.value = 0

    def snapshot(self) -> tuple[str, int]:
        return ("snapshot", self.value)


def _mailbox(truth: _Set, max_deltas: int) -> Mailbox[tuple[str, int], tuple[str, int]]:
    return Mailbox(truth.snapshot, max_deltas=max_deltas, clock=lambda: 0.0)


async def test_events_come_in_order() -> None:
    truth = _Set()
    mailbox = _mailbox(truth, max_deltas=3)
    mailbox.put_snapshot()
    first = await mailbox.take()
    for step in (1, 2, 3):
        mailbox.put_delta(("delta", step))

    assert ("snapshot", 0) == first
    assert [("delta", 1), ("delta", 2), ("delta", 3)] == [await mailbox.take() for _ in range(3)]


async def test_one_delta_too_many_turns_all_into_a_snapshot() -> None:
    truth = _Set()
    mailbox = _mailbox(truth, max_deltas=2)
    for step in (1, 2, 3, 4):
        truth.value += step
        mailbox.put_delta(("delta", step))

    assert ("snapshot", 10) == await mailbox.take()
    truth.value += 5
    mailbox.put_delta(("delta", 5))
    assert ("delta", 5) == await mailbox.take()


async def test_a_snapshot_is_of_the_moment_it_is_taken() -> None:
    truth = _Set()
    mailbox = _mailbox(truth, max_deltas=2)
    mailbox.put_snapshot()
    truth.value = 7
    mailbox.put_delta(("delta", 7))

    assert ("snapshot", 7) == await mailbox.take()
    mailbox.close()
    assert await mailbox.take() is None


@given(
    puts=st.lists(st.one_of(st.integers(1, 9), st.just("take"), st.just("snapshot"))),
    max_deltas=st.integers(0, 3),
)
async def test_whatever_is_taken_adds_up(puts: list[int | str], max_deltas: int) -> None:
    truth, seen = _Set(), 0
    mailbox = _mailbox(truth, max_deltas)
    waiting = 0

    async def take() -> None:
        nonlocal seen, waiting
        event = await mailbox.take()
        assert event is not None
        seen = event[1] if event[0] == "snapshot" else seen + event[1]
        waiting -= 1

    for put in puts:
        if put == "snapshot":
            mailbox.put_snapshot()
        elif isinstance(put, int):
            truth.value += put
            mailbox.put_delta(("delta", put))
        elif mailbox.oldest_waiting_since_s is not None:
            await take()
    while mailbox.oldest_waiting_since_s is not None:
        await take()

    assert truth.value == seen


async def test_a_reader_who_waits_is_woken() -> None:
    mailbox = _mailbox(_Set(), max_deltas=1)
    taking = asyncio.create_task(mailbox.take())
    await asyncio.sleep(0)

    mailbox.put_delta(("delta", 1))

    assert ("delta", 1) == await asyncio.wait_for(taking, 5)


async def test_what_waits_can_be_taken_after_the_end_and_then_the_error_comes() -> None:
    mailbox = _mailbox(_Set(), max_deltas=1)
    mailbox.put_delta(("delta", 1))
    mailbox.close(placet.NotFound("gone"))

    assert ("delta", 1) == await mailbox.take()
    with pytest.raises(placet.NotFound):
        await mailbox.take()


async def test_how_long_something_has_been_waiting_can_be_seen() -> None:
    now = 5.0
    mailbox: Mailbox[str, str] = Mailbox(lambda: "snapshot", max_deltas=0, clock=lambda: now)

    mailbox.put_delta("delta")
    now = 7.0
    mailbox.put_delta("delta")

    assert 5.0 == mailbox.oldest_waiting_since_s
    await mailbox.take()
    assert mailbox.oldest_waiting_since_s is None
