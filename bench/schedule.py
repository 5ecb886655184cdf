"""When requests are meant to be sent. Latency counts from there, sent late or not."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Protocol

_NS = 1_000_000_000
NEVER = 2**63 - 1


def fixed(rate: float, seconds: float) -> Iterator[int]:
    """Yield times in nanoseconds from the start, evenly spaced.

    Args:
        rate: requests a second.
        seconds: for how long.
    """
    for number in range(round(rate * seconds)):
        yield round(number * _NS / rate)


def exponential(rate: float, seconds: float, *, seed: int) -> Iterator[int]:
    """Yield times in nanoseconds from the start, as independent callers would come (Poisson)."""
    chance = random.Random(seed)
    at = 0.0
    while True:
        at += chance.expovariate(rate)
        if at >= seconds:
            return
        yield int(at * _NS)


class Pacer(Protocol):
    """Says when the next request is to be sent."""

    def take(self, now: int, in_flight: int) -> int:
        """Return the intended time of a request to send now; 0 when there is none."""

    def next_ns(self, now: int) -> int:
        """Return when to look again; NEVER when only an answer can change something."""

    def over(self, now: int) -> bool:
        """Return whether nothing will be sent any more."""


class OpenLoop:
    """Sends when it is time, whether or not there are answers."""

    def __init__(self, offsets: Iterator[int], *, start: int, max_in_flight: int) -> None:
        self._offsets = offsets
        self._start = start
        self._max_in_flight = max_in_flight
        self._due = NEVER
        self._advance()

    def _advance(self) -> None:
        offset = next(self._offsets, None)
        self._due = NEVER if offset is None else self._start + offset

    def take(self, now: int, in_flight: int) -> int:
        due = self._due
        if due > now or in_flight >= self._max_in_flight:
            return 0
        self._advance()
        return due

    def next_ns(self, now: int) -> int:
        # What is late waits for room, and only an answer makes room.
        return self._due if self._due > now else NEVER

    def over(self, now: int) -> bool:
        return self._due == NEVER

    @property
    def left(self) -> int:
        """How many requests were meant to be sent and were not; the schedule is used up by it."""
        if self._due == NEVER:
            return 0
        self._due = NEVER
        return 1 + sum(1 for _ in self._offsets)


class ClosedLoop:
    """Sends whenever there are fewer requests under way than there may be."""

    def __init__(self, concurrency: int, *, end: int) -> None:
        self._concurrency = concurrency
        self._end = end

    def take(self, now: int, in_flight: int) -> int:
        return now if in_flight < self._concurrency and now < self._end else 0

    def next_ns(self, now: int) -> int:
        return self._end if now < self._end else NEVER

    def over(self, now: int) -> bool:
        return now >= self._end
