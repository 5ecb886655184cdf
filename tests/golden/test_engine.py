"""The golden cases, put to the engine."""

from __future__ import annotations

import pytest

from placet import Cause, Outcome
from placet_engine.changes import ItemSet
from placet_engine.compiling import Compiler
from placet_engine.explaining import Explanation
from placet_engine.items import PLATFORM
from placet_engine.model import Undecidable
from placet_engine.program import Program
from tests.golden import loader
from tests.unit.engine import make


@pytest.fixture(scope="module")
def programs() -> dict[str, Program]:
    return {file.name: compiled(file) for file in loader.files()}


def compiled(file: loader.GoldenFile) -> Program:
    """Compile a file; warnings other than of idle permits are mistakes in it."""
    platform, tenant = sets(file)
    result = Compiler().compile(platform, tenant)
    assert result.program is not None, result.problems
    assert {problem.reason for problem in result.problems} <= {"PERMIT_NEVER_ALLOWS"}
    return result.program


def sets(file: loader.GoldenFile) -> tuple[ItemSet, ItemSet]:
    return make.item_set(PLATFORM, file.platform), make.item_set(file.name, file.tenant)


@pytest.mark.parametrize("case", loader.cases(), ids=lambda case: case.name)
def test_golden_case(programs: dict[str, Program], case: loader.GoldenCase) -> None:
    answer = programs[case.file.name].judge(case.request)

    assert case.differences(answer) == []


@pytest.mark.parametrize("case", loader.cases(), ids=lambda case: case.name)
def test_explanation_of_a_golden_case_decides_the_same(
    programs: dict[str, Program], case: loader.GoldenCase
) -> None:
    program = programs[case.file.name]
    judged, explained = program.judge(case.request), program.explain(case.request)

    if isinstance(judged, Undecidable):
        # Of a circle of parents, Cedar names now this one, now that one.
        assert isinstance(explained, Undecidable)
        assert (explained.reason, explained.field) == (judged.reason, judged.field)
    else:
        assert isinstance(explained, Explanation)
        assert explained.verdict == judged


@pytest.mark.parametrize("file", loader.files(), ids=lambda file: file.name)
def test_nothing_is_found_about_a_golden_file_but_permits_that_are_idle_on_purpose(
    file: loader.GoldenFile,
) -> None:
    platform, tenant = sets(file)

    problems = [
        problem
        for own in (platform, tenant)
        for problem in Compiler().check(platform, own).problems
    ]

    assert {problem.reason for problem in problems} <= {"PERMIT_NEVER_ALLOWS"}, problems


@pytest.mark.parametrize("file", loader.files(), ids=lambda file: file.name)
def test_every_policy_of_a_golden_file_is_named_by_a_case(file: loader.GoldenFile) -> None:
    """A policy whose part in no case is looked at might as well not be there."""
    platform, tenant = sets(file)
    program = compiled(file)

    idle = {
        problem.subject
        for own in (platform, tenant)
        for problem in Compiler().compile(platform, own).problems
    }
    assert {policy.id for policy in program.policies} - named(file) - idle == set()


def named(file: loader.GoldenFile) -> set[str]:
    """Return the policies that the cases of a file name."""
    return {
        name
        for case in file.cases
        for names in (
            case.expectation.reasons,
            case.expectation.errors,
            case.expectation.log_only and case.expectation.log_only.reasons,
        )
        for name in names or ()
    }


def test_golden_cases_cover_every_outcome_and_every_cause_without_a_permit() -> None:
    expectations = [case.expectation for case in loader.cases()]

    assert {expectation.outcome for expectation in expectations} == {*Outcome, None}
    # An approval that was given is a permit the server issued; it cannot be written down.
    assert {expectation.cause for expectation in expectations} >= set(Cause) - {
        Cause.APPROVED,
        Cause.UNKNOWN,
    }
    assert {expectation.undecidable for expectation in expectations} == {
        None,
        "EMPTY_ID",
        "ENTITIES_REFUSED",
        "REQUEST_REFUSED",
    }
