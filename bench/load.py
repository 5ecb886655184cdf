"""The load generator: lanes of requests, each on a schedule, driven by one loop on one core."""

from __future__ import annotations

import gc
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.links import Links, wait
from bench.schedule import ClosedLoop, OpenLoop, Pacer, exponential, fixed

_NS = 1_000_000_000
_SHED = 8
"""RESOURCE_EXHAUSTED: the server said that it has too much to do."""
_SPIN_NS = 200_000
"""Sleeping wakes up late by up to this; from here to the due time the loop spins."""
_BURST = 64
"""Requests sent in a row before answers are looked at again."""
_MAX_IN_FLIGHT = 20_000
_MAX_SAMPLES = 1000
_LEAD_NS = 5_000_000

Bodies = Callable[[], bytes]
"""Gives the next request, as it goes onto the wire."""


@dataclass(slots=True)
class Tally:
    """What became of a lane's requests. Times in nanoseconds."""

    ok: array[int] = field(default_factory=lambda: array("q"))
    """Latency from the intended sending of what was answered."""
    shed: array[int] = field(default_factory=lambda: array("q"))
    """Latency of what the server refused because it was too much."""
    lag: array[int] = field(default_factory=lambda: array("q"))
    """How late requests were sent: the generator's own, or for want of room."""
    failures: Counter[int] = field(default_factory=Counter)
    """By gRPC status; -1 where none came."""
    samples: list[bytes] = field(default_factory=list)
    """Some of the answers."""
    sent: int = 0
    """Within the time that counts."""
    completed: int = 0
    """Answered well within the time that counts."""
    answered: int = 0
    """In all, whenever and however."""
    unanswered: int = 0
    """Sent or due, and not answered when the run was ended."""
    seconds: float = 0.0
    """The time that counts."""
    busy: float = 0.0
    """Share of that in which the generator's core had work; 1 when it spins."""

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return self.completed / self.seconds if self.seconds else 0.0


@dataclass(slots=True)
class Lane:
    """Requests of one kind to one server, and when to send them."""

    links: Links
    bodies: Bodies
    pacer: Pacer
    since: int
    """Only what was meant to be sent from here on counts."""
    until: int
    """Up to when answers count towards the rate."""
    tally: Tally = field(default_factory=Tally)
    on_body: Callable[[int, int, bytes], None] | None = None
    """Called with intended time, arrival and body of each answer that was kept."""

    def send_due(self, now: int) -> bool:
        """Send what is due, within reason; return whether there may be more."""
        links, take = self.links, self.pacer.take
        for _ in range(_BURST):
            connection = links.free()
            ticket = take(now, links.in_flight) if connection is not None else 0
            if connection is None or not ticket:
                return False
            connection.call(self.bodies(), ticket)
            links.in_flight += 1
            if ticket >= self.since:
                self.tally.sent += 1
                self.tally.lag.append(now - ticket)
        return True

    def record(self, done: list[tuple[int, int, bytes | None]], now: int) -> None:
        """Count what was answered."""
        tally, since = self.tally, self.since
        add, counted = tally.ok.append, 0
        tally.answered += len(done)
        for ticket, status, body in done:
            if body is not None and status == 0:
                if self.on_body is not None:
                    self.on_body(ticket, now, body)
                elif len(tally.samples) < _MAX_SAMPLES:
                    tally.samples.append(body)
            if ticket < since:
                if status not in (0, _SHED):
                    tally.failures[status] += 1
            elif status == 0:
                add(now - ticket)
                counted += 1
            elif status == _SHED:
                tally.shed.append(now - ticket)
            else:
                tally.failures[status] += 1
        if since <= now <= self.until:
            tally.completed += counted


def drive(lanes: Sequence[Lane], *, deadline: int, spin: bool) -> None:
    """Drive lanes until all is answered, or the deadline has passed.

    Args:
        lanes: what to send.
        deadline: when to give up, on the clock of ``time.perf_counter_ns``.
        spin: whether the generator has a core to itself.
    """
    with _no_collector():
        while (now := time.perf_counter_ns()) < deadline:
            more = False
            for lane in lanes:
                more = lane.send_due(now) or more
                lane.links.flush()
            if not more and all(
                lane.pacer.over(now) and not lane.links.in_flight for lane in lanes
            ):
                break
            _receive(lanes, 0.0 if more else _patience_s(lanes, now, deadline, spin=spin))
    for lane in lanes:
        lane.tally.unanswered += lane.links.in_flight
        if isinstance(lane.pacer, OpenLoop):
            lane.tally.unanswered += lane.pacer.left


def _receive(lanes: Sequence[Lane], timeout_s: float) -> None:
    read = [sock for lane in lanes for sock in lane.links.sockets()]
    write = [sock for lane in lanes for sock in lane.links.stuck_sockets()]
    ready, _ = wait(read, write, timeout_s)
    if ready:
        for lane in lanes:
            now = time.perf_counter_ns()
            lane.record(lane.links.read(ready), now)


def _patience_s(lanes: Sequence[Lane], now: int, deadline: int, *, spin: bool) -> float:
    """Return how long the loop may sleep, in seconds."""
    due = min(deadline, *(lane.pacer.next_ns(now) for lane in lanes))
    return max(0, due - now - (_SPIN_NS if spin else 0)) / _NS


@contextmanager
def _no_collector() -> Iterator[None]:
    """Keep the garbage collector from pausing the loop."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _settle() -> None:
    """Collect garbage now, before the clock runs, and do not look at what is left meanwhile."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def saturate(
    links: Links,
    bodies: Bodies,
    *,
    concurrency: int,
    seconds: float,
    warm_up_s: float,
    drain_s: float = 10.0,
) -> Tally:
    """Keep a number of calls under way and see how many are answered a second."""
    _settle()
    start = time.perf_counter_ns()
    since = start + int(warm_up_s * _NS)
    end = since + int(seconds * _NS)
    lane = Lane(links, bodies, ClosedLoop(concurrency, end=end), since, end)
    worked = time.thread_time()
    drive([lane], deadline=end + int(drain_s * _NS), spin=False)
    elapsed = (time.perf_counter_ns() - start) / _NS
    lane.tally.busy = (time.thread_time() - worked) / elapsed
    lane.tally.seconds = seconds
    return lane.tally


def open_lane(
    links: Links,
    bodies: Bodies,
    *,
    rate: float,
    seconds: float,
    warm_up_s: float,
    seed: int | None = None,
) -> Lane:
    """Prepare a lane at a rate: evenly spaced, or with a seed as independent callers come."""
    _settle()
    total = warm_up_s + seconds
    offsets = fixed(rate, total) if seed is None else exponential(rate, total, seed=seed)
    start = time.perf_counter_ns() + _LEAD_NS
    since = start + int(warm_up_s * _NS)
    until = start + int(total * _NS)
    pacer = OpenLoop(offsets, start=start, max_in_flight=_MAX_IN_FLIGHT)
    lane = Lane(links, bodies, pacer, since, until)
    lane.tally.seconds = seconds
    return lane


def send_at_rate(
    links: Links,
    bodies: Bodies,
    *,
    rate: float,
    seconds: float,
    warm_up_s: float,
    spin: bool,
    drain_s: float = 10.0,
    seed: int | None = None,
) -> Tally:
    """Send at a rate, answered or not, and count latency from the intended time."""
    lane = open_lane(links, bodies, rate=rate, seconds=seconds, warm_up_s=warm_up_s, seed=seed)
    drive([lane], deadline=lane.until + int(drain_s * _NS), spin=spin)
    lane.tally.busy = 1.0 if spin else 0.0
    return lane.tally
