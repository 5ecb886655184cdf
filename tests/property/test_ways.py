"""Generated policies, entities and requests, asked for in five ways: one answer."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placet_engine.compiling import Compiler
from placet_engine.items import PLATFORM
from placet_engine.model import Undecidable, Verdict
from placet_engine.program import Program
from tests.property import strategies
from tests.property.strategies import Case
from tests.unit.engine import make
from tests.ways import WAYS, running_ways, to_sdk

_TENANT = "acme"


@pytest.mark.parametrize("typed", [False, True], ids=["no schema", "schema"])
@settings(max_examples=40)
@given(data=st.data())
def test_one_answer_whichever_way_it_is_asked_for(typed: bool, data: st.DataObject) -> None:
    case = data.draw(strategies.cases(typed=typed))

    asyncio.run(_check(case))


async def _check(case: Case) -> None:
    # An approval that was given is a permit a server issued; none is here.
    asked = [replace(request, approved=False) for request in case.requests]
    requests = [to_sdk(request) for request in asked]
    async with running_ways(_TENANT, case.tenant, case.platform) as ways:
        answers = {name: await ask(ways, requests) for name, ask in WAYS.items()}

    for name, given_answers in answers.items():
        assert given_answers == answers["unary"], name
    program = _compiled(case)
    engine = [_outcome(program.judge(request)) for request in asked]
    told = [a if isinstance(a, str) else a.outcome.name for a in answers["unary"]]
    assert told == engine


def _compiled(case: Case) -> Program:
    """Compile without any wire, so that five times the same mistake is seen."""
    platform, own = make.item_set(PLATFORM, case.platform), make.item_set(_TENANT, case.tenant)
    program = Compiler().compile(platform, own).program
    assert program is not None
    return program


def _outcome(answer: Verdict | Undecidable) -> str:
    return answer.reason if isinstance(answer, Undecidable) else answer.outcome.name
