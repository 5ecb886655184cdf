"""What is answered does not depend on the way in: the same bytes behind each front."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.message import Message

from placet.v1 import evaluate_service_pb2 as evaluate_pb2
from placet.v1 import topology_pb2
from tests.front.served import FRONTS, served
from tests.wire.details import details
from tests.wire.service import TENANT, TIMEOUT_S, Connection, connected, policy, request
from tests.wire.test_bad_input import BAD_INPUTS, BATCH, EVALUATE, Bad, send

_POLICIES = (
    policy("good", "permit(principal, action, resource);"),
    policy("not-bob", 'forbid(principal == User::"bob", action, resource);'),
    policy("ask", '@approval("leads") permit(principal, action == Action::"pay", resource);'),
)
Fronts = dict[str, Connection]


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="fronts")
async def fronts_fixture(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fronts]:
    async with AsyncExitStack() as stack:
        fronts, processes = {}, []
        for front in FRONTS:
            folder: Path = tmp_path_factory.mktemp(front)
            address, process = stack.enter_context(served(folder, front, "--store", "memory"))
            processes.append(process)
            fronts[front] = await stack.enter_async_context(connected(address))
            await fronts[front].publish(*_POLICIES)
        yield fronts
        for process in processes:
            process.end()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "bad",
    [bad for bad in BAD_INPUTS if bad.method in (EVALUATE, BATCH)],
    ids=lambda bad: bad.name.replace(" ", "-"),
)
async def test_bad_input_is_refused_the_same(fronts: Fronts, bad: Bad) -> None:
    behind_grpc, behind_envoy = [await _status(fronts[front], bad) for front in FRONTS]

    assert behind_grpc == behind_envoy
    assert behind_grpc[0] is bad.code


async def _status(connection: Connection, bad: Bad) -> tuple[grpc.StatusCode, Any, Any]:
    """Return the code, the message and the bytes of the details."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await send(connection.channel, bad)
    trailers = dict(caught.value.trailing_metadata() or ())
    return caught.value.code(), caught.value.details(), trailers["grpc-status-details-bin"]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_tenant_that_may_not_be_there_is_refused_the_same(fronts: Fronts) -> None:
    refusals = []
    for front in FRONTS:
        await fronts[front].place(topology_pb2.RESIDENCY_RULE_EU_ONLY, tenant="elsewhere")
        asked = request(tenant="elsewhere")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await fronts[front].evaluate.Evaluate(asked, timeout=TIMEOUT_S)
        (refusal,) = details(caught.value, topology_pb2.ResidencyRefusal)
        refusals.append((caught.value.code(), caught.value.details(), refusal))

    assert refusals[0] == refusals[1]
    assert refusals[0][0] is grpc.StatusCode.FAILED_PRECONDITION
    assert [one.region for one in refusals[0][2].route.regions] == ["eu-central", "eu-west"]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("action", ["view", "pay"])
@pytest.mark.parametrize("subject", ["User::alice", "User::bob"])
@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_decisions_are_the_same(
    fronts: Fronts, subject: str, action: str, compression: grpc.Compression
) -> None:
    asked = request(subject, action)

    answers = [
        await fronts[front].evaluate.Evaluate(asked, timeout=TIMEOUT_S, compression=compression)
        for front in FRONTS
    ]

    behind_grpc, behind_envoy = [_bare(answer) for answer in answers]
    assert behind_grpc == behind_envoy


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("semantics", [1, 2, 3])
async def test_batches_are_the_same(fronts: Fronts, semantics: int) -> None:
    asked = evaluate_pb2.EvaluateBatchRequest(
        tenant=TENANT,
        semantics=semantics,  # type: ignore[arg-type]
        items=[
            evaluate_pb2.BatchItem(
                subject=evaluate_pb2.Subject(type="User", id=name),
                action=evaluate_pb2.Action(name="view"),
                resource=evaluate_pb2.Resource(type="Document", id="one"),
            )
            for name in ("alice", "bob", "carol")
        ],
    )

    answers = [
        await fronts[front].evaluate.EvaluateBatch(asked, timeout=TIMEOUT_S) for front in FRONTS
    ]

    behind_grpc, behind_envoy = [
        [_bare(result.decision) for result in answer.results] for answer in answers
    ]
    assert behind_grpc == behind_envoy


