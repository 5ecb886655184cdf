from __future__ import annotations

import pytest

from placet_engine.model import Cause, Outcome, Verdict
from placet_engine.program import Program
from tests.golden.authzen import todo
from tests.unit.engine import make


@pytest.fixture(scope="module")
def program() -> Program:
    result = make.compilation(*todo.bodies())
    assert result.problems == ()
    assert result.program is not None
    return result.program


@pytest.mark.parametrize("case", todo.cases(), ids=lambda case: case.name)
def test_todo_case_holds(program: Program, case: todo.TodoCase) -> None:
    verdicts = [program.judge(question.request) for question in case.questions]

    assert [allows(verdict) for verdict in verdicts] == [
        question.expected for question in case.questions
    ]


def allows(verdict: object) -> bool:
    """A denial has to be for want of a permit: the scenario forbids nothing."""
    assert isinstance(verdict, Verdict)
    assert verdict.errors == ()
    assert verdict.cause in (Cause.PERMITTED, Cause.NO_PERMIT)
    return verdict.outcome is Outcome.ALLOW


def test_all_cases_of_the_scenario_are_there() -> None:
    cases = todo.cases()

    assert len(cases) == 43
    assert len(todo.questions()) == 46
    assert {question.expected for question in todo.questions()} == {True, False}


def test_owner_that_is_not_told_is_nobody(program: Program) -> None:
    """Summer, an editor, and a todo of which the caller says nothing."""
    (summer,) = {
        question.subject
        for question in todo.questions()
        if question.properties.get("ownerID") == "summer@the-smiths.com" and question.expected
    }
    request = make.request(
        f"user::{summer.id}", action="Action::can_update_todo", resource="todo::t"
    )

    assert not allows(program.judge(request))
