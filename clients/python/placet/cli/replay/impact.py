"""Keeps count of what a candidate changes. Bounded by the number of policies, not of decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from placet.cli.replay.answers import Answer, Change
from placet.cli.replay.names import PolicyName
from placet_server.telemetry.decision_log.records import DecisionRecord


@dataclass(slots=True)
class Count:
    """How many different requests, and how many decisions they stand for."""

    requests: int = 0
    decisions: int = 0

    def add(self, decisions: int, *, is_new: bool) -> None:
        """Count a recorded decision, which may stand for several."""
        self.requests += is_new
        self.decisions += decisions


@dataclass(slots=True)
class Example:
    """One request, and what both versions say to it."""

    record: DecisionRecord
    """The first that asked for it."""
    before: Answer
    after: Answer
    decisions: int = 0


class Row:
    """What changes in one way."""

    def __init__(self, examples: int) -> None:
        self.count = Count()
        self._wanted = examples
        self._kept: list[Example] = []

    @property
    def wants_examples(self) -> bool:
        """Whether there are not enough to choose from."""
        return len(self._kept) < self._wanted * _CHOICE

    def keep(self, example: Example) -> None:
        """Keep one more to choose from."""
        self._kept.append(example)

    def heaviest(self) -> list[Example]:
        """Return those of the kept ones that stand for the most decisions."""
        return sorted(self._kept, key=lambda one: -one.decisions)[: self._wanted]


_CHOICE = 20


Way: TypeAlias = tuple[str, str, tuple[str, ...]]
"""From which outcome to which, and which parts differ."""


@dataclass(slots=True)
class Group:
    """What changes because of one policy, or because of none."""

    policy: PolicyName | None
    count: Count = field(default_factory=Count)
    rows: dict[Way, Row] = field(default_factory=dict)


_SAMPLE = 100


@dataclass(slots=True)
class Impact:
    """What a candidate changes of the decisions that were recorded."""

    examples: int = 3
    """How many to show, of each policy and way."""
    count: Count = field(default_factory=Count)
    """All that was asked again."""
    requests_are_exact: bool = True
    """False when there were too many different requests to tell each from all others."""
    changed: Count = field(default_factory=Count)
    allows_more: Count = field(default_factory=Count)
    denies_more: Count = field(default_factory=Count)
    fails_more: Count = field(default_factory=Count)
    ways: dict[Way, Count] = field(default_factory=dict)
    groups: dict[PolicyName | None, Group] = field(default_factory=dict)
    sample: list[Example] = field(default_factory=list)
    """The first requests of all, whether their answers change or not."""
    log_only: dict[tuple[PolicyName, str, str], Count] = field(default_factory=dict)
    """What the candidate's log-only policies would change: policy, from, to."""
    drift: dict[tuple[str, str], int] = field(default_factory=dict)
    """Decisions to which today's answer is not the recorded one: from, to."""
    masked: dict[str, int] = field(default_factory=dict)
    """By rule, decisions it keeps from being asked again. Several rules may hide one."""
    masked_count: Count = field(default_factory=Count)
    unreadable: int = 0
    """Records whose request cannot be sent."""

    def offer_sample(self, record: DecisionRecord, before: Answer, after: Answer) -> None:
        """Keep a request that was not seen before, if there are not enough."""
        if len(self.sample) < _SAMPLE:
            self.sample.append(Example(record, before, after))

    def offer_example(
        self, change: Change, record: DecisionRecord, before: Answer, after: Answer
    ) -> Example | None:
        """Keep a request that was not seen before as an example; None if there are enough."""
        way = (change.before, change.after, change.what)
        groups = self._groups(change)
        rows = [group.rows.setdefault(way, Row(self.examples)) for group in groups]
        lacking = [row for row in rows if row.wants_examples]
        if not lacking:
            return None
        example = Example(record, before, after)
        for row in lacking:
            row.keep(example)
        return example

    def add_change(self, change: Change, decisions: int, *, is_new: bool) -> None:
        """Count a decision whose answer changes."""
        way = (change.before, change.after, change.what)
        counts = [self.changed, self.ways.setdefault(way, Count())]
        for applies, count in (
            (change.allows_more, self.allows_more),
            (change.denies_more, self.denies_more),
            (change.fails_more, self.fails_more),
        ):
            if applies:
                counts.append(count)
        for group in self._groups(change):
            counts += (group.count, group.rows[way].count)
        for count in counts:
            count.add(decisions, is_new=is_new)

    def add_drift(self, recorded: Answer, stable: Answer, decisions: int) -> None:
        """Count a decision to which today's answer is not the recorded one."""
        key = (recorded.outcome, stable.outcome)
        self.drift[key] = self.drift.get(key, 0) + decisions

    def add_masked(self, rules: tuple[str, ...], decisions: int, *, is_new: bool) -> None:
        """Count a decision that cannot be asked again."""
        self.masked_count.add(decisions, is_new=is_new)
        for rule in rules:
            self.masked[rule] = self.masked.get(rule, 0) + decisions

    def add_log_only(
        self,
        policies: tuple[PolicyName, ...],
        way: tuple[str, str],
        decisions: int,
        *,
        is_new: bool,
    ) -> None:
        """Count a decision that log-only policies of the candidate would change."""
        for policy in policies:
            self.log_only.setdefault((policy, *way), Count()).add(decisions, is_new=is_new)

    def _groups(self, change: Change) -> list[Group]:
        names: tuple[PolicyName | None, ...] = change.policies or (None,)
        return [self.groups.setdefault(name, Group(name)) for name in names]


def by_weight(groups: Mapping[PolicyName | None, Group]) -> list[Group]:
    """Order groups by how many decisions they change."""
    return sorted(
        groups.values(), key=lambda group: (-group.count.decisions, group.policy or ("", ""))
    )