@pytest.mark.asyncio(loop_scope="module")
async def test_a_batch_as_large_as_is_allowed_passes(fronts: Fronts) -> None:
    asked = evaluate_pb2.EvaluateBatchRequest(
        tenant=TENANT,
        subject=evaluate_pb2.Subject(type="User", id="x" * 500),
        action=evaluate_pb2.Action(name="view"),
        items=[
            evaluate_pb2.BatchItem(
                resource=evaluate_pb2.Resource(type="Document", id=f"{number}-{'y' * 500}")
            )
            for number in range(900)
        ],
    )
    for front in FRONTS:
        answer = await fronts[front].evaluate.EvaluateBatch(asked, timeout=TIMEOUT_S)

        assert len(answer.results) == len(asked.items)


@pytest.mark.asyncio(loop_scope="module")
async def test_waiting_in_vain_for_a_revision_ends_the_same(fronts: Fronts) -> None:
    codes = []
    for front in FRONTS:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await fronts[front].evaluate.Evaluate(request(min_revision=999), timeout=0.2)
        codes.append(caught.value.code())

    assert codes == [grpc.StatusCode.DEADLINE_EXCEEDED] * 2


_STREAMED = {
    "good": request(),
    "again": request(),
    "denied": request("User::bob"),
    "": request(action="pay"),
    "grün": request(),
    "x" * 200: request(),
    "x" * 257: request(),
    "malformed": request("nobody"),
    "elsewhere": request(tenant="nobody"),
    "last": request(action="pay"),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_streams_are_the_same(fronts: Fronts, compression: grpc.Compression) -> None:
    asked = [
        evaluate_pb2.EvaluateStreamRequest(correlation_id=id_, request=message)
        for id_, message in _STREAMED.items()
    ]
    answers = {}
    for front in FRONTS:
        call = fronts[front].evaluate.EvaluateStream(
            iter(asked), timeout=TIMEOUT_S, compression=compression
        )
        answers[front] = [answer async for answer in call]

    behind_grpc, behind_envoy = [
        [(answer.correlation_id, _bare(answer.decision), answer.error) for answer in answers[front]]
        for front in FRONTS
    ]
    assert behind_grpc == behind_envoy
    assert [id_ for id_, _, _ in behind_grpc] == list(_STREAMED)
    assert "x" * 257 == behind_envoy[6][0]
    assert "REQUEST_MALFORMED" == behind_envoy[6][2].reason


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x01\xff", b"\0" * (1024 * 1024 + 1)])
async def test_a_stream_with_what_cannot_be_read_ends_the_same(fronts: Fronts, data: bytes) -> None:
    good = evaluate_pb2.EvaluateStreamRequest(correlation_id="good", request=request())
    ends = []
    for front in FRONTS:
        stream: Any = fronts[front].channel.stream_stream(
            "/placet.v1.EvaluateService/EvaluateStream",
            response_deserializer=evaluate_pb2.EvaluateStreamResponse.FromString,
        )
        call = stream(iter([good.SerializeToString(), data]), timeout=TIMEOUT_S)
        assert "good" == (await call.read()).correlation_id
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        trailers = dict(caught.value.trailing_metadata() or ())
        ends.append(
            (caught.value.code(), caught.value.details(), trailers["grpc-status-details-bin"])
        )

    behind_grpc, behind_envoy = ends
    assert behind_grpc == behind_envoy


def _bare(message: Message) -> bytes:
    """Return an answer without what differs from call to call."""
    bare: Any = type(message)()
    bare.CopyFrom(message)
    decision = bare.decision if hasattr(bare, "decision") else bare
    for name in ("decision_id", "staleness", "cached"):
        decision.ClearField(name)
    data: bytes = bare.SerializeToString(deterministic=True)
    return data
