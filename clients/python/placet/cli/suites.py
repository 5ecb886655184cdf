"""Runs files of test cases and sums up what came out. Knows no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from placet import Decision, DecisionError, Policy, Position, TemplateLink
from placet.cli.cases import Case, CaseFile, Difference, differences
from placet.cli.contents import Documents
from placet.cli.judges import Judge


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """One case and what came out."""

    case: Case
    actual: Decision | DecisionError
    differences: tuple[Difference, ...]

    @property
    def passed(self) -> bool:
        """Whether it came out as it must."""
        return not self.differences


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """The cases of one file and what came out."""

    file: str
    results: tuple[CaseResult, ...]
    duration_s: float

    @property
    def failures(self) -> tuple[CaseResult, ...]:
        """The cases that came out otherwise than they must."""
        return tuple(result for result in self.results if not result.passed)


@dataclass(frozen=True, slots=True)
class Uncovered:
    """A policy that matched no request of any case."""

    policy_id: str
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came out of all files."""

    suites: tuple[Suite, ...]
    uncovered: tuple[Uncovered, ...]
    """In order of place."""

    @property
    def passed(self) -> int:
        """How many cases came out as they must."""
        return self.total - len(self.failures)

    @property
    def failures(self) -> tuple[CaseResult, ...]:
        """The cases of all files that did not."""
        return tuple(failure for suite in self.suites for failure in suite.failures)

    @property
    def total(self) -> int:
        """How many cases there are."""
        return sum(len(suite.results) for suite in self.suites)

    @property
    def duration_s(self) -> float:
        """How long all of it took."""
        return sum(suite.duration_s for suite in self.suites)


def run_suites(
    case_files: Sequence[CaseFile],
    documents: Documents,
    judge_of: Callable[[Documents], Judge],
    *,
    on_decided: Callable[[int], None] = lambda count: None,
) -> Report:
    """Decide all cases, file by file.

    Raises:
        FilesRefused: documents do not compile.
        PlacetError: a server that was to decide does not.
    """
    shared: Judge | None = None
    tried: list[tuple[Documents, Judge]] = []
    suites = []
    for case_file in case_files:
        started = time.perf_counter()
        extra = case_file.documents
        if extra.is_empty and shared is not None:
            judge = shared
        else:
            about = extra if case_file.stands_alone else documents.under(extra)
            judge = judge_of(about)
            tried.append((about, judge))
            if extra.is_empty:
                shared = judge
        actual = judge.decide([case.request for case in case_file.cases], on_decided=on_decided)
        results = tuple(
            CaseResult(case=case, actual=found, differences=differences(case.expect, found))
            for case, found in zip(case_file.cases, actual, strict=True)
        )
        duration_s = time.perf_counter() - started
        suites.append(Suite(file=case_file.file, results=results, duration_s=duration_s))
    return Report(suites=tuple(suites), uncovered=tuple(sorted(_uncovered(tried), key=_order)))


def _uncovered(tried: Iterable[tuple[Documents, Judge]]) -> list[Uncovered]:
    """List the policies that matched nowhere. One that several files are about counts once."""
    matched: dict[Uncovered, bool] = {}
    for documents, judge in tried:
        unmatched = judge.uncovered
        for policy in _policies(documents, unmatched):
            matched[policy] = matched.get(policy, False) or policy.policy_id not in unmatched
    return [policy for policy, is_matched in matched.items() if not is_matched]


def _policies(documents: Documents, unmatched: frozenset[str]) -> Iterable[Uncovered]:
    if documents.is_empty:
        # The cases are about what a server has.
        return [Uncovered(id_, Position()) for id_ in unmatched]
    bodies: tuple[Policy | TemplateLink, ...] = (*documents.policies, *documents.links)
    return [Uncovered(body.id, documents.places[body.key]) for body in bodies]


def _order(policy: Uncovered) -> tuple[str, int, str]:
    return policy.position.file, policy.position.line, policy.policy_id
