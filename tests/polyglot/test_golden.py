"""The golden cases and the AuthZEN vectors, asked for in each language: one answer.

What is compared is the answer of the driver's client, to the last field, with what the Python SDK
says, but for what differs from call to call.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf import json_format

import placet
from placet import _convert as convert
from placet._requests import whole_request
from placet.v1 import evaluate_service_pb2
from placet_server.app import Node
from placet_server.testing import running_server
from tests.golden import loader
from tests.golden.authzen import todo
from tests.polyglot.drivers import Driver, driving
from tests.polyglot.languages import Built
from tests.ways import Answer, bare, follow_ways, to_sdk

pytestmark = [pytest.mark.polyglot, pytest.mark.asyncio(loop_scope="module")]

# Items that hold for every tenant would get in the way of other files.
_FILES = [file for file in loader.files() if not file.platform]
_PLATFORM_FILES = [file for file in loader.files() if file.platform]


class Scene:
    """A node that holds every file without a platform, and a driver that asks it."""

    def __init__(self, node: Node, driver: Driver) -> None:
        self.node = node
        self.driver = driver


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="scene")
async def scene_fixture(built: Built) -> AsyncIterator[Scene]:
    async with running_server() as node, golden_driver(built, node) as driver:
        yield Scene(node, driver)
        assert [] == await driver.finish()


@asynccontextmanager
async def golden_driver(built: Built, node: Node) -> AsyncIterator[Driver]:
    arguments = ("golden", "--target", node.address)
    async with driving(built.command, *arguments, name=built.name) as driver:
        yield driver


@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.name)
async def test_golden_files_in_each_language(scene: Scene, file: loader.GoldenFile) -> None:
    async with follow_ways(scene.node, file.name, file.tenant) as ways:
        requests = [case.asked for case in file.cases]
        expected = await ways.unary(requests)

        assert expected == await answers(scene.driver, file.name, requests)


@pytest.mark.parametrize("file", _PLATFORM_FILES, ids=lambda file: file.name)
async def test_golden_files_with_a_platform_in_each_language(
    built: Built, file: loader.GoldenFile
) -> None:
    requests = [case.asked for case in file.cases]
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(running_server())
        ways = await stack.enter_async_context(
            follow_ways(node, file.name, file.tenant, file.platform)
        )
        driver = await stack.enter_async_context(golden_driver(built, node))
        expected = await ways.unary(requests)

        assert expected == await answers(driver, file.name, requests)


async def test_the_authzen_vectors_in_each_language(scene: Scene) -> None:
    questions = [question for case in todo.cases() for question in case.questions]
    requests = [to_sdk(question.request) for question in questions]
    async with follow_ways(scene.node, "todo", todo.bodies()) as ways:
        expected = await ways.unary(requests)

        assert expected == await answers(scene.driver, "todo", requests)


BAD: dict[str, tuple[dict[str, Any], str, str, list[str]]] = {
    "of nobody": (
        {"tenant": "nobody"},
        "NOT_FOUND",
        "TENANT_UNKNOWN",
        [],
    ),
    "without a subject's id": (
        {"subject": {"type": "User"}},
        "INVALID_ARGUMENT",
        "EMPTY_ID",
        ["subject.id"],
    ),
    "with two wrong types": (
        {"subject": {"type": "a b", "id": "x"}, "resource": {"type": "1", "id": "y"}},
        "INVALID_ARGUMENT",
        "REQUEST_MALFORMED",
        ["subject.type", "resource.type"],
    ),
}


@pytest.mark.parametrize("case", BAD)
async def test_errors_are_told_apart_in_each_language(scene: Scene, case: str) -> None:
    changes, code, reason, fields = BAD[case]
    request = {
        "tenant": "rbac",
        "subject": {"type": "User", "id": "alice"},
        "action": {"name": "view"},
        "resource": {"type": "Document", "id": "one"},
        **changes,
    }
    file = next(file for file in _FILES if file.name == "rbac")
    async with follow_ways(scene.node, file.name, file.tenant):
        told = await scene.driver.ask(case, request)

    error = told["error"]
    assert (code, reason, fields) == (error["code"], error["reason"], error["fields"])
    assert error["message"]


async def answers(driver: Driver, tenant: str, requests: Sequence[placet.Request]) -> list[Answer]:
    """Ask a driver one by one."""
    found = []
    for number, request in enumerate(requests):
        message = whole_request(tenant, request)
        told = await driver.ask(str(number), json_format.MessageToDict(message))
        found.append(_read(told))
    return found


def _read(told: dict[str, Any]) -> Answer:
    if "error" in told:
        reason: str = told["error"]["reason"]
        return reason
    response = evaluate_service_pb2.EvaluateResponse()
    json_format.ParseDict(told["response"], response)
    return bare(convert.decision(response.decision))
