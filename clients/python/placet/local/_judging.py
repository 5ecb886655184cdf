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
from placet._decisions import Decision, stamped
from placet._errors import DecisionError, InvalidRequest, Violation
from placet.v1 import evaluate_service_pb2 as pb
from placet_engine import native
from placet_engine.editions import Edition, Role, Variant
from placet_engine.model import Request, Undecidable, Verdict
from placet_engine.native import Unread

NODE = "local"
"""What decisions of this process name as their node."""


class Judged(NamedTuple):
    """A decision that is no answer to anybody yet."""

    decision: Decision
    cached: bool


class Judge:
    """What decides at one revision, and the answers it has given. Thread-safe.

    Args:
        edition: what decides.
        revision: the newest revision that is known.
        cache_entries: how many answers are remembered.
    """

    def __init__(self, edition: Edition, revision: int, *, cache_entries: int) -> None:
        self.edition = edition
        self.revision = revision
        # A new program gets a new judge: what another revision said is never found here.
        self._answers: LRUCache[Hashable, Decision] = LRUCache(cache_entries)
        # The program hands out the same verdict object again and again. An entry holds its
        # verdict, so that no other can have its identity.
        self._decisions: LRUCache[tuple[int, Variant], tuple[Verdict, Decision]] = LRUCache(
            _REMEMBERED_VERDICTS
        )
        self._lock = threading.Lock()

    def recall(self, key: Hashable) -> Decision | None:
        """Return what was decided under a key."""
        with self._lock:
            try:
                return self._answers[key]
            except KeyError:
                return None

    def decide(self, message: pb.EvaluateRequest, key: Hashable | None = None) -> Judged:
        """Decide one request.

        Args:
            message: the request.
            key: what to find the answer by the next time; None for the message's own.

        Raises:
            InvalidRequest: it is malformed, or the engine cannot judge it.
        """
        if key is None:
            key = message.SerializeToString(deterministic=True)
            known = self.recall(key)
            if known is not None:
                return Judged(known, True)
        answer = self._judged(key, _read(message))
        if isinstance(answer, Undecidable):
            raise InvalidRequest(
                answer.message,
                violations=[Violation(answer.field or "request", answer.message)],
                reason=answer.reason,
            )
        return answer

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
        known = self.recall(key)
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
        return answer

    def _judged(self, key: Hashable, request: Request | Unread) -> Judged | Undecidable:
        """Judge a request, unless one was that differs in nothing the policies look at."""
        role = self.edition.role_for(request.subject)
        question = role.program.question(request)
        if isinstance(question, Undecidable):
            return question
        reads = (role.key, role.program.projection(question))
        known = self.recall(reads)
        if known is not None:
            with self._lock:
                self._answers[key] = known
            return Judged(known, True)
        (verdict,) = role.program.answer([question])
        if isinstance(verdict, Undecidable):
            return verdict
        decision = self._decision(verdict, role)
        with self._lock:
            self._answers[key] = self._answers[reads] = decision
        return Judged(decision, False)

    def _decision(self, verdict: Verdict, role: Role) -> Decision:
        """Go by way of the wire, so that a local decision reads as a remote one does."""
        with self._lock:
            _, decision = self._decisions.get((id(verdict), role.variant), (None, None))
        if decision is None:
            decision = replace(
                convert.decision(wire.verdict_to_wire(verdict)),
                revision=int(role.program.revision),
                rollout_variant=role.variant.value,
                node=NODE,
            )
            with self._lock:
                self._decisions[id(verdict), role.variant] = (verdict, decision)
        return decision


_REMEMBERED_VERDICTS = 4096


class Stamp:
    """Makes a decision the answer to one call: with an id, and the age of what it rests on."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._process = secrets.token_hex(6)
        self._numbers = itertools.count(1)

    def __call__(self, judged: Judged, *, staleness_s: float, is_stale: bool) -> Decision:
        """Return the decision with what differs from call to call."""
        return stamped(
            judged.decision,
            {
                "cached": judged.cached,
                "decision_id": f"local-{self._process}-{next(self._numbers)}",
                "staleness": timedelta(seconds=staleness_s),
                "is_stale": is_stale,
                "region": self._region,
            },
        )


def _read(message: pb.EvaluateRequest) -> Request | Unread:
    if native.extension is not None:
        natively = wire.read_natively(message.SerializeToString())
        if natively is not None:
            return natively.request
    reader = wire.Reader()
    try:
        reader.tenant(message.tenant)
        request = wire.read_request(message, reader)
        reader.finish()
    except wire.Malformed as malformed:
        raise _invalid(malformed) from malformed
    return request


def _invalid(malformed: wire.Malformed) -> InvalidRequest:
    return InvalidRequest(
        violations=[Violation(bad.field, bad.message) for bad in malformed.violations],
        reason="REQUEST_MALFORMED",
    )
