"""Publishing while decisions are made: what it does to them, and when they follow it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from bench.failures import WrongAnswer
from bench.histogram import Latencies
from bench.http2 import UnaryConnection, message
from bench.links import Links
from bench.load import Bodies, Lane, drive, open_lane, saturate
from bench.machine import pinned
from bench.measure import Context
from bench.records import Times
from bench.scenarios.running import with_policies
from bench.servers import Server, Variant
from bench.workloads import EVALUATE, TENANT, mixed
from placet.v1 import evaluate_service_pb2, policy_pb2, policy_service_pb2

PUBLISH = "/placet.v1.PolicyService/Publish"
SCENARIO = "publish under load"
QUIET, UNDER_PUBLISHING = "decisions, nothing published", "decisions, while publishing"
TO_DECISION = "publish to first decision by it"
_SIZE = 1_000
_PART = 0.4
_PUBLISHES_PER_SECOND = 4.0
_LAST_PUBLISH_S = 0.5
_DRAIN_S = 15.0
_NS = 1_000_000_000


def publishes(tenant: str, *, general: str = "general/1") -> Bodies:
    """Publish one changed policy each time."""
    numbers = itertools.count()

    def body() -> bytes:
        number = next(numbers)
        policy = policy_pb2.Policy(
            id=general,
            cedar=f'permit(principal, action == Action::"published{number}", resource);',
        )
        request = policy_service_pb2.PublishRequest(
            tenant=tenant, change_set=policy_pb2.ChangeSet(policies=[policy])
        )
        return message(request.SerializeToString())

    return body


def run(context: Context, variant: Variant) -> None:
    """Decide at 40 % of the ceiling, alone and while four publishes a second change the set."""
    with (
        with_policies(context, variant, {TENANT: _SIZE}) as server,
        pinned(context.cores.load),
    ):
        context.tell(f"{SCENARIO}: {server.name}")
        rate = _PART * _ceiling(context, server)
        quiet, _ = _decide(context, server, rate, publishing=False)
        busy, to_decision = _decide(context, server, rate, publishing=True)
    add = context.results.times.append
    add(Times(SCENARIO, server.name, QUIET, Latencies(quiet.tally.ok)))
    add(Times(SCENARIO, server.name, UNDER_PUBLISHING, Latencies(busy.tally.ok)))
    add(Times(SCENARIO, server.name, TO_DECISION, Latencies(to_decision)))


def _ceiling(context: Context, server: Server) -> float:
    links = Links(server.address, lambda: UnaryConnection(EVALUATE, server.address), count=4)
    try:
        return saturate(
            links,
            mixed(_SIZE, context.serials),
            concurrency=64,
            seconds=context.pace.ceiling_s,
            warm_up_s=context.pace.warm_up_s,
        ).per_second
    finally:
        links.close()


class _Revisions:
    """When each revision was asked for, and when the first decision by it came."""

    def __init__(self) -> None:
        self._decided: dict[int, int] = {}
        self._published: dict[int, int] = {}

    def note_decision(self, _ticket: int, now: int, body: bytes) -> None:
        """Take an answer of Evaluate."""
        revision = evaluate_service_pb2.EvaluateResponse.FromString(body[5:]).decision.revision
        self._decided.setdefault(revision, now)

    def note_publish(self, ticket: int, _now: int, body: bytes) -> None:
        """Take an answer of Publish."""
        revision = policy_service_pb2.PublishResponse.FromString(body[5:]).revision
        self._published[revision] = ticket

    def times(self) -> list[int]:
        """Return the nanoseconds from each publish to a decision by it."""
        return [
            max(self._decided[revision] - ticket, 0)
            for revision, ticket in self._published.items()
            if revision in self._decided
        ]


def _decide(
    context: Context, server: Server, rate: float, *, publishing: bool
) -> tuple[Lane, list[int]]:
    """Return the lane of decisions, and the time from each publish to a decision by it."""
    address, pace, revisions = server.address, context.pace, _Revisions()
    seconds = 2 * pace.level_s
    decisions = Links(address, lambda: UnaryConnection(EVALUATE, address, sample_every=1), count=4)
    writes = Links(address, lambda: UnaryConnection(PUBLISH, address, sample_every=1), count=1)
    bodies = mixed(_SIZE, context.serials)
    asking = open_lane(
        decisions, bodies, rate=rate, seconds=seconds, warm_up_s=pace.warm_up_s, seed=1
    )
    asking.on_body = revisions.note_decision
    lanes = [asking]
    if publishing:
        # It ends sooner: the last publish must find decisions still being made.
        span = seconds + pace.warm_up_s - _LAST_PUBLISH_S
        publisher = open_lane(
            writes, publishes(TENANT), rate=_PUBLISHES_PER_SECOND, seconds=span, warm_up_s=0.0
        )
        publisher.on_body = revisions.note_publish
        lanes.append(publisher)
    try:
        deadline = asking.until + int(_DRAIN_S * _NS)
        drive(lanes, deadline=deadline, spin=context.cores.apart)
    finally:
        decisions.close()
        writes.close()
    _refuse_failures(lanes)
    return asking, revisions.times()


def _refuse_failures(lanes: Sequence[Lane]) -> None:
    for lane in lanes:
        if lane.tally.failures or lane.tally.unanswered:
            raise WrongAnswer(
                f"{SCENARIO}: calls failed: {dict(lane.tally.failures)}, "
                f"{lane.tally.unanswered} unanswered"
            )
