"""Test cases put to both policy sets: which held and would fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from placet import Decision, DecisionError
from placet.cli.cases import Case, CaseFile, Difference, differences
from placet.cli.judges import answer_of as decision_of
from placet.cli.judges import request_to_engine
from placet.cli.replay.answers import Change, answer_of, change
from placet.cli.replay.versions import Candidate, Compiling, Version, Versions
from placet_engine.program import Program


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseImpact:
    """One case, by the policies of today and with the candidate."""

    case: Case
    after: Decision | DecisionError
    """With the candidate."""
    failed: tuple[Difference, ...]
    """What is not as it must be today."""
    fails: tuple[Difference, ...]
    """What would not be with the candidate."""
    change: Change | None

    @property
    def is_broken(self) -> bool:
        """Whether it holds today and would not."""
        return bool(self.fails) and not self.failed

    @property
    def is_mended(self) -> bool:
        """Whether it would hold and does not today."""
        return bool(self.failed) and not self.fails


@dataclass(slots=True)
class CasesImpact:
    """All cases that were tried."""

    tried: list[CaseImpact] = field(default_factory=list)
    about_others: int = 0
    """Cases of files that bring their own policies: a candidate changes nothing for them."""

    @property
    def broken(self) -> list[CaseImpact]:
        """Those that hold today and would fail."""
        return [one for one in self.tried if one.is_broken]

    @property
    def mended(self) -> list[CaseImpact]:
        """Those that fail today and would hold."""
        return [one for one in self.tried if one.is_mended]

    @property
    def failing(self) -> list[CaseImpact]:
        """Those that fail today and still would."""
        return [one for one in self.tried if one.failed and one.fails]

    @property
    def held(self) -> int:
        """How many hold both ways."""
        return sum(not one.failed and not one.fails for one in self.tried)


def try_cases(
    case_files: Sequence[CaseFile], compiling: Compiling, stable: Version, candidate: Version
) -> CasesImpact:
    """Decide all cases both ways.

    Raises:
        FilesRefused: what a file brings along does not compile.
    """
    impact = CasesImpact()
    plain = Versions(stable, candidate)
    for case_file in case_files:
        if case_file.stands_alone:
            impact.about_others += len(case_file.cases)
            continue
        versions = plain
        if not case_file.documents.is_empty:
            brought = Candidate(documents=case_file.documents, replaces_all=False)
            on_top = (
                compiling.version(version.sets.applying(brought), brought.documents, version)
                for version in (stable, candidate)
            )
            versions = Versions(*on_top)
        impact.tried += (_tried(case, versions) for case in case_file.cases)
    return impact


def _tried(case: Case, versions: Versions) -> CaseImpact:
    before, after = (_decided(case, program) for program in (versions.stable, versions.candidate))
    return CaseImpact(
        case=case,
        after=after,
        failed=differences(case.expect, before),
        fails=differences(case.expect, after),
        change=change(answer_of(before), answer_of(after), versions.states),
    )


def _decided(case: Case, program: Program) -> Decision | DecisionError:
    read = request_to_engine(case.request)
    return read if isinstance(read, DecisionError) else decision_of(program.judge(read))
