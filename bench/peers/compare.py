"""Systems side by side: first checked to answer the same, then timed one after the other."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from bench.failures import CannotStart, WrongAnswer
from bench.links import Links
from bench.load import Bodies
from bench.measure import SAMPLE_EVERY, Context, Probe, ask_all, measure_together
from bench.peers.cerbos import BATCH_LIMIT
from bench.peers.contender import Calls, Contender, Contestant
from bench.peers.corpus import Case, cases, fresh, fresh_batches
from bench.records import Skipped

HOT, FRESH, BATCH = (
    "peers: same requests",
    "peers: new requests",
    f"peers: batches of {BATCH_LIMIT}",
)
FRESH_BATCH = f"peers: batches of {BATCH_LIMIT}, new"
_BATCH_CONCURRENCY = 8
_ROUNDS = 3


def compare(context: Context, contenders: Sequence[Contender]) -> None:
    """Check and time every system that is here. All are checked before one is timed.

    All run from beginning to end, on the same core; only one at a time is asked.

    Raises:
        WrongAnswer: one of them answers otherwise than the rules say.
    """
    with ExitStack() as stack:
        there = []
        for contender in contenders:
            context.tell(f"peers: checking the answers of {contender.name}")
            try:
                there.append(stack.enter_context(contender.running(context)))
            except CannotStart as error:
                context.results.skipped.append(Skipped("peers", contender.name, str(error)))
            else:
                check(there[-1])
        _time(context, there)


def check(contestant: Contestant) -> None:
    """Ask every case, one by one and in batches.

    Raises:
        WrongAnswer: an answer is not what the rules say.
    """
    _agree(contestant, contestant.single, [[case] for case in cases()])
    if contestant.batch is not None:
        _agree(contestant, contestant.batch, list(_batches()))


def _agree(contestant: Contestant, calls: Calls, groups: Sequence[Sequence[Case]]) -> None:
    links = Links(contestant.address, lambda: calls.connect(1), count=1)
    try:
        answers = ask_all(links, [calls.body(group) for group in groups])
    finally:
        links.close()
    for group, answer in zip(groups, answers, strict=True):
        if calls.allowed(answer) != [case.allowed for case in group]:
            raise WrongAnswer(
                f"{contestant.name} answers {calls.allowed(answer)} and not "
                f"{[case.allowed for case in group]} to {group}"
            )


def _batches() -> Iterator[list[Case]]:
    """Yield batches of one subject each, all of one length."""
    key: Callable[[Case], str] = lambda case: case.subject  # noqa: E731
    for _, group in itertools.groupby(sorted(cases(), key=key), key=key):
        yield list(itertools.islice(itertools.cycle(list(group)), BATCH_LIMIT))


def _time(context: Context, contestants: Sequence[Contestant]) -> None:
    rounds = 1 if context.quick else _ROUNDS
    same = [_same(contestant) for contestant in contestants]
    measure_together(context, same, rounds=rounds)
    new = [_new(context, contestant) for contestant in contestants]
    measure_together(context, new, rounds=rounds)
    batches = [
        _batch(contestant, contestant.batch)
        for contestant in contestants
        if contestant.batch is not None
    ]
    measure_together(context, batches, rounds=rounds)
    new_batches = [
        _new_batch(context, contestant, contestant.batch)
        for contestant in contestants
        if contestant.batch is not None
    ]
    measure_together(context, new_batches, rounds=rounds)


def _same(contestant: Contestant) -> Probe:
    bodies = [contestant.single.body([case]) for case in cases()]
    return _probe(contestant, HOT, contestant.single, itertools.cycle(bodies).__next__)


def _new(context: Context, contestant: Contestant) -> Probe:
    serials = iter(context.serials.next, None)
    bodies = fresh(lambda case: contestant.single.body([case]), serials)
    return _probe(contestant, FRESH, contestant.single, bodies)


def _batch(contestant: Contestant, calls: Calls) -> Probe:
    bodies = [calls.body(batch) for batch in _batches()]
    return _probe(contestant, BATCH, calls, itertools.cycle(bodies).__next__, decisions=BATCH_LIMIT)


def _new_batch(context: Context, contestant: Contestant, calls: Calls) -> Probe:
    serials = iter(context.serials.next, None)
    bodies = fresh_batches(calls.body, list(_batches()), serials)
    return _probe(contestant, FRESH_BATCH, calls, bodies, decisions=BATCH_LIMIT)


def _probe(
    contestant: Contestant, scenario: str, calls: Calls, bodies: Bodies, *, decisions: int = 1
) -> Probe:
    def look(samples: Sequence[bytes]) -> str:
        found = [allowed for sample in samples for allowed in calls.allowed(sample)]
        if len(found) != decisions * len(samples):
            raise WrongAnswer(f"{contestant.name} left out decisions")
        return ""

    return Probe(
        scenario=scenario,
        system=contestant.name,
        address=contestant.address,
        pid=contestant.pid,
        connect=lambda: calls.connect(SAMPLE_EVERY),
        bodies=bodies,
        check=look,
        decisions=decisions,
        connections=calls.connections,
        concurrency=64 if decisions == 1 else _BATCH_CONCURRENCY,
    )
