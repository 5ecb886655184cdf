"""Takes decisions from the hot path, and owns the threads that write them down."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import itertools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TypeAlias

from opentelemetry.trace import (
    SpanContext,
    format_span_id,
    format_trace_id,
    get_current_span,
)

from placet_engine.model import LogOnlyReport, PolicyError, Reason, Verdict
from placet_server.errors import DecisionLogFull
from placet_server.telemetry.decision_log.masking import Masker
from placet_server.telemetry.decision_log.outbox import Outbox
from placet_server.telemetry.decision_log.records import (
    AskedRequest,
    DecisionRecord,
    Document,
    to_line,
)
from placet_server.telemetry.decision_log.sinks import Sink, SinkFailed
from placet_server.telemetry.decision_log.spool import Spool
from placet_server.telemetry.recorders import Metrics

log = logging.getLogger(__name__)

_BATCH, _BATCH_BYTES = 256, 4_000_000
# How many records the outbox holds, as a part of what the queue does, in batches.
_OUTBOX_BATCHES = 4
# Records are written this long after the first of them came, so that the thread that writes is not
# woken for each of them in the middle of answering.
_LINGER_S = 0.02
_SPILLING_S = 5.0
_RETRY_FIRST_S, _RETRY_MOST_S = 0.1, 5.0


class WhenSlow(StrEnum):
    """What happens to decisions when the sink does not keep up."""

    BLOCK = "block"
    """Requests wait for room before they are decided, up to a deadline; then they are refused."""
    SPILL = "spill"
    """Records wait in a file and are delivered later, in order."""
    SAMPLE = "sample"
    """From half a full queue on, one record of n is kept and says that it stands for n."""
    DROP = "drop"
    """Records that find no room are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionLogSettings:
    """How a decision log behaves."""

    when_slow: WhenSlow = WhenSlow.SAMPLE
    max_queue: int = 10_000
    """Decisions that wait to be written down."""
    max_queue_bytes: int = 64_000_000
    """Size of their requests."""
    block_s: float = 1.0
    """How long a request waits for room."""
    sample_one_in: int = 10
    flush_s: float = 5.0
    """How long the end may take."""


# What the hot path hands over: time, sequence, what it stands for, tenant, request, verdict,
# decision id, revision, variant, cached, duration, span, size of the request.
_Entry: TypeAlias = tuple[
    float, int, int, str, object, Verdict, str, int, str, bool, float, SpanContext, int
]


