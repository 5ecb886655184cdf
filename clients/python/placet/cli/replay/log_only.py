"""Counts what log-only policies would have changed, policy by policy.

What was recorded says what they would have changed when a decision was made. With the policies at
hand, recorded requests are asked again as well: only so it can be told whether a policy that
changed nothing was ever met.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from placet.cli.replay.masks import hidden_in
from placet.cli.replay.names import PolicyName, names_of, names_recorded
from placet.cli.replay.replaying import (
    REMEMBERED_REQUESTS,
    RequestUnreadable,
    recorded_request,
    request_key,
)
from placet_engine.explaining import Explanation
from placet_engine.model import Undecidable
from placet_engine.precedence import EffectivePolicy
from placet_engine.program import Program, Question
from placet_server.telemetry.decision_log.records import DecisionRecord

_KEPT = 1000


class Leading:
    """The most frequent of any number of names, in bounded memory.

    Up to a thousand names are counted exactly. With more, the rarest are let go of from time to
    time, so that counts may be too low.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self.is_exact = True

    def add(self, name: str, count: int) -> None:
        """Count a name."""
        self._counts[name] = self._counts.get(name, 0) + count
        if len(self._counts) > 2 * _KEPT:
            self._counts = dict(self.top(_KEPT))
            self.is_exact = False

    def top(self, number: int) -> list[tuple[str, int]]:
        """Return the first of them, with their counts."""
        return sorted(self._counts.items(), key=lambda entry: (-entry[1], entry[0]))[:number]


@dataclass(slots=True)
class Example:
    """One decision that would have been another."""

    record: DecisionRecord
    outcome: str
    would_be: str


@dataclass(slots=True)
class Shadow:
    """What one log-only policy would have done."""

    name: PolicyName
    decisions: int = 0
    """Recorded decisions it would have changed."""
    ways: dict[tuple[str, str], int] = field(default_factory=dict)
    """From which outcome to which. The same twice: obligations would differ."""
    first: datetime | None = None
    last: datetime | None = None
    subjects: Leading = field(default_factory=Leading)
    actions: Leading = field(default_factory=Leading)
    resources: Leading = field(default_factory=Leading)
    examples: list[Example] = field(default_factory=list)
    is_there: bool | None = None
    """Whether it is log-only today; None when nobody looked."""
    in_scope: int = 0
    """Decisions its scope matches, as it is today."""
    matched: int = 0
    """Of these, decisions it matches, or fails on."""
    would_change: int = 0
    """Of these, decisions it would change, by the policies of today."""

    def note(self, record: DecisionRecord, would_be: str, stands_for: int, examples: int) -> None:
        """Count a decision that is recorded to be one it would have changed."""
        self.decisions += stands_for
        way = (record.outcome, would_be)
        self.ways[way] = self.ways.get(way, 0) + stands_for
        self.first = min(self.first or record.time, record.time)
        self.last = max(self.last or record.time, record.time)
        for leading, part, name in (
            (self.subjects, record.subject, "id"),
            (self.actions, record.action, "name"),
            (self.resources, record.resource, "id"),
        ):
            leading.add(_named(part, name), stands_for)
        if len(self.examples) < examples:
            self.examples.append(Example(record, record.outcome, would_be))


def _named(part: object, name: str) -> str:
    # A mask may have taken it as a whole.
    return f"{part.get('type')}::{part.get(name)}" if isinstance(part, dict) else str(part)


class _Met(NamedTuple):
    """What a request has to do with today's log-only policies."""

    in_scope: tuple[PolicyName, ...] = ()
    matched: tuple[PolicyName, ...] = ()
    would_change: tuple[PolicyName, ...] = ()
    masked: bool = False
    unreadable: bool = False


