"""The golden cases and the AuthZEN vectors, each asked for in five ways: one answer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

import placet
from placet_server.app import Node
from placet_server.testing import running_server
from tests.golden import loader
from tests.golden.authzen import todo
from tests.ways import WAYS, Answer, Ways, follow_ways, to_sdk

# Items that hold for every tenant would get in the way of other files.
_FILES = [file for file in loader.files() if not file.platform]
_PLATFORM_FILES = [file for file in loader.files() if file.platform]


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="node")
async def node_fixture() -> AsyncIterator[Node]:
    async with running_server() as node:
        yield node


def _told(answer: Answer) -> str:
    return answer if isinstance(answer, str) else answer.outcome.name


def _expected(case: loader.GoldenCase) -> str | None:
    expectation = case.expectation
    if expectation.undecidable:
        return expectation.undecidable
    return expectation.outcome.name if expectation.outcome else None


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.name)
async def test_golden_files_five_ways(node: Node, file: loader.GoldenFile) -> None:
    async with follow_ways(node, file.name, file.tenant) as ways:
        await check(ways, file)


@pytest.mark.parametrize("file", _PLATFORM_FILES, ids=lambda file: file.name)
async def test_golden_files_with_a_platform_five_ways(file: loader.GoldenFile) -> None:
    async with (
        running_server() as node,
        follow_ways(node, file.name, file.tenant, file.platform) as ways,
    ):
        await check(ways, file)


async def check(ways: Ways, file: loader.GoldenFile) -> None:
    """Check each way against the file, and all ways against each other, to the last field."""
    requests = [case.asked for case in file.cases]
    answers = {name: await ask(ways, requests) for name, ask in WAYS.items()}

    for name, given in answers.items():
        assert given == answers["unary"], name
        for case, answer in zip(file.cases, given, strict=True):
            assert _expected(case) in (None, _told(answer)), (name, case.name)


@pytest.mark.parametrize("way", WAYS)
async def test_the_authzen_vectors_hold_in_each_way(way: str) -> None:
    cases = todo.cases()
    async with (
        running_server() as node,
        follow_ways(node, "todo", todo.bodies()) as ways,
    ):
        held = 0
        for case in cases:
            requests = [to_sdk(question.request) for question in case.questions]
            answers = await WAYS[way](ways, requests)
            expected = [question.expected for question in case.questions]
            held += expected == [
                isinstance(answer, placet.Decision) and answer.allowed for answer in answers
            ]

    assert held == len(cases) == 43
