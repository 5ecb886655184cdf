"""Which exception each status becomes, over a real connection, for both clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2

import placet
from tests.sdk.scripted import Context, ScriptedServer, fail, info, scripted_server, status

_CODE = grpc.StatusCode
_ASK = (("User", "alice"), "read", ("Invoice", "1"))


@pytest.fixture(name="server")
async def server_fixture() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as server:
        yield server


async def _error(
    server: ScriptedServer, code: grpc.StatusCode, *details: Message, message: str = "why"
) -> placet.PlacetError:
    """Let both clients meet a status; return what they raise, which has to be the same."""
    abort = fail(code, message, *details)
    server.evaluate = lambda request, context: abort(context)
    async with placet.aio.Client(server.address, tenant="acme") as client:
        with pytest.raises(placet.PlacetError) as caught:
            await client.evaluate(*_ASK)
    with (
        placet.Client(server.address, tenant="acme") as sync_client,
        pytest.raises(placet.PlacetError) as sync_caught,
    ):
        await asyncio.to_thread(sync_client.evaluate, *_ASK)
    assert type(caught.value) is type(sync_caught.value)
    assert vars(caught.value) == vars(sync_caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (_CODE.INVALID_ARGUMENT, placet.InvalidRequest),
        (_CODE.UNAUTHENTICATED, placet.Unauthenticated),
        (_CODE.PERMISSION_DENIED, placet.PermissionDenied),
        (_CODE.NOT_FOUND, placet.NotFound),
        (_CODE.ABORTED, placet.Conflict),
        (_CODE.ALREADY_EXISTS, placet.Conflict),
        (_CODE.OUT_OF_RANGE, placet.OutOfRange),
        (_CODE.FAILED_PRECONDITION, placet.FailedPrecondition),
        (_CODE.UNAVAILABLE, placet.Unavailable),
        (_CODE.CANCELLED, placet.Unavailable),
        (_CODE.DEADLINE_EXCEEDED, placet.DeadlineExceeded),
        (_CODE.RESOURCE_EXHAUSTED, placet.ResourceExhausted),
        (_CODE.UNIMPLEMENTED, placet.Unsupported),
        (_CODE.INTERNAL, placet.Internal),
        (_CODE.UNKNOWN, placet.Internal),
        (_CODE.DATA_LOSS, placet.Internal),
    ],
    ids=lambda value: getattr(value, "name", None),
)
async def test_each_code_has_its_exception(
    server: ScriptedServer, code: grpc.StatusCode, expected: type[placet.PlacetError]
) -> None:
    error = await _error(server, code, info("SOME_REASON", place="here"))

    assert expected is type(error)
    assert ("why", "SOME_REASON", {"place": "here"}) == (
        error.message,
        error.reason,
        dict(error.metadata),
    )
    assert not isinstance(error, placet.NotAllowed)


def test_every_code_but_ok_is_in_the_table() -> None:
    from placet._status import _BY_CODE

    assert set(grpc.StatusCode) - {_CODE.OK} == set(_BY_CODE)


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (_CODE.FAILED_PRECONDITION, "NODE_STALE", placet.StaleNode),
        (_CODE.FAILED_PRECONDITION, "WRONG_REGION", placet.WrongRegion),
        (_CODE.OUT_OF_RANGE, "CURSOR_COMPACTED", placet.CursorCompacted),
        (_CODE.OUT_OF_RANGE, "REVISION_COMPACTED", placet.CursorCompacted),
    ],
)
async def test_reasons_tell_apart_what_a_code_does_not(
    server: ScriptedServer, code: grpc.StatusCode, reason: str, expected: type[Exception]
) -> None:
    assert expected is type(await _error(server, code, info(reason)))


async def test_only_what_left_a_good_request_undecided_is_a_could_not_decide(
    server: ScriptedServer,
) -> None:
    undecided = {
        code
        for code in set(_CODE) - {_CODE.OK}
        if isinstance(await _error(server, code), placet.CouldNotDecide)
    }

    assert {
        _CODE.UNAVAILABLE,
        _CODE.CANCELLED,
        _CODE.DEADLINE_EXCEEDED,
        _CODE.RESOURCE_EXHAUSTED,
        _CODE.UNIMPLEMENTED,
        _CODE.INTERNAL,
        _CODE.UNKNOWN,
        _CODE.DATA_LOSS,
    } == undecided
    assert issubclass(placet.StaleNode, placet.CouldNotDecide)


async def test_a_bad_request_names_its_fields(server: ScriptedServer) -> None:
    bad_request = error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field="subject.id", description="is empty")
        ]
    )

    error = await _error(server, _CODE.INVALID_ARGUMENT, bad_request)

    assert isinstance(error, placet.InvalidRequest)
    assert (placet.Violation("subject.id", "is empty"),) == error.violations


async def test_a_conflict_tells_both_revisions(server: ScriptedServer) -> None:
    error = await _error(server, _CODE.ABORTED, info("REVISION_CONFLICT", expected="3", actual="5"))

    assert isinstance(error, placet.Conflict)
    assert (3, 5) == (error.expected, error.actual)


async def test_shed_load_tells_when_to_come_back(server: ScriptedServer) -> None:
    retry = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=2))

    error = await _error(server, _CODE.RESOURCE_EXHAUSTED, retry)

    assert isinstance(error, placet.ResourceExhausted)
    assert timedelta(seconds=2) == error.retry_after


async def test_a_wrong_region_tells_where_to_go(server: ScriptedServer) -> None:
    failure = error_details_pb2.PreconditionFailure(
        violations=[
            error_details_pb2.PreconditionFailure.Violation(
                type="WRONG_REGION", subject="acme", description="eu-west"
            )
        ]
    )

    error = await _error(server, _CODE.FAILED_PRECONDITION, info("WRONG_REGION"), failure)

    assert isinstance(error, placet.WrongRegion)
    assert (placet.Precondition("WRONG_REGION", "acme", "eu-west"),) == error.preconditions


async def test_reasons_of_others_do_not_count(server: ScriptedServer) -> None:
    """A proxy in between has words of its own, which may be ours by accident."""
    error = await _error(
        server, _CODE.FAILED_PRECONDITION, info("NODE_STALE", domain="proxy.example")
    )

    assert placet.FailedPrecondition is type(error)
    assert "" == error.reason


async def test_details_that_contradict_their_status_are_not_believed(
    server: ScriptedServer,
) -> None:
    rich = status(_CODE.INVALID_ARGUMENT, "one thing", info("A_REASON"))

    async def contradict(context: Context) -> None:
        context.set_trailing_metadata(rich.trailing_metadata)
        await context.abort(_CODE.NOT_FOUND, "another")

    server.evaluate = lambda request, context: contradict(context)
    async with placet.aio.Client(server.address, tenant="acme") as client:
        with pytest.raises(placet.NotFound, match="another") as caught:
            await client.evaluate(*_ASK)

    assert "" == caught.value.reason


async def test_nobody_there_is_unavailable() -> None:
    async with scripted_server() as server:
        address = server.address

    async with placet.aio.Client(address, tenant="acme") as client:
        with pytest.raises(placet.Unavailable):
            await client.evaluate(*_ASK)


async def test_a_server_that_hangs_runs_into_the_deadline(server: ScriptedServer) -> None:
    server.evaluate = lambda request, context: asyncio.Event().wait()

    async with placet.aio.Client(server.address, tenant="acme", timeout_s=0.1) as client:
        with pytest.raises(placet.DeadlineExceeded):
            await client.evaluate(*_ASK)


async def test_a_deadline_has_to_be_one(server: ScriptedServer) -> None:
    async with placet.aio.Client(server.address, tenant="acme") as client:
        with pytest.raises(placet.InvalidRequest, match="timeout_s"):
            await client.evaluate(*_ASK, timeout_s=0)


async def test_calls_are_repeated_when_nobody_answered(server: ScriptedServer) -> None:
    def refuse_twice(request: Any, context: Any) -> Any:
        if server.calls < 3:
            return fail(_CODE.UNAVAILABLE, "starting")(context)
        return type(server)().evaluate(request, context)

    server.evaluate = refuse_twice

    async with placet.aio.Client(server.address, tenant="acme") as client:
        decision = await client.evaluate(*_ASK)

    assert decision.allowed
    assert 3 == server.calls


async def test_calls_are_not_repeated_when_somebody_answered(server: ScriptedServer) -> None:
    server.evaluate = lambda request, context: fail(_CODE.RESOURCE_EXHAUSTED)(context)

    async with placet.aio.Client(server.address, tenant="acme") as client:
        with pytest.raises(placet.ResourceExhausted):
            await client.evaluate(*_ASK)

    assert 1 == server.calls