class Shadows:
    """The log-only policies of a log, and those there are."""

    def __init__(self, program: Program | None, *, examples: int) -> None:
        """Get ready.

        Args:
            program: the policies of today; None for what the log says only.
            examples: how many to keep of each policy.
        """
        self._program = program
        self._examples = examples
        self._seen: OrderedDict[bytes, _Met] = OrderedDict()
        self._met: OrderedDict[bytes, _Met] = OrderedDict()
        self._shadows: dict[PolicyName, Shadow] = {}
        self.decisions = 0
        self.not_replayed = 0
        """Decisions whose request is masked where policies read it, or is none."""
        self.unreadable = 0
        """Records that say something no release does."""
        for policy in program.policies if program is not None else ():
            if policy.parsed.log_only:
                self._shadow(_name(policy)).is_there = True

    @property
    def all(self) -> list[Shadow]:
        """Every policy, those that would have changed most first."""
        return sorted(self._shadows.values(), key=lambda one: (-one.decisions, one.name))

    def take(self, record: DecisionRecord) -> None:
        """Count a record."""
        try:
            stands_for = max(int(record.kept_one_in), 1)
            report = record.log_only
            names = names_recorded(report["reasons"]) if report else ()
            would_be = str(report["outcome"]) if report else ""
        except (KeyError, OverflowError, TypeError, ValueError):
            self.unreadable += 1
            return
        self.decisions += stands_for
        for name in names:
            self._shadow(name).note(record, would_be, stands_for, self._examples)
        if self._program is not None:
            self._replay(record, stands_for, self._program)

    def _shadow(self, name: PolicyName) -> Shadow:
        shadow = self._shadows.get(name)
        if shadow is None:
            is_there = None if self._program is None else False
            shadow = self._shadows[name] = Shadow(name, is_there=is_there)
        return shadow

    # --------------------------------------------------------------- by the policies of today

    def _replay(self, record: DecisionRecord, stands_for: int, program: Program) -> None:
        key = request_key(record)
        met = self._seen.get(key)
        if met is None:
            met = self._ask(record, program)
            _remember(self._seen, key, met)
        if met.masked or met.unreadable:
            self.not_replayed += stands_for
        for name in met.in_scope:
            self._shadow(name).in_scope += stands_for
        for name in met.matched:
            self._shadow(name).matched += stands_for
        for name in met.would_change:
            self._shadow(name).would_change += stands_for

    def _ask(self, record: DecisionRecord, program: Program) -> _Met:
        hidden = hidden_in(record)
        if any(one.hides_who for one in hidden):
            return _Met(masked=True)
        try:
            question = program.question(recorded_request(record))
        except RequestUnreadable:
            return _Met(unreadable=True)
        if isinstance(question, Undecidable):
            return _Met(masked=bool(hidden), unreadable=True)
        in_scope = _log_only(question.slice.policies)
        if not in_scope:
            return _Met()
        if any(one.is_read(question.slice.reads) for one in hidden):
            return _Met(in_scope=in_scope, masked=True)
        key = program.projection(question)
        known = self._met.get(key)
        if known is None:
            known = _met(question, in_scope, program)
            _remember(self._met, key, known)
        return known


def _met(question: Question, in_scope: tuple[PolicyName, ...], program: Program) -> _Met:
    explained = program.explain(question.request)
    if not isinstance(explained, Explanation):
        return _Met(in_scope=in_scope, unreadable=True)
    matched = _log_only(policy for layer in explained.layers for policy in layer.matched)
    failed = _log_only(one.policy for layer in explained.layers for one in layer.failed)
    report = explained.verdict.log_only
    would = names_of(report.reasons) if report is not None else ()
    return _Met(in_scope, (*matched, *failed), would)


def _log_only(policies: Iterable[EffectivePolicy]) -> tuple[PolicyName, ...]:
    return tuple(_name(policy) for policy in policies if policy.parsed.log_only)


def _name(policy: EffectivePolicy) -> PolicyName:
    return PolicyName(policy.layer.name, policy.id)


def _remember(known: OrderedDict[bytes, _Met], key: bytes, met: _Met) -> None:
    if len(known) >= REMEMBERED_REQUESTS:
        known.popitem(last=False)
    known[key] = met
