"""A program put to work: requests of the wire in, decisions out. No waiting, no clock."""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Hashable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

from cachetools import LRUCache

from placet import _convert as convert
from placet import wire
from placet._decisions import Decision
from placet._errors import DecisionError, InvalidRequest, Violation
from placet.v1 import evaluate_service_pb2 as pb
from placet_engine.model import Request, Undecidable, Verdict
from placet_engine.program import Program

NODE = "local"
"""What decisions of this process name as their node."""


class Judged(NamedTuple):
    """A decision that is no answer to anybody yet."""

    decision: Decision
    cached: bool


class Judge:
    """One program and the answers it has given. Thread-safe."""

    def __init__(self, program: Program, *, cache_entries: int) -> None:
        self.program = program
        # A new program gets a new judge: what another revision said is never found here.
        self._answers: LRUCache[Hashable, Decision] = LRUCache(cache_entries)
        self._lock = threading.Lock()

    def decide(self, message: pb.EvaluateRequest) -> Judged:
        """Decide one request.

        Raises:
            InvalidRequest: it is malformed, or the engine cannot judge it.
        """
        key = _key(message)
        known = self._known(key)
        if known is not None:
            return Judged(known, True)
        reader = wire.Reader()
        try:
            reader.tenant(message.tenant)
            request = wire.read_request(message, reader)
            reader.finish()
        except wire.Malformed as malformed:
            raise _invalid(malformed) from malformed
        answer = self._judged(key, request)
        if isinstance(answer, Undecidable):
            raise InvalidRequest(
                violations=[Violation(answer.field or "request", answer.message)],
                reason=answer.reason,
            )
        return Judged(answer, False)

    def decide_batch(self, message: pb.EvaluateBatchRequest) -> Iterator[Judged | DecisionError]:
        """Decide every request of a batch, as far as the caller reads on.

        Raises:
            InvalidRequest: one of them is malformed. Nothing was decided.
        """
        try:
            reader = wire.Reader()
            batch = wire.BatchReader(message, reader)
            requests = [batch.request(item, index) for index, item in enumerate(message.items)]
            reader.finish()
        except wire.Malformed as malformed:
            raise _invalid(malformed) from malformed
        shared = wire.shared_parts(message)
        keys = ((shared, item.SerializeToString(deterministic=True)) for item in message.items)
        return map(self._result, keys, requests)

    def _result(self, key: Hashable, request: Request) -> Judged | DecisionError:
        known = self._known(key)
        if known is not None:
            return Judged(known, True)
        answer = self._judged(key, request)
        if isinstance(answer, Undecidable):
            return DecisionError(
                answer.message,
                code="INVALID_ARGUMENT",
                reason=answer.reason,
                field=answer.field or "request",
            )
        return Judged(answer, False)

    def _known(self, key: Hashable) -> Decision | None:
        with self._lock:
            return self._answers.get(key)

    def _judged(self, key: Hashable, request: Request) -> Decision | Undecidable:
        verdict = self.program.judge(request)
        if isinstance(verdict, Undecidable):
            return verdict
        answer = self._decision(verdict)
        with self._lock:
            self._answers[key] = answer
        return answer

    def _decision(self, verdict: Verdict) -> Decision:
        """Go by way of the wire, so that a local decision reads as a remote one does."""
        decision = convert.decision(wire.verdict_to_wire(verdict))
        return replace(decision, revision=int(self.program.revision), node=NODE)


class Stamp:
    """Makes a decision the answer to one call: with an id, and the age of what it rests on."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._process = secrets.token_hex(6)
        self._numbers = itertools.count(1)

    def __call__(self, judged: Judged, *, staleness_s: float, is_stale: bool) -> Decision:
        """Return the decision with what differs from call to call."""
        return replace(
            judged.decision,
            cached=judged.cached,
            decision_id=f"local-{self._process}-{next(self._numbers)}",
            staleness=timedelta(seconds=staleness_s),
            is_stale=is_stale,
            region=self._region,
        )


def _key(message: pb.EvaluateRequest) -> bytes:
    """Return bytes that are equal only for requests that ask the same."""
    return message.SerializeToString(deterministic=True)


def _invalid(malformed: wire.Malformed) -> InvalidRequest:
    return InvalidRequest(
        violations=[Violation(bad.field, bad.message) for bad in malformed.violations],
        reason="REQUEST_MALFORMED",
    )
