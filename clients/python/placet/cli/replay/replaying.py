"""Puts recorded requests to two policy sets. Equal requests are decided once."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import NamedTuple

from cachetools import LRUCache

from placet.cli.replay.answers import (
    NO_ANSWER,
    Answer,
    Change,
    answer_of,
    answer_recorded,
    change,
)
from placet.cli.replay.impact import Example, Impact
from placet.cli.replay.masks import hidden_in
from placet.cli.replay.names import PolicyName, names_of
from placet.cli.replay.versions import Versions
from placet.wire import Malformed, Reader, read_request
from placet_engine.model import Cause, Request, Undecidable
from placet_engine.precedence import EffectivePolicy
from placet_engine.program import Program, Question
from placet_engine.slices import Slice
from placet_server.api.recorded_requests import request_of
from placet_server.telemetry.decision_log.records import DecisionRecord

REMEMBERED_REQUESTS = 200_000
"""By how many requests an earlier equal one is found again; some 300 bytes each."""
REMEMBERED_ANSWERS = 50_000


class RequestUnreadable(ValueError):
    """The request of a record is none that a server would take."""


def recorded_request(record: DecisionRecord) -> Request:
    """Return the request of a record as the engine takes it.

    Raises:
        RequestUnreadable: it is none.
    """
    reader = Reader()
    try:
        request = read_request(request_of(record), reader)
        reader.finish()
    except _NO_REQUEST as error:
        raise RequestUnreadable(str(error)) from error
    # The permit was a credential. What is recorded is that there was one that held.
    return replace(request, approved=record.cause == Cause.APPROVED.name)


# What reading JSON comes upon that only looks like a request.
_NO_REQUEST = (Malformed, AttributeError, KeyError, RecursionError, TypeError, ValueError)


def request_key(record: DecisionRecord) -> bytes:
    """Return what is the same for equal requests only."""
    parts = (
        record.subject,
        record.action,
        record.resource,
        record.context,
        record.entities,
        record.cause == Cause.APPROVED.name,
        record.masked,
    )
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).digest()


class Judged(NamedTuple):
    """What one set says."""

    answer: Answer
    would_be: str = ""
    """The outcome if log-only policies counted, when something would change."""
    would_by: tuple[PolicyName, ...] = ()
    """The log-only policies behind that."""


class Judge:
    """One program, and what it said about requests that policies cannot tell apart."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._known: LRUCache[bytes, Judged] = LRUCache(REMEMBERED_ANSWERS)

    def question(self, request: Request) -> Question | Undecidable:
        """Choose the policies that could be about a request."""
        return self._program.question(request)

    def __call__(self, question: Question | Undecidable) -> Judged:
        """Decide."""
        if isinstance(question, Undecidable):
            return Judged(answer_of(question))
        key = self._program.projection(question)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._judged(question)
        return known

    def _judged(self, question: Question) -> Judged:
        (verdict,) = self._program.answer([question])
        answer = answer_of(verdict)
        if isinstance(verdict, Undecidable) or verdict.log_only is None:
            return Judged(answer)
        report = verdict.log_only
        return Judged(answer, report.outcome.name, names_of(report.reasons))


@dataclass(frozen=True, slots=True)
class _Seen:
    """What came of a request. Mostly the same object for all requests of which the same did."""

    stable: Judged | None = None
    """None, like ``candidate``, for what cannot be asked."""
    candidate: Judged | None = None
    change: Change | None = None
    masked: tuple[str, ...] = ()
    """The rules because of which it cannot be asked. Without any, the record is unreadable."""
    example: Example | None = None


