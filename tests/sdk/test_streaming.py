"""Many requests over one call, for threads and for event loops alike."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from typing import Any

import grpc
import pytest

import placet
from placet import Request
from placet.v1 import decision_pb2
from placet.v1 import evaluate_service_pb2 as pb
from tests.sdk.scripted import Context, ScriptedServer, fail, scripted_server

_SOON_S = 10.0
_ALLOW = decision_pb2.Decision(outcome=decision_pb2.OUTCOME_ALLOW)


def _request(id_: str = "1") -> Request:
    return Request(subject=("User", "alice"), action="read", resource=("Invoice", id_))


def _requests(count: int) -> list[tuple[str, Request]]:
    return [(str(number), _request(str(number))) for number in range(count)]


def _allow(message: pb.EvaluateStreamRequest) -> pb.EvaluateStreamResponse:
    return pb.EvaluateStreamResponse(correlation_id=message.correlation_id, decision=_ALLOW)


Ask = Callable[..., Any]


async def _in_threads(server: ScriptedServer, requests: Any, **options: Any) -> list[Any]:
    def ask() -> list[Any]:
        with placet.Client(server.address, tenant="acme", timeout_s=_SOON_S) as client:
            return list(client.evaluate_stream(requests, **options))

    return await asyncio.to_thread(ask)


async def _in_tasks(server: ScriptedServer, requests: Any, **options: Any) -> list[Any]:
    async with placet.aio.Client(server.address, tenant="acme", timeout_s=_SOON_S) as client:
        return [answer async for answer in client.evaluate_stream(requests, **options)]


both = pytest.mark.parametrize("ask", [_in_threads, _in_tasks], ids=["threads", "tasks"])


@pytest.fixture(name="server")
async def server_fixture() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as server:
        yield server


@both
async def test_every_request_is_answered_under_its_id(server: ScriptedServer, ask: Ask) -> None:
    async def backwards(messages: Any, context: Context) -> AsyncIterator[Any]:
        everything = [message async for message in messages]
        assert {"acme"} == {message.request.tenant for message in everything}
        for message in reversed(everything):
            yield _allow(message)

    server.answer_stream = backwards

    answers = await ask(server, _requests(500))

    assert [str(number) for number in reversed(range(500))] == [id_ for id_, _ in answers]
    assert all(decision.allowed for _, decision in answers)


@both
async def test_more_than_fits_any_queue_goes_through(server: ScriptedServer, ask: Ask) -> None:
    async def echo(messages: Any, context: Context) -> AsyncIterator[Any]:
        async for message in messages:
            yield _allow(message)

    server.answer_stream = echo

    assert 5000 == len(await ask(server, iter(_requests(5000))))


@both
async def test_one_request_that_is_wrong_does_not_end_the_stream(
    server: ScriptedServer, ask: Ask
) -> None:
    async def refuse_one(messages: Any, context: Context) -> AsyncIterator[Any]:
        async for message in messages:
            answer = _allow(message)
            if message.correlation_id == "1":
                answer.error.CopyFrom(decision_pb2.DecisionError(code=3, reason="EMPTY_ID"))
            yield answer

    server.answer_stream = refuse_one
    requests = _requests(4)
    no_cedar: Any = 0.5
    requests[2] = (
        "2",
        Request(subject=("User", "a"), action="read", resource=("I", "1"), context={"x": no_cedar}),
    )
    requests[3] = ("3", Request(subject=("User", "a"), action="read"))

    answers = dict(await ask(server, requests))

    assert answers["0"].allowed
    assert ["EMPTY_ID", "REQUEST_MALFORMED", "REQUEST_MALFORMED"] == [
        answers[id_].reason for id_ in "123"
    ]
    assert "context.x" == answers["2"].field


@both
async def test_the_status_that_ends_the_call_is_raised(server: ScriptedServer, ask: Ask) -> None:
    async def fails(messages: Any, context: Context) -> AsyncIterator[Any]:
        async for message in messages:
            yield _allow(message)
            await fail(grpc.StatusCode.PERMISSION_DENIED, "no more")(context)

    server.answer_stream = fails

    with pytest.raises(placet.PermissionDenied, match="no more"):
        await ask(server, _requests(3))


@both
async def test_a_call_that_ends_well_with_requests_unanswered_did_not(
    server: ScriptedServer, ask: Ask
) -> None:
    async def forgets(messages: Any, context: Context) -> AsyncIterator[Any]:
        async for message in messages:
            if message.correlation_id != "1":
                yield _allow(message)

    server.answer_stream = forgets

    with pytest.raises(placet.Unavailable, match="1 requests unanswered"):
        await ask(server, _requests(3))


@both
async def test_an_answer_nobody_asked_for_ends_the_call(server: ScriptedServer, ask: Ask) -> None:
    async def confused(messages: Any, context: Context) -> AsyncIterator[Any]:
        async for message in messages:
            message.correlation_id = "other"
            yield _allow(message)

    server.answer_stream = confused

    with pytest.raises(placet.Internal, match="`other`, which nobody asked"):
        await ask(server, _requests(1))


@both
async def test_an_id_in_use_is_refused(server: ScriptedServer, ask: Ask) -> None:
    async def waits(messages: Any, context: Context) -> AsyncIterator[Any]:
        async for _ in messages:
            pass
        await asyncio.Event().wait()
        yield

    server.answer_stream = waits

    with pytest.raises(placet.InvalidRequest, match="correlation id `same` is in use"):
        await ask(server, [("same", _request()), ("same", _request())])


@both
async def test_a_server_that_hangs_is_given_up(server: ScriptedServer, ask: Ask) -> None:
    async def hangs(messages: Any, context: Context) -> AsyncIterator[Any]:
        async for message in messages:
            yield _allow(message)
            await asyncio.Event().wait()

    server.answer_stream = hangs

    with pytest.raises(placet.DeadlineExceeded, match="unanswered, and no answer came"):
        await ask(server, _requests(3), timeout_s=0.1)


@both
async def test_what_the_callers_iterable_raises_comes_through(
    server: ScriptedServer, ask: Ask
) -> None:
    async def echo(messages: Any, context: Context) -> AsyncIterator[Any]:
        async for message in messages:
            yield _allow(message)

    def breaks() -> Iterator[tuple[str, Request]]:
        yield "0", _request()
        raise KeyError("mine")

    server.answer_stream = echo

    with pytest.raises(KeyError, match="mine"):
        await ask(server, breaks())


@both
async def test_no_requests_no_answers(server: ScriptedServer, ask: Ask) -> None:
    async def echo(messages: Any, context: Context) -> AsyncIterator[Any]:
        async for message in messages:
            yield _allow(message)

    server.answer_stream = echo

    assert [] == await ask(server, [])


async def test_a_caller_who_has_nothing_to_ask_is_not_timed_out(server: ScriptedServer) -> None:
    """Answers are due only for what was asked: a slow source of requests is no slow server."""

    async def echo(messages: Any, context: Context) -> AsyncIterator[Any]:
        async for message in messages:
            yield _allow(message)

    server.answer_stream = echo
    go_on = asyncio.Event()

    async def slowly() -> AsyncIterator[tuple[str, Request]]:
        yield "0", _request()
        await go_on.wait()
        yield "1", _request()

    async with placet.aio.Client(server.address, tenant="acme") as client:
        answers = client.evaluate_stream(slowly(), timeout_s=0.05)
        assert "0" == (await anext(answers))[0]
        asyncio.get_running_loop().call_later(0.3, go_on.set)
        assert "1" == (await anext(answers))[0]
        with pytest.raises(StopAsyncIteration):
            await anext(answers)


async def test_a_reader_who_leaves_ends_the_call_in_threads(server: ScriptedServer) -> None:
    ended = asyncio.Event()
    server.answer_stream = _until_left(ended)
    source: queue.SimpleQueue[tuple[str, Request]] = queue.SimpleQueue()
    for pair in _requests(3):
        source.put(pair)

    def ask() -> None:
        with (
            placet.Client(server.address, tenant="acme") as client,
            closing(client.evaluate_stream(iter(source.get, None))) as answers,
        ):
            next(answers)

    await asyncio.to_thread(ask)
    await asyncio.wait_for(ended.wait(), _SOON_S)
    source.put(("last", _request()))
    for thread in threading.enumerate():
        if thread.name == "placet-answers":
            await asyncio.to_thread(thread.join, _SOON_S)
            assert not thread.is_alive()


async def test_a_reader_who_leaves_ends_the_call_in_tasks(server: ScriptedServer) -> None:
    ended = asyncio.Event()
    server.answer_stream = _until_left(ended)

    async def for_ever() -> AsyncIterator[tuple[str, Request]]:
        for pair in _requests(3):
            yield pair
        await asyncio.Event().wait()

    async with placet.aio.Client(server.address, tenant="acme") as client:
        answers = client.evaluate_stream(for_ever())
        await anext(answers)
        await answers.aclose()

        await asyncio.wait_for(ended.wait(), _SOON_S)


def _until_left(ended: asyncio.Event) -> Callable[..., AsyncIterator[Any]]:
    async def echo(messages: Any, context: Context) -> AsyncIterator[Any]:
        try:
            async for message in messages:
                yield _allow(message)
        finally:
            ended.set()

    return echo