class DecisionLog:
    """Records every decision it is offered, or counts what it could not.

    :meth:`offer` and :meth:`room_for` are the event loop's. One thread makes lines of what was
    offered, another hands them to the sink, so that a sink that blocks cannot keep the first from
    spilling.
    """

    def __init__(
        self,
        *,
        sink: Sink,
        read: Callable[[object], AskedRequest],
        masker: Masker,
        settings: DecisionLogSettings,
        metrics: Metrics,
        node: str,
        region: str,
        spool: Spool | None = None,
    ) -> None:
        """Put a log together; :meth:`start` starts it.

        Args:
            sink: where lines go.
            read: makes the JSON form of what :meth:`offer` gets as a request; called in a thread.
            masker: what must not be written.
            settings: how it behaves when the sink is slow.
            metrics: where to count.
            node: name of this node.
            region: and its region.
            spool: the file for ``SPILL``.
        """
        self._sink = sink
        self._read = read
        self._masker = masker
        self._settings = settings
        self._node, self._region = node, region
        self._run = os.urandom(8).hex()
        self._sequence = itertools.count(1)
        self._sampled = itertools.count(1)
        self._queue: deque[_Entry] = deque()
        # What came in is the event loop's to count, what went out the first thread's.
        self._bytes_in = self._bytes_out = 0
        self._outbox = Outbox(max_batches=_OUTBOX_BATCHES, spool=spool)
        self._wake = threading.Event()
        self._over = threading.Event()
        self._is_closing = False
        self._waiters: set[asyncio.Future[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads = [
            threading.Thread(target=run, name=name, daemon=True)
            for run, name in (
                (self._write_down, "decision-log"),
                (self._deliver, "decision-log-sink"),
            )
        ]
        self._count_with(metrics)

    def _count_with(self, metrics: Metrics) -> None:
        lost = metrics.counter(
            "placet.decision_log.lost", "{record}", "Decisions without a record, by cause."
        )
        causes = ("queue_full", "sampled", "unwritable", "spool_full", "shutdown")
        self._lost = {cause: lost.child({"cause": cause}) for cause in causes}
        self._written = metrics.counter(
            "placet.decision_log.written", "{record}", "Records the sink has taken."
        ).child()
        self._failures = metrics.counter(
            "placet.decision_log.failures", "{failure}", "Times the sink refused to take records."
        ).child()
        metrics.observe(
            "placet.decision_log.queue",
            "{record}",
            "Decisions that wait to be written down.",
            lambda: len(self._queue),
        )
        metrics.observe(
            "placet.decision_log.spooled",
            "By",
            "Records that wait on disk.",
            lambda: self._outbox.spooled_bytes,
        )

    def start(self) -> None:
        """Start the threads."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    # ------------------------------------------------------------------- the event loop's

    @property
    def has_room_at_once(self) -> bool:
        """Whether :meth:`room_for` one decision would not wait."""
        return self.has_room_for(1)

    def has_room_for(self, count: int) -> bool:
        """Whether :meth:`room_for` so many decisions would not wait."""
        return self._settings.when_slow is not WhenSlow.BLOCK or self._has_room(count)

    async def room_for(self, count: int = 1) -> None:
        """Wait for room for ``count`` decisions, before they are made; at once unless ``BLOCK``.

        Raises:
            DecisionLogFull: there was none in time. Nothing may be decided then.
        """
        settings = self._settings
        if settings.when_slow is not WhenSlow.BLOCK or self._has_room(count):
            return
        assert self._loop is not None
        try:
            async with asyncio.timeout(settings.block_s):
                while not self._has_room(count):
                    waiter = self._loop.create_future()
                    self._waiters.add(waiter)
                    try:
                        await waiter
                    finally:
                        self._waiters.discard(waiter)
        except TimeoutError:
            raise DecisionLogFull(settings.block_s) from None

    def _has_room(self, count: int) -> bool:
        # More than the queue ever takes can only wait until it is empty.
        return not self._queue or (
            len(self._queue) + count <= self._settings.max_queue
            and self._bytes_in - self._bytes_out < self._settings.max_queue_bytes
        )

    def offer(
        self,
        tenant: str,
        request: object,
        verdict: Verdict,
        *,
        decision_id: str,
        revision: int,
        variant: str = "",
        cached: bool,
        duration_s: float,
        size_bytes: int,
    ) -> None:
        """Have a decision written down. Never waits.

        Args:
            tenant: whose policies decided.
            request: what ``read`` reads; must not be changed any more.
            verdict: what was decided.
            decision_id: the id the caller gets.
            revision: the revision that decided.
            variant: which of two programs did, while a rollout is under way.
            cached: whether the verdict was remembered.
            duration_s: how long it took, in seconds.
            size_bytes: about how much memory the request holds.
        """
        sequence = next(self._sequence)
        waiting, kept_one_in = len(self._queue), 1
        settings = self._settings
        if self._is_closing or self._is_full(waiting):
            self._lost["shutdown" if self._is_closing else "queue_full"].add()
            return
        if settings.when_slow is WhenSlow.SAMPLE and waiting * 2 >= settings.max_queue:
            if next(self._sampled) % settings.sample_one_in:
                self._lost["sampled"].add()
                return
            kept_one_in = settings.sample_one_in
        self._queue.append(
            (
                time.time(),
                sequence,
                kept_one_in,
                tenant,
                request,
                verdict,
                decision_id,
                revision,
                variant,
                cached,
                duration_s,
                get_current_span().get_span_context(),
                size_bytes,
            )
        )
        self._bytes_in += size_bytes
        if not self._wake.is_set():
            self._wake.set()

    def _is_full(self, waiting: int) -> bool:
        # Under `BLOCK` requests were let in one by one and may decide a moment later all at once.
        factor = 2 if self._settings.when_slow is WhenSlow.BLOCK else 1
        return (
            waiting >= self._settings.max_queue * factor
            or self._bytes_in - self._bytes_out >= self._settings.max_queue_bytes * factor
        )

    async def aclose(self) -> None:
        """Deliver what there is, for as long as allowed; count the rest as lost."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        deadline = time.monotonic() + self._settings.flush_s
        self._is_closing = True
        self._wake.set()
        writer, deliverer = self._threads
        # With a spool it waits for nobody, and what it leaves is lost.
        spills = self._settings.when_slow is WhenSlow.SPILL
        writer.join(max(deadline - time.monotonic(), _SPILLING_S if spills else 0))
        self._outbox.close()
        deliverer.join(max(deadline - time.monotonic(), 0))
        self._over.set()
        lost = self._outbox.give_up()
        # It waits for nothing any more but may be in the middle of a batch.
        writer.join(_RETRY_MOST_S)
        lost += len(self._queue)
        if lost:
            self._lost["shutdown"].add(lost)
            log.error("decisions were lost at the end", extra={"records": lost})
        if deliverer.is_alive():
            # It is stuck with the sink, which must not be closed under its hands.
            return
        try:
            self._sink.close()
        except SinkFailed:
            log.exception("the decision log may lack its last records")

    # ------------------------------------------------------------------ the first thread's

    def _write_down(self) -> None:
        while not self._over.is_set():
            self._wake.wait()
            self._wake.clear()
            if not self._is_closing and len(self._queue) * 4 < self._settings.max_queue:
                self._over.wait(_LINGER_S)
            while self._queue and not self._over.is_set():
                batch = self._next_batch()
                self._tell_of_room()
                lines = [line for entry in batch if (line := self._line(entry))]
                not_taken = self._outbox.put(lines) if lines else 0
                if not_taken:
                    self._lost["shutdown" if self._over.is_set() else "spool_full"].add(not_taken)
            if self._is_closing and not self._queue:
                return

    def _next_batch(self) -> list[_Entry]:
        batch: list[_Entry] = []
        start_bytes = self._bytes_out
        while self._queue and len(batch) < _BATCH and self._bytes_out - start_bytes < _BATCH_BYTES:
            batch.append(self._queue.popleft())
            self._bytes_out += batch[-1][-1]
        return batch

    def _tell_of_room(self) -> None:
        # Even if nobody seems to wait: who is about to is seen by the event loop only.
        if self._settings.when_slow is WhenSlow.BLOCK and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._wake_waiters)

    def _wake_waiters(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _line(self, entry: _Entry) -> bytes:
        try:
            return to_line(self._document(entry))
        except Exception:  # one record that cannot be written must not end the log
            self._lost["unwritable"].add()
            log.exception("a decision could not be written down")
            return b""

    def _document(self, entry: _Entry) -> Document:
        moment, sequence, kept_one_in, tenant, request, verdict = entry[:6]
        decision_id, revision, variant, cached, duration_s, span = entry[6:-1]
        asked = self._read(request)
        document = DecisionRecord(
            run=self._run,
            sequence=sequence,
            time=datetime.datetime.fromtimestamp(moment, datetime.UTC),
            tenant=tenant,
            **asdict(asked),
            outcome=verdict.outcome.name,
            cause=verdict.cause.name,
            reasons=[_policy(reason) for reason in verdict.reasons],
            obligations=list(verdict.obligations),
            errors=[_policy(error) for error in verdict.errors],
            log_only=_log_only(verdict.log_only),
            decision_id=decision_id,
            revision=revision,
            rollout_variant=variant,
            cached=cached,
            duration_s=round(duration_s, 9),
            region=self._region,
            node=self._node,
            trace_id=format_trace_id(span.trace_id) if span.is_valid else "",
            span_id=format_span_id(span.span_id) if span.is_valid else "",
            kept_one_in=kept_one_in,
            masked=[],
        ).to_json()
        document["masked"] = self._masker.mask(document)
        return document

    # ----------------------------------------------------------------- the second thread's

    def _deliver(self) -> None:
        while batch := self._outbox.take():
            if not self._deliver_batch(batch.lines):
                return
            self._written.add(len(batch.lines))
            self._outbox.delivered(batch)

    def _deliver_batch(self, lines: Sequence[bytes]) -> bool:
        """Offer lines until they are taken; false when there is no more time for it."""
        delay_s = _RETRY_FIRST_S
        while not self._over.is_set():
            try:
                self._sink.write(lines)
                return True
            except SinkFailed as error:
                self._failures.add()
                log.warning("the decision log's sink fails", extra={"problem": str(error)})
            self._over.wait(delay_s)
            delay_s = min(delay_s * 2, _RETRY_MOST_S)
        return False


def _log_only(report: LogOnlyReport | None) -> Document | None:
    if report is None:
        return None
    return {"outcome": report.outcome.name, "reasons": [_policy(each) for each in report.reasons]}


def _policy(found: Reason | PolicyError) -> Document:
    return {
        "policy_id": found.policy_id,
        "layer": found.layer.name,
        "message": found.message,
    }