class Replay:
    """Asks two policy sets again what was asked before, and counts what differs."""

    def __init__(
        self,
        versions: Versions,
        impact: Impact,
        *,
        max_remembered: int = REMEMBERED_REQUESTS,
    ) -> None:
        """Get ready.

        Args:
            versions: who is asked.
            impact: what is counted into.
            max_remembered: how many requests to know again. Past that, one that comes again is
                decided anew and counted as another request; decisions are counted right.
        """
        self._stable = Judge(versions.stable)
        self._candidate = Judge(versions.candidate)
        self._versions = versions
        self._impact = impact
        self._max_remembered = max_remembered
        self._seen: OrderedDict[bytes, _Seen] = OrderedDict()
        self._shared: dict[tuple[Judged, Judged], _Seen] = {}
        self._same_slices: LRUCache[tuple[int, int], bool] = LRUCache(REMEMBERED_ANSWERS)

    def take(self, record: DecisionRecord) -> None:
        """Ask again what a record says was asked."""
        try:
            recorded = answer_recorded(record)
            stands_for = max(int(record.kept_one_in), 1)
            key = request_key(record)
        except (KeyError, OverflowError, TypeError, ValueError):
            self._impact.unreadable += 1
            return
        seen = self._seen.get(key)
        is_new = seen is None
        if seen is None:
            seen = self._remember(key, record)
        else:
            self._seen.move_to_end(key)
        self._count(seen, recorded, stands_for, is_new=is_new)

    def _count(self, seen: _Seen, recorded: Answer, decisions: int, *, is_new: bool) -> None:
        impact, stable, candidate = self._impact, seen.stable, seen.candidate
        if stable is None or candidate is None:
            if seen.masked:
                impact.add_masked(seen.masked, decisions, is_new=is_new)
            else:
                impact.unreadable += 1
            return
        impact.count.add(decisions, is_new=is_new)
        if recorded != stable.answer._replace(approval_groups=()):
            impact.add_drift(recorded, stable.answer, decisions)
        if candidate.would_by:
            way = (candidate.answer.outcome, candidate.would_be)
            impact.add_log_only(candidate.would_by, way, decisions, is_new=is_new)
        if seen.change is not None:
            impact.add_change(seen.change, decisions, is_new=is_new)
            if seen.example is not None:
                seen.example.decisions += decisions

    def _remember(self, key: bytes, record: DecisionRecord) -> _Seen:
        if len(self._seen) >= self._max_remembered:
            self._seen.popitem(last=False)
            self._impact.requests_are_exact = False
        seen = self._seen[key] = self._ask(record)
        return seen

    def _ask(self, record: DecisionRecord) -> _Seen:
        hidden = hidden_in(record)
        if any(one.hides_who for one in hidden):
            return _Seen(masked=tuple(one.rule for one in hidden if one.hides_who))
        try:
            request = recorded_request(record)
        except RequestUnreadable:
            return _Seen()
        before, after = self._stable.question(request), self._candidate.question(request)
        reads = [each.slice.reads for each in (before, after) if isinstance(each, Question)]
        read = tuple(one.rule for one in hidden if any(map(one.is_read, reads)))
        if read:
            return _Seen(masked=read)
        stable = self._stable(before)
        candidate = stable if self._is_same(before, after) else self._candidate(after)
        if hidden and NO_ANSWER in (stable.answer.outcome, candidate.answer.outcome):
            # It may be what stands in the place of a masked value that is refused.
            return _Seen(masked=tuple(one.rule for one in hidden))
        self._impact.offer_sample(record, stable.answer, candidate.answer)
        seen = self._compared(stable, candidate)
        if seen.change is None:
            return seen
        example = self._impact.offer_example(seen.change, record, stable.answer, candidate.answer)
        return replace(seen, example=example) if example is not None else seen

    def _is_same(self, before: Question | Undecidable, after: Question | Undecidable) -> bool:
        """Whether the same policies are asked about the same: then there is no other answer."""
        return (
            self._versions.only_policies_differ
            and isinstance(before, Question)
            and isinstance(after, Question)
            and self._are_same(before.slice, after.slice)
        )

    def _are_same(self, one: Slice, other: Slice) -> bool:
        """Whether two slices hold the same policies, wherever their texts stand."""
        key = (one.serial, other.serial)
        known = self._same_slices.get(key)
        if known is None:
            known = self._same_slices[key] = _by_name(one) == _by_name(other)
        return known

    def _compared(self, stable: Judged, candidate: Judged) -> _Seen:
        known = self._shared.get((stable, candidate))
        if known is None:
            found = change(stable.answer, candidate.answer, self._versions.states)
            known = _Seen(stable, candidate, found)
            if len(self._shared) < REMEMBERED_ANSWERS:
                self._shared[stable, candidate] = known
        return known


def _by_name(slice_: Slice) -> dict[PolicyName, EffectivePolicy]:
    return {PolicyName(policy.layer.name, policy.id): policy for policy in slice_.policies}
