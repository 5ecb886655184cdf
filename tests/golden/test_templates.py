"""The cases of the templates that ship, put to the engine and asked for in five ways."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from placet import Outcome, templates
from placet.cli.applications import with_cases
from placet_server.app import Node
from placet_server.testing import running_server
from tests.golden import loader, test_engine, test_ways
from tests.ways import follow_ways


def _golden(name: str) -> loader.GoldenFile:
    (cases,) = with_cases(templates.load(name)).cases
    return loader.golden(cases, name=name)


FILES = [_golden(name) for name in templates.names()]


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="node")
async def node_fixture() -> AsyncIterator[Node]:
    async with running_server() as node:
        yield node


@pytest.mark.parametrize(
    "case", [case for file in FILES for case in file.cases], ids=lambda case: case.name
)
def test_case_of_a_template(case: loader.GoldenCase) -> None:
    answer = test_engine.compiled(case.file).judge(case.request)

    assert case.differences(answer) == []


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
async def test_templates_five_ways(node: Node, file: loader.GoldenFile) -> None:
    async with follow_ways(node, file.name, file.tenant) as ways:
        await test_ways.check(ways, file)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_cases_of_a_template_show_what_it_allows_and_what_it_does_not(
    file: loader.GoldenFile,
) -> None:
    outcomes = {case.expectation.outcome for case in file.cases}

    assert Outcome.DENY in outcomes
    assert outcomes & {Outcome.ALLOW, Outcome.REQUIRES_APPROVAL}
    assert len(file.cases) >= 8


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_policy_of_a_template_is_named_by_a_case(file: loader.GoldenFile) -> None:
    own = {policy.id for policy in test_engine.compiled(file).policies if file.name in policy.id}

    assert own
    assert own - test_engine.named(file) == set()
