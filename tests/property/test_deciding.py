"""What the engine decides at random, held against an oracle and against itself."""

from __future__ import annotations

import random

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from placet_engine.changes import ItemSet
from placet_engine.compiling import Compiler
from placet_engine.explaining import Explanation
from placet_engine.items import PLATFORM, Settings
from placet_engine.model import Outcome, Request, Verdict
from placet_engine.program import Program
from tests.property import oracle, strategies
from tests.property.strategies import Case, Written
from tests.unit.engine import make

typed_or_not = pytest.mark.parametrize("typed", [False, True], ids=["no schema", "schema"])


def sets(case: Case) -> tuple[ItemSet, ItemSet]:
    return make.item_set(PLATFORM, case.platform), make.item_set(make.TENANT, case.tenant)


def compiled(platform: ItemSet, tenant: ItemSet) -> Program:
    result = Compiler().compile(platform, tenant)
    assert result.program is not None, result.problems
    return result.program


def verdict(program: Program, request: Request) -> Verdict:
    answer = program.judge(request)
    assert isinstance(answer, Verdict), answer
    return answer


COMPILER = Compiler()
"""Remembers policies from one example to the next."""


@settings(max_examples=500)
@given(written=strategies.broad_policies(), approved=st.booleans(), random_=st.randoms())
def test_precedence_is_the_oracles(
    written: tuple[Written, ...], approved: bool, random_: random.Random
) -> None:
    case = Case(written=written, settings=Settings(jurisdictions=("EU",)), stored=(), requests=())
    platform, tenant = sets(case)
    program = COMPILER.compile(shuffled(platform, random_), shuffled(tenant, random_)).program
    assert program is not None
    request = make.request(approved=approved)
    votes = [
        oracle.Vote(
            policy,
            matched=policy.cedar.endswith(f"resource){strategies.MATCHES};"),
            error=ERROR if policy.cedar.endswith(f"{strategies.FAILS};") else "",
        )
        for policy in case.plain
    ]

    answer = verdict(program, request)

    event(answer.cause.name)
    assert answer == oracle.count(votes, request)


ERROR = "record does not have the attribute `missing`"


@typed_or_not
@given(data=st.data())
def test_verdict_is_the_oracles(typed: bool, data: st.DataObject) -> None:
    case = data.draw(strategies.cases(typed=typed, approvals=True))
    program = compiled(*sets(case))

    for request in case.requests:
        answer = verdict(program, request)
        event(f"{answer.outcome.name} {answer.cause.name}")
        event(f"log-only reported: {answer.log_only is not None}")
        assert answer == oracle.judge(case, request)


@typed_or_not
@given(data=st.data())
def test_verdict_is_at_most_what_cedar_allows(typed: bool, data: st.DataObject) -> None:
    """Placet may ask or deny where Cedar allows; it never allows where Cedar denies."""
    case = data.draw(strategies.cases(typed=typed, approvals=True))
    program = compiled(*sets(case))

    for request in case.requests:
        answer = verdict(program, request)
        allowed, reasons = oracle.cedars_own_answer(case, request)
        if answer.outcome is not Outcome.DENY:
            assert allowed
        if not allowed:
            assert answer.outcome is Outcome.DENY
        assert {reason.policy_id for reason in answer.reasons} <= reasons


@typed_or_not
@settings(max_examples=200)
@given(data=st.data())
def test_policies_find_what_they_go_to(typed: bool, data: st.DataObject) -> None:
    case = data.draw(strategies.journeys(typed=typed))
    (request,) = case.requests
    program = compiled(*sets(case))

    answer = verdict(program, request)

    event(f"{len(answer.reasons)} of {len(case.plain)} matched, {len(answer.errors)} failed")
    assert answer == oracle.judge(case, request)


def shuffled(items: ItemSet, random_: random.Random) -> ItemSet:
    keys = list(items.items)
    random_.shuffle(keys)
    return ItemSet(
        owner=items.owner, revision=items.revision, items={key: items.items[key] for key in keys}
    )


@typed_or_not
@given(data=st.data())
def test_order_changes_no_verdict(typed: bool, data: st.DataObject) -> None:
    """A node that followed deltas has its items in another order than one that started late."""
    case = data.draw(strategies.cases(typed=typed, approvals=True))
    random_ = data.draw(st.randoms(use_true_random=False))
    platform, tenant = sets(case)
    program = compiled(platform, tenant)
    reordered = compiled(shuffled(platform, random_), shuffled(tenant, random_))

    for request in case.requests:
        entities = list(request.entities)
        random_.shuffle(entities)
        other = Request(
            subject=request.subject,
            action=request.action,
            resource=request.resource,
            context=request.context,
            entities=tuple(entities),
            approved=request.approved,
        )
        assert reordered.judge(other) == program.judge(request)
        explained, again = program.explain(request), reordered.explain(other)
        assert isinstance(explained, Explanation)
        assert isinstance(again, Explanation)
        assert again.layers == explained.layers
        assert again.steps == explained.steps


@typed_or_not
@given(data=st.data())
def test_explaining_decides_as_judging_does(typed: bool, data: st.DataObject) -> None:
    case = data.draw(strategies.cases(typed=typed, approvals=True))
    program = compiled(*sets(case))

    for request in case.requests:
        explained = program.explain(request)
        assert isinstance(explained, Explanation)
        assert explained.verdict == program.judge(request)
        named = {policy.id for layer in explained.layers for policy in layer.matched}
        assert {reason.policy_id for reason in explained.verdict.reasons} <= named
