"""Messages of a stream that come together: answered as one by one, but unread and in one go."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from google.protobuf.message import Message

from placet.v1 import evaluate_service_pb2 as evaluate_pb2
from placet_server.admission.control import Limits
from placet_server.api.decision_records import DecisionReporter
from placet_server.api.evaluate import EvaluateService
from placet_server.api.evaluate_stream import split
from placet_server.decisions.decider import PinnedDecider
from placet_server.testing import ManualClock
from tests.wire.service import TIMEOUT_S, Service, policy, request, running_service

_ALLOW = policy("p", "permit(principal, action, resource);")


def _message(id_: str = "1", **fields: object) -> bytes:
    message = evaluate_pb2.EvaluateStreamRequest(correlation_id=id_, request=request(**fields))  # type: ignore[arg-type]
    return message.SerializeToString()


def _read(answers: list[bytes]) -> list[evaluate_pb2.EvaluateStreamResponse]:
    return [evaluate_pb2.EvaluateStreamResponse.FromString(answer) for answer in answers]


def _bare(message: evaluate_pb2.EvaluateStreamResponse) -> Message:
    """Return an answer without what differs from time to time."""
    for name in ("decision_id", "staleness", "cached"):
        message.decision.ClearField(name)
    return message


@pytest.fixture(name="service")
async def service_fixture() -> AsyncIterator[Service]:
    async with running_service() as service:
        await service.publish(
            _ALLOW, policy("not-bob", 'forbid(principal == User::"bob", action, resource);')
        )
        yield service


@pytest.fixture(name="evaluate")
def evaluate_fixture(service: Service) -> EvaluateService:
    return service.node.evaluate


@pytest.mark.parametrize("bytes_", [0, 1, 127, 128, 300, 20_000, 1_000_000])
def test_a_message_is_cut_into_its_fields(bytes_: int) -> None:
    asked = evaluate_pb2.EvaluateRequest(tenant="t" * bytes_)
    head = evaluate_pb2.EvaluateStreamResponse(correlation_id="some-id").SerializeToString()
    data = evaluate_pb2.EvaluateStreamRequest(correlation_id="some-id", request=asked)

    assert (head, asked.SerializeToString()) == split(data.SerializeToString())


_ID, _REQUEST = b"\x0a\x02id", b"\x12\x03\x0a\x01t"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        _ID,
        _REQUEST,
        _REQUEST + _ID,
        _ID + _ID + _REQUEST,
        _ID + _REQUEST + _REQUEST,
        _ID + _REQUEST + b"\x18\x01",
        _ID + _REQUEST[:-1],
        _ID + b"\x1a" + _REQUEST[1:],
        _ID + b"\x12",
        _ID + b"\x12\x80",
        _ID + b"\x12\xff\xff\xff\xff\xff",
        b"\x0a\x7fid" + _REQUEST,
        b"\x0a\x02\xc3\xbc" + _REQUEST,
        b"\x0a\x80\x01" + b"x" * 128 + _REQUEST,
        b"\x0a\x82\x00id" + _REQUEST,
    ],
    ids=range(16),
)
def test_what_is_written_in_another_way_is_not_cut(data: bytes) -> None:
    assert split(data) is None


async def test_together_is_answered_as_one_by_one(evaluate: EvaluateService) -> None:
    asked = [
        _message("good"),
        _message("bob", subject="User::bob"),
        _message("again"),
        _message(""),
        _message("grün"),
        _message("x" * 200),
        _message("x" * 257),
        _message("malformed", subject="nobody"),
        _message("elsewhere", tenant="nobody"),
        _message("no-tenant", tenant=""),
        _message("unknown-field") + b"\x18\x01",
    ]

    for _ in range(3):
        together, held_s = evaluate.evaluate_streamed_at_once(asked)
        single = [await evaluate.evaluate_streamed(data, TIMEOUT_S) for data in asked]

        assert 0 == held_s
        assert [_bare(answer) for answer in _read(single)] == [
            _bare(answer) for answer in _read(together)
        ]


async def test_what_was_decided_before_is_known_unread_whichever_call_it_came_in(
    evaluate: EvaluateService, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        await evaluate.evaluate(request().SerializeToString(), TIMEOUT_S)
    monkeypatch.delattr(PinnedDecider, "decide")

    answers = _read(evaluate.evaluate_streamed_at_once([_message("1"), _message("2")]).answers)

    assert [("1", True), ("2", True)] == [
        (answer.correlation_id, answer.decision.cached) for answer in answers
    ]
    assert 2 == len({answer.decision.decision_id for answer in answers})


async def test_what_is_new_is_decided_together(
    evaluate: EvaluateService, monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []
    decide = PinnedDecider.decide

    def counted(self, requests, exact):  # type: ignore[no-untyped-def]
        together.append(len(requests))
        return decide(self, requests, exact)

    monkeypatch.setattr(PinnedDecider, "decide", counted)
    names = [f"User::{number}" for number in range(10)]

    answers = evaluate.evaluate_streamed_at_once([_message(name, subject=name) for name in names])

    assert [10] == together
    assert names == [answer.correlation_id for answer in _read(answers.answers)]


async def test_much_that_is_new_is_decided_in_parts(evaluate: EvaluateService) -> None:
    asked = [_message(str(number), subject=f"User::{number}") for number in range(100)]

    first, second = [evaluate.evaluate_streamed_at_once(asked).answers for _ in range(2)]
    # What is known unread does not count.
    third = evaluate.evaluate_streamed_at_once(asked[:64] + asked).answers

    assert [64, 64, 164] == [len(first), len(second), len(third)]


@pytest.mark.parametrize(
    "next_", [_message("late", min_revision=99), b"\xff", b"\0" * (1024 * 1024 + 1)]
)
async def test_it_stops_before_what_has_to_wait_or_cannot_be_read(
    evaluate: EvaluateService, next_: bytes
) -> None:
    answers, held_s = evaluate.evaluate_streamed_at_once([_message("1"), next_, _message("3")])

    assert ["1"] == [answer.correlation_id for answer in _read(answers)]
    assert 0 == held_s
    assert ([], 0.0) == evaluate.evaluate_streamed_at_once([next_])


@pytest.mark.parametrize("asked_before", [0, 2], ids=["new", "remembered"])
async def test_who_asks_for_too_much_is_held(asked_before: int) -> None:
    limits = Limits(target_wait_s=0, tenant_decisions_per_second=2 + asked_before)
    async with running_service(limits=limits, clock=ManualClock()) as service:
        await service.publish(_ALLOW)
        for _ in range(asked_before):
            await service.node.evaluate.evaluate(request().SerializeToString(), TIMEOUT_S)
        asked = [_message(str(number)) for number in range(5)]

        answers, held_s = service.node.evaluate.evaluate_streamed_at_once(asked)

    results = [(answer.correlation_id, answer.error.reason) for answer in _read(answers)]
    assert [("0", ""), ("1", ""), ("2", "TENANT_LIMIT")] == results
    assert 0 < held_s <= 0.1


async def test_what_cannot_be_recorded_has_to_wait(
    evaluate: EvaluateService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DecisionReporter, "has_room_for", lambda self, count: count <= 2)
    asked = [_message(str(number)) for number in range(3)]

    assert [2, 0] == [
        len(evaluate.evaluate_streamed_at_once(several).answers) for several in (asked[:2], asked)
    ]
