from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from placet_engine.model import Cause, Layer, Outcome, Reason, Verdict
from placet_server.errors import DecisionLogFull
from placet_server.telemetry.decision_log.log import DecisionLog, DecisionLogSettings, WhenSlow
from placet_server.telemetry.decision_log.masking import Masker
from placet_server.telemetry.decision_log.records import AskedRequest
from placet_server.telemetry.decision_log.sinks import SinkFailed
from placet_server.telemetry.decision_log.spool import Spool
from tests.telemetry.test_metrics import Collected

PATIENCE_S = 10.0
VERDICT = Verdict(
    outcome=Outcome.DENY,
    cause=Cause.FORBIDDEN,
    reasons=(Reason("no-guests", Layer.TENANT, "members only"),),
)


class GatedSink:
    """Takes nothing while its gate is shut, and fails when told to."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.reached = threading.Event()
        self.failures = 0
        self.lines: list[bytes] = []
        self.closed = False

    def write(self, lines: Sequence[bytes]) -> None:
        self.reached.set()
        assert self.gate.wait(PATIENCE_S)
        if self.failures:
            self.failures -= 1
            raise SinkFailed("on purpose")
        self.lines += lines

    def close(self) -> None:
        self.closed = True

    @property
    def sequences(self) -> list[int]:
        return [json.loads(line)["sequence"] for line in self.lines]


class Log:
    """A decision log before a sink that can be held up."""

    def __init__(
        self, spool: Path | None, *, spool_bytes: int = 10_000_000, **settings: Any
    ) -> None:
        self.sink = GatedSink()
        self.collected = Collected()
        self.log = DecisionLog(
            sink=self.sink,
            read=read,
            masker=Masker(["context.secret"]),
            settings=DecisionLogSettings(**{"flush_s": PATIENCE_S, **settings}),
            metrics=self.collected.metrics,
            node="n1",
            region="eu-west",
            spool=Spool(spool, max_bytes=spool_bytes) if spool else None,
        )

    def offer(self, count: int = 1) -> None:
        for _ in range(count):
            self.log.offer(
                "acme",
                "alice",
                VERDICT,
                decision_id="d",
                revision=7,
                cached=False,
                duration_s=0.001,
                size_bytes=100,
            )

    async def hold_up(self) -> None:
        """Give the sink one decision to be stuck with."""
        self.offer()
        await asyncio.to_thread(self.sink.reached.wait, PATIENCE_S)

    def lost(self) -> dict[str, float]:
        counts = self.collected.values("placet.decision_log.lost")
        return {cause: value for (cause,), value in counts.items() if value}

    def number(self, name: str) -> float:
        return self.collected.values(f"placet.decision_log.{name}")[()]


def read(request: object) -> AskedRequest:
    if request == "bad":
        raise ValueError("on purpose")
    return AskedRequest(
        subject={"type": "User", "id": str(request), "properties": {}},
        action={"type": "Action", "name": "view", "properties": {}},
        resource={"type": "Doc", "id": "1", "properties": {}},
        context={"secret": "s"},
        entities=[],
    )


@asynccontextmanager
async def running(spool: Path | None = None, **settings: Any) -> AsyncIterator[Log]:
    log = Log(spool, **settings)
    log.log.start()
    try:
        yield log
    finally:
        log.sink.gate.set()
        await log.log.aclose()


async def until(holds: Callable[[], bool]) -> None:
    """Let others go on until something holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.to_thread(threading.Event().wait, 0.005)


async def test_a_record_has_what_it_takes_to_ask_again() -> None:
    async with running() as log:
        log.sink.gate.set()
        log.offer()

    [line] = log.sink.lines
    record = json.loads(line)
    del record["run"], record["time"]
    assert record == {
        "version": 1,
        "sequence": 1,
        "decision_id": "d",
        "tenant": "acme",
        "subject": {"type": "User", "id": "alice", "properties": {}},
        "action": {"type": "Action", "name": "view", "properties": {}},
        "resource": {"type": "Doc", "id": "1", "properties": {}},
        "context": {"secret": "***"},
        "entities": [],
        "outcome": "DENY",
        "cause": "FORBIDDEN",
        "reasons": [{"policy_id": "no-guests", "layer": "TENANT", "message": "members only"}],
        "obligations": [],
        "errors": [],
        "log_only": None,
        "revision": 7,
        "rollout_variant": "",
        "cached": False,
        "region": "eu-west",
        "node": "n1",
        "duration_s": 0.001,
        "trace_id": "",
        "span_id": "",
        "kept_one_in": 1,
        "masked": ["context.secret"],
    }


async def test_the_end_waits_for_what_is_left() -> None:
    async with running() as log:
        log.sink.gate.set()
        log.offer(2000)

    assert log.sink.sequences == list(range(1, 2001))
    assert (log.lost(), log.number("written"), log.sink.closed) == ({}, 2000, True)


async def test_a_sink_that_fails_is_asked_again_in_order() -> None:
    async with running() as log:
        log.sink.failures = 2
        log.sink.gate.set()
        log.offer(3)

    assert log.sink.sequences == [1, 2, 3]
    assert (log.number("failures"), log.lost()) == (2, {})


