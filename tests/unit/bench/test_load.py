from __future__ import annotations

import asyncio
import itertools
import threading
import time

from bench.http2 import UnaryConnection, frame, message
from bench.links import Links
from bench.load import Lane, Tally, drive, saturate, send_at_rate
from bench.schedule import OpenLoop, fixed
from bench.streams import StreamCall
from bench.workloads import EVALUATE, TENANT, Serials, asks, cold, hot, policies, publish
from placet.v1 import evaluate_service_pb2 as pb
from placet_server.testing import running_server
from tests.unit.bench.fake_server import FakeServer, fake_server
from tests.unit.bench.frames import GOAWAY, SHED_TRAILERS, answer, setting

MS = 1_000_000
MAX_CONCURRENT_STREAMS = 3


def links_to(server: FakeServer, *, count: int = 1, sample_every: int = 0) -> Links:
    return Links(
        server.address,
        lambda: UnaryConnection("/p.S/M", "host:1", sample_every=sample_every),
        count=count,
    )


def ask() -> bytes:
    return message(b"ask")


def at_rate(links: Links, *, rate: float, seconds: float) -> Tally:
    try:
        return send_at_rate(
            links, ask, rate=rate, seconds=seconds, warm_up_s=0.0, spin=False, drain_s=20.0
        )
    finally:
        links.close()


async def test_real_server_answers_every_request() -> None:
    async with running_server() as node:
        await asyncio.to_thread(publish, node.address, TENANT, list(policies(10)))
        links = Links(
            node.address,
            lambda: UnaryConnection(EVALUATE, node.address, sample_every=1),
            count=2,
        )
        tally = await asyncio.to_thread(
            send_at_rate,
            links,
            cold(10, Serials()),
            rate=400,
            seconds=0.5,
            warm_up_s=0.0,
            spin=False,
        )
        links.close()

    decisions = [pb.EvaluateResponse.FromString(body[5:]).decision for body in tally.samples]
    assert (200, 200, 0) == (tally.sent, len(tally.ok), tally.unanswered)
    assert not tally.failures
    assert 200 == len({decision.decision_id for decision in decisions})
    assert {False} == {decision.cached for decision in decisions}


async def test_real_server_answers_every_request_on_a_stream() -> None:
    async with running_server() as node:
        await asyncio.to_thread(publish, node.address, TENANT, list(policies(10)))
        links = Links(node.address, lambda: StreamCall(node.address, sample_every=1), count=1)
        tally = await asyncio.to_thread(
            send_at_rate, links, hot(10), rate=400, seconds=0.5, warm_up_s=0.0, spin=False
        )
        links.close()

    answers = [pb.EvaluateStreamResponse.FromString(body) for body in tally.samples]
    assert (200, 200) == (len(tally.ok), len({found.correlation_id for found in answers}))
    assert not tally.failures


async def test_errors_of_a_real_server_are_counted_by_status() -> None:
    async with running_server() as node:
        links = Links(node.address, lambda: UnaryConnection(EVALUATE, node.address), count=1)
        tally = await asyncio.to_thread(
            send_at_rate, links, hot(10), rate=100, seconds=0.1, warm_up_s=0.0, spin=False
        )
        links.close()

    not_found = 5
    assert {not_found: 10} == tally.failures
    assert 0 == len(tally.ok)


def test_stalled_server_shows_in_the_latencies_of_all_who_were_to_be_served() -> None:
    """Only one call at a time is allowed, and the first is answered late.

    The calls behind it are sent after that, and answered at once: measured from their sending,
    the stall would show once. Their callers would have waited since they were due.
    """
    never = threading.Event()

    def respond(number: int) -> bytes:
        if number == 0:
            # From the moment it came, however long that took.
            never.wait(0.3)
        return answer(2 * number + 1)

    with fake_server(respond, greeting=setting(MAX_CONCURRENT_STREAMS, 1)) as server:
        tally = at_rate(links_to(server), rate=100, seconds=0.5)

    assert 50 == len(tally.ok)
    first = tally.ok[0]
    # Whoever was due while the first call stood still waited for what was left of that.
    due_meanwhile = [number for number in range(50) if number * 10 * MS < first]
    assert len(due_meanwhile) > 10
    for number in due_meanwhile:
        assert tally.ok[number] >= first - number * 10 * MS - MS


