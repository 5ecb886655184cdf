"""Everything is on the one public address, whoever answers it behind that."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

import placet
from placet.v1 import decision_pb2
from placet.v1.evaluate_service_pb2 import EvaluateStreamRequest
from placet_server.store.sqlite import SqliteStore
from tests.cli.shell import BIN, PATIENCE_S
from tests.conformance.stores import commit, write
from tests.front.served import served
from tests.wire.details import info
from tests.wire.service import TIMEOUT_S, connected, policy, request

_SERVICES = ("EvaluateService", "PolicyService", "SubscribeService")
_ALLOW = "permit(principal, action, resource);"
_REQUEST = placet.Request(
    subject=placet.Subject("User", "alice"),
    action=placet.Action("view"),
    resource=placet.Resource("Document", "one"),
)


@pytest.fixture(scope="module", name="address")
def address_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("envoy")
    with served(folder, "envoy", "--store", "memory") as (address, process):
        yield address
        result = process.end()
    assert result.code == 0
    assert "Traceback" not in result.err


def _grpcurl(*arguments: str) -> str:
    done = subprocess.run(
        [BIN / "grpcurl", "-plaintext", "-max-time", "10", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    return done.stdout


def test_a_tool_finds_every_service_and_calls_it(address: str) -> None:
    if not (BIN / "grpcurl").exists():
        pytest.skip("grpcurl is not installed")
    listed = _grpcurl(address, "list").split()
    described = _grpcurl(address, "describe", "placet.v1.EvaluateService")
    published = json.loads(
        _grpcurl(
            "-d",
            json.dumps(
                {"tenant": "tool", "change_set": {"policies": [{"id": "p", "cedar": _ALLOW}]}}
            ),
            *(address, "placet.v1.PolicyService/Publish"),
        )
    )
    decided = json.loads(
        _grpcurl(
            "-d",
            json.dumps(
                {
                    "tenant": "tool",
                    "subject": {"type": "User", "id": "alice"},
                    "action": {"name": "view"},
                    "resource": {"type": "Document", "id": "one"},
                }
            ),
            *(address, "placet.v1.EvaluateService/Evaluate"),
        )
    )

    assert {f"placet.v1.{name}" for name in _SERVICES} < set(listed)
    assert "rpc EvaluateStream" in described
    assert decided["decision"]["outcome"] == "OUTCOME_ALLOW"
    assert decided["decision"]["revision"] == published["revision"]


async def test_health_and_channelz_answer(address: str) -> None:
    async with connected(address) as connection:
        health: Any = health_pb2_grpc.HealthStub(connection.channel)
        channelz: Any = channelz_pb2_grpc.ChannelzStub(connection.channel)  # type: ignore[arg-type]
        checked = [
            await health.Check(health_pb2.HealthCheckRequest(service=name), timeout=TIMEOUT_S)
            for name in ("", *(f"placet.v1.{name}" for name in _SERVICES))
        ]
        servers = await channelz.GetServers(channelz_pb2.GetServersRequest(), timeout=TIMEOUT_S)
        (server,) = servers.server
        sockets = await channelz.GetServerSockets(
            channelz_pb2.GetServerSocketsRequest(server_id=server.ref.server_id), timeout=TIMEOUT_S
        )

    assert [answer.status for answer in checked] == [health_pb2.HealthCheckResponse.SERVING] * 4
    # Clients' connections are Envoy's; what is seen is what docs/grpcurl.md says.
    assert {socket.name for socket in sockets.socket_ref} == {"chttp2 unix:"}


async def test_the_sdk_does_everything(address: str) -> None:
    async with placet.aio.Client(address, tenant="sdk", timeout_s=TIMEOUT_S) as client:
        change_set = placet.ChangeSet(policies=[placet.Policy(id="p", cedar=_ALLOW)])
        published = await client.publish(change_set)
        async with asyncio.timeout(TIMEOUT_S), client.subscribe() as events:
            first = await anext(aiter(events))
        unary = await client.evaluate(
            ("User", "alice"), "view", ("Document", "one"), min_revision=published.revision
        )
        batch = await client.evaluate_batch([_REQUEST] * 3)
        stream = [answer async for _, answer in client.evaluate_stream([("1", _REQUEST)])]

    answers = [unary, *batch, *stream]
    assert first is not None
    assert [bool(answer) for answer in answers] == [True] * 5
    assert {answer.revision for answer in answers if isinstance(answer, placet.Decision)} == {
        published.revision
    }


async def test_the_sdk_streams_thousands_without_waiting_for_answers(address: str) -> None:
    async with placet.aio.Client(address, tenant="stream", timeout_s=TIMEOUT_S) as client:
        await client.publish(placet.ChangeSet(policies=[placet.Policy(id="p", cedar=_ALLOW)]))
        requests = [
            (
                str(number),
                placet.Request(
                    subject=placet.Subject("User", "alice"),
                    action=placet.Action("view"),
                    resource=placet.Resource("Document", f"{number % 500}"),
                ),
            )
            for number in range(3000)
        ]
        answers = [(id_, answer) async for id_, answer in client.evaluate_stream(requests)]

    decided = [answer for _, answer in answers if isinstance(answer, placet.Decision)]
    assert [id_ for id_, _ in requests] == [id_ for id_, _ in answers]
    assert 3000 == len({decision.decision_id for decision in decided})
    assert {True} == {bool(decision) for decision in decided}


async def test_an_open_stream_ends_when_the_server_stops(tmp_path: Path) -> None:
    """The server would drain for longer than the test waits for its end."""
    with served(tmp_path, "envoy", "--store", "memory", "--drain-s", "600") as (address, process):
        async with connected(address) as connection:
            await connection.publish(policy("p", _ALLOW))
            call = connection.evaluate.EvaluateStream(timeout=600)
            await call.write(EvaluateStreamRequest(correlation_id="one", request=request()))
            first: Any = await call.read()
            process.send(signal.SIGTERM)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
        result = process.end(None)

    assert "one" == first.correlation_id
    assert (grpc.StatusCode.UNAVAILABLE, "DRAINING") == (
        caught.value.code(),
        info(caught.value).reason,
    )
    assert 0 == result.code
    assert "Traceback" not in result.err


async def test_streams_that_are_given_up_leave_nothing_behind(address: str) -> None:
    async with connected(address) as connection:
        await connection.publish(policy("p", _ALLOW))
        for min_revision in (0, 999) * 10:
            call = connection.evaluate.EvaluateStream(timeout=TIMEOUT_S)
            for message in (request(), request(min_revision=min_revision)):
                await call.write(EvaluateStreamRequest(request=message))
            await call.read()
            call.cancel()
        answer = await connection.evaluate.Evaluate(request(), timeout=TIMEOUT_S)

    assert answer.decision.reasons[0].policy_id == "p"


async def test_many_connections_are_served_at_once(address: str) -> None:
    async with connected(address) as connection:
        await connection.publish(policy("p", _ALLOW))

    async def ask() -> int:
        async with connected(address) as connection:
            answers = await asyncio.gather(
                *(connection.evaluate.Evaluate(request(), timeout=TIMEOUT_S) for _ in range(10))
            )
        return len({answer.decision.decision_id for answer in answers})

    # As many as are taken in one go, whatever went before.
    assert [10] * 4 == await asyncio.gather(*(ask() for _ in range(4)))


async def test_more_than_can_be_answered_in_time_are_refused_as_the_node_refuses(
    address: str,
) -> None:
    async with connected(address) as connection:
        await connection.publish(policy("p", _ALLOW))
        # These wait, and so take the place of others.
        waiting = [
            connection.evaluate.Evaluate(request(min_revision=999), timeout=TIMEOUT_S)
            for _ in range(1000)
        ]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asyncio.gather(*waiting)
        for call in waiting:
            call.cancel()

    status = rpc_status.from_call(cast("grpc.Call", refused.value))
    assert grpc.StatusCode.RESOURCE_EXHAUSTED is refused.value.code()
    assert status is not None
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(retry)
    assert ("OVERLOADED", 200) == (info.reason, retry.retry_delay.ToMilliseconds())


async def test_callers_that_give_up_leave_nothing_behind(address: str) -> None:
    async with connected(address) as connection:
        await connection.publish(policy("p", _ALLOW))
        for _ in range(20):
            call = connection.evaluate.Evaluate(request(min_revision=999), timeout=TIMEOUT_S)
            # Another call on the connection: when it is answered, the first has arrived.
            await connection.evaluate.Evaluate(request(), timeout=TIMEOUT_S)
            call.cancel()
        answer = await connection.evaluate.Evaluate(request(), timeout=TIMEOUT_S)

    assert answer.decision.reasons[0].policy_id == "p"


@pytest.mark.parametrize("path", ["/", "/placet.v1.EvaluateService/Evaluate"])
def test_what_is_not_grpc_is_told(address: str, path: str) -> None:
    connection = http.client.HTTPConnection(address, timeout=PATIENCE_S)
    try:
        connection.request("POST", path, body=b"{}", headers={"content-type": "application/json"})
        response = connection.getresponse()
        said = response.read()
    finally:
        connection.close()

    assert (415, b"this address speaks gRPC, over HTTP/2\n") == (response.status, said)


async def test_a_method_nobody_has_is_unimplemented(address: str) -> None:
    async with connected(address) as connection:
        nothing: Any = connection.channel.unary_unary("/placet.v1.EvaluateService/Nothing")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await nothing(b"", timeout=TIMEOUT_S)

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_call_under_way_gets_its_answer_when_the_server_stops(tmp_path: Path) -> None:
    """Health is told first, a call that waits gets its answer, and the exit code is good."""
    with served(tmp_path, "envoy") as (address, process):
        async with connected(address) as connection:
            await connection.publish(policy("p", _ALLOW))
            health: Any = health_pb2_grpc.HealthStub(connection.channel)
            watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
            states = [(await anext(aiter(watch))).status]
            waiting = asyncio.ensure_future(
                connection.evaluate.Evaluate(request(min_revision=2), timeout=TIMEOUT_S)
            )
            # When this is answered, the one before has arrived.
            await connection.evaluate.Evaluate(request(), timeout=TIMEOUT_S)
            process.send(signal.SIGTERM)
            states.append((await anext(aiter(watch))).status)
            watch.cancel()
            # The server takes no publish any more; another process may still write to the file.
            async with await SqliteStore.open(tmp_path / "placet.db") as store:
                await commit(store, "other", write("p"))
            answer = await waiting
        result = process.end(None)

    assert states == [
        health_pb2.HealthCheckResponse.SERVING,
        health_pb2.HealthCheckResponse.NOT_SERVING,
    ]
    assert answer.decision.outcome == decision_pb2.OUTCOME_ALLOW
    assert result.code == 0
    assert "Traceback" not in result.err


async def test_a_call_whose_caller_is_gone_holds_nothing_up(tmp_path: Path) -> None:
    """The server would drain for longer than the test waits for its end."""
    with served(tmp_path, "envoy", "--store", "memory", "--drain-s", "600") as (address, process):
        async with connected(address) as connection:
            await connection.publish(policy("p", _ALLOW))
            call = connection.evaluate.Evaluate(request(min_revision=999), timeout=600)
            await connection.evaluate.Evaluate(request(), timeout=TIMEOUT_S)
            call.cancel()
        result = process.end()

    assert result.code == 0