async def test_one_decision_that_cannot_be_written_is_counted_and_shows_as_a_gap() -> None:
    async with running() as log:
        log.sink.gate.set()
        log.offer()
        log.log.offer(
            "acme",
            "bad",
            VERDICT,
            decision_id="d",
            revision=1,
            cached=False,
            duration_s=0,
            size_bytes=100,
        )
        log.offer()

    assert (log.sink.sequences, log.lost()) == ([1, 3], {"unwritable": 1})


async def test_drop_leaves_out_what_finds_no_room() -> None:
    async with running(when_slow=WhenSlow.DROP, max_queue=10) as log:
        await log.hold_up()
        # What the thread takes out of the queue depends on when it runs; in the end all is full.
        log.offer(5000)

    kept = log.sink.sequences
    assert kept == sorted(kept)
    assert len(kept) < 5001
    assert log.lost() == {"queue_full": 5001 - len(kept)}


async def test_large_requests_fill_the_queue_by_their_size() -> None:
    async with running(when_slow=WhenSlow.DROP, max_queue_bytes=1000) as log:
        await log.hold_up()
        log.offer(5000)

    kept = len(log.sink.lines)
    assert kept < 5001
    assert log.lost() == {"queue_full": 5001 - kept}


async def test_sample_keeps_one_of_n_and_says_so() -> None:
    async with running(when_slow=WhenSlow.SAMPLE, max_queue=100, sample_one_in=10) as log:
        await log.hold_up()
        log.offer(5000)

    kept = [json.loads(line)["kept_one_in"] for line in log.sink.lines]
    lost = log.lost()
    assert set(kept) == {1, 10}
    assert lost["sampled"] >= 9 * kept.count(10)
    assert len(kept) + sum(lost.values()) == 5001


async def test_spill_loses_nothing_and_keeps_the_order(tmp_path: Path) -> None:
    async with running(tmp_path / "spool", when_slow=WhenSlow.SPILL, max_queue=10_000) as log:
        await log.hold_up()
        for _ in range(10):
            log.offer(300)
            await until(lambda: log.number("queue") == 0)
        spooled = log.number("spooled")
        log.sink.gate.set()
        log.offer(300)
        await until(lambda: log.number("written") == 3301)

    assert spooled > 0
    assert log.sink.sequences == list(range(1, 3302))
    assert (log.lost(), (tmp_path / "spool").stat().st_size) == ({}, 0)


async def test_spilled_records_are_delivered_by_the_next_run(tmp_path: Path) -> None:
    log = Log(tmp_path / "spool", when_slow=WhenSlow.SPILL, flush_s=0.05)
    log.log.start()
    await log.hold_up()
    log.offer(2000)
    await log.log.aclose()
    log.sink.gate.set()
    async with running(tmp_path / "spool", when_slow=WhenSlow.SPILL) as second:
        second.sink.gate.set()
        second.offer()

    # The one the sink was stuck with may come twice; none is missing.
    assert set(range(1, 2002)) == set(second.sink.sequences)
    assert (log.lost(), second.lost()) == ({}, {})


async def test_a_full_spool_loses_and_counts(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    async with running(spool, spool_bytes=100_000, when_slow=WhenSlow.SPILL) as log:
        await log.hold_up()
        log.offer(2000)
        await until(lambda: log.number("queue") == 0)

    lost = log.lost()
    assert lost.keys() == {"spool_full"}
    assert len(log.sink.lines) + lost["spool_full"] == 2001


async def test_block_refuses_when_there_is_no_room_in_time() -> None:
    async with running(when_slow=WhenSlow.BLOCK, max_queue=5, block_s=0.02) as log:
        await log.hold_up()

        async def ask() -> None:
            for _ in range(5000):
                await log.log.room_for()
                log.offer()

        with pytest.raises(DecisionLogFull, match="decides nothing unrecorded"):
            await ask()

    assert log.lost() == {}
    assert log.sink.sequences == list(range(1, len(log.sink.lines) + 1))


async def test_block_lets_requests_go_on_as_soon_as_there_is_room() -> None:
    async with running(when_slow=WhenSlow.BLOCK, max_queue=5, block_s=PATIENCE_S) as log:
        await log.hold_up()

        async def ask() -> None:
            for _ in range(40):
                await log.log.room_for()
                log.offer()

        asking = [asyncio.create_task(ask()) for _ in range(10)]
        await until(lambda: log.number("queue") >= 5)
        log.sink.gate.set()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*asking)

    assert (len(log.sink.lines), log.lost()) == (401, {})


async def test_a_batch_larger_than_the_queue_waits_until_it_is_empty() -> None:
    async with running(when_slow=WhenSlow.BLOCK, max_queue=5, block_s=PATIENCE_S) as log:
        log.sink.gate.set()
        log.offer(3)
        async with asyncio.timeout(PATIENCE_S):
            await log.log.room_for(1000)

    assert len(log.sink.lines) == 3


async def test_a_sink_that_is_stuck_at_the_end_costs_its_records_and_not_the_end() -> None:
    log = Log(None, flush_s=0.05)
    log.log.start()
    await log.hold_up()
    log.offer(100)
    async with asyncio.timeout(PATIENCE_S):
        await log.log.aclose()
    lost = log.lost()
    log.sink.gate.set()

    assert sum(lost.values()) == 101