def test_late_answers_hold_nobody_up() -> None:
    """An open loop goes on sending: all are sent before the first is answered."""

    def respond(number: int) -> bytes:
        return b"".join(answer(2 * n + 1) for n in range(50)) if number == 49 else b""

    with fake_server(respond) as server:
        tally = at_rate(links_to(server), rate=500, seconds=0.1)

    assert (50, 50) == (tally.sent, len(tally.ok))
    assert min(tally.ok[:10]) >= 39 * 2 * MS


def test_closed_loop_waits_for_answers() -> None:
    """With three calls under way and no answer there is no fourth."""
    with fake_server(lambda number: b"") as server:
        links = links_to(server, count=2)
        tally = saturate(links, ask, concurrency=3, seconds=0.1, warm_up_s=0.0, drain_s=0.1)
        links.close()
        calls = server.calls

    assert (3, 3, 0) == (calls, tally.unanswered, len(tally.ok))


def test_what_was_shed_and_what_failed_are_counted_apart() -> None:
    kinds = [b"\x00\x0bgrpc-status\x010", SHED_TRAILERS, b"\x00\x0bgrpc-status\x0214"]

    def respond(number: int) -> bytes:
        return answer(2 * number + 1, trailers=kinds[number % 3])

    with fake_server(respond) as server:
        tally = at_rate(links_to(server), rate=300, seconds=0.1)

    assert (10, 10, {14: 10}) == (len(tally.ok), len(tally.shed), dict(tally.failures))


def test_connection_that_ends_is_made_anew() -> None:
    """After ten answers a connection is to be left, as servers ask when they drain."""

    def respond(number: int) -> bytes:
        leave = frame(GOAWAY, 0, 0, b"\0" * 8) if number == 9 else b""
        return answer(2 * number + 1) + leave

    with fake_server(respond, greeting=setting(MAX_CONCURRENT_STREAMS, 1)) as server:
        tally = at_rate(links_to(server), rate=300, seconds=0.1)
        connections = server.connections

    assert (30, 0) == (len(tally.ok), tally.unanswered)
    assert not tally.failures
    assert connections >= 3


def test_warm_up_does_not_count() -> None:
    with fake_server(lambda number: answer(2 * number + 1)) as server:
        links = links_to(server)
        tally = send_at_rate(links, ask, rate=200, seconds=0.1, warm_up_s=0.2, spin=False)
        links.close()
        calls = server.calls

    assert (60, 20, 20) == (calls, tally.sent, len(tally.ok))


def test_run_ends_by_its_deadline_and_says_what_is_missing() -> None:
    with fake_server(lambda number: b"") as server:
        links = links_to(server)
        start = time.perf_counter_ns()
        pacer = OpenLoop(fixed(100, 0.1), start=start, max_in_flight=4)
        lane = Lane(links, ask, pacer, since=start, until=start + 100 * MS)
        drive([lane], deadline=start + 200 * MS, spin=False)
        links.close()

    assert (4, 10) == (lane.tally.sent, lane.tally.unanswered)


def test_new_requests_are_never_the_same() -> None:
    bodies = cold(10, Serials())
    made = [bodies() for _ in range(500)]

    messages = [pb.EvaluateRequest.FromString(body[5:]) for body in made]
    assert 500 == len({found.context["serial"].string_value for found in messages})
    assert {len(asks(10))} == {
        len({(m.subject.id, m.action.name, m.resource.id) for m in messages})
    }


def test_hot_requests_are_few() -> None:
    bodies = hot(10)

    assert 50 == len(set(itertools.islice(iter(bodies, None), 500)))
