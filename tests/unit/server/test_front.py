"""A front's part of gRPC: frames, time-outs, statuses, and callers that go away."""

from __future__ import annotations

import asyncio
import base64
import struct
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from placet_server.admission.control import AdmissionControl, Limits
from placet_server.api.evaluate_stream import AtOnce
from placet_server.api.failures import MessageTooLarge
from placet_server.errors import TenantUnknown
from placet_server.front.asgi import EvaluateApp, Evaluator
from placet_server.front.calls import Event
from placet_server.front.frames import FrameRefused, check_length, frame, timeout_s, unframe
from placet_server.front.methods import EVALUATE, EVALUATE_BATCH

_DEADLINE_S = 10.0


class _Evaluator:
    """Answers with what it was asked, and notes for how long it may take."""

    def __init__(self) -> None:
        self.left_s: list[float] = []
        self.cached: bytes | None = None
        self.error: Exception | None = None
        self.asked = asyncio.Event()
        self.at_once: dict[bytes, bytes | Exception] = {}
        self.together: list[int] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def recall(self, data: bytes, caller: object = None) -> bytes | None:
        return self.cached

    def try_evaluate(
        self, several: Sequence[tuple[bytes, object]]
    ) -> list[bytes | Exception | None]:
        self.together.append(len(several))
        return [self.at_once.get(data) for data, _ in several]

    async def evaluate(self, data: bytes, time_left_s: float, caller: object = None) -> bytes:
        self.left_s.append(time_left_s)
        self.asked.set()
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return b"one:" + data

    async def evaluate_batch(self, data: bytes, time_left_s: float, caller: object = None) -> bytes:
        return b"many:" + data

    def evaluate_streamed_at_once(self, several: Sequence[bytes], caller: object = None) -> AtOnce:
        raise AssertionError(several)

    async def evaluate_streamed(
        self, data: bytes, time_left_s: float, caller: object = None
    ) -> bytes:
        raise AssertionError(data)


class _Call:
    """One call as a server hands it to an application."""

    def __init__(
        self, *parts: bytes, path: str = EVALUATE, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        self.scope = {"type": "http", "path": path, "headers": list(headers)}
        self._parts = deque(parts)
        self.is_gone = False
        self.sent: list[Event] = []

    async def receive(self) -> Event:
        if self.is_gone:
            return {"type": "http.disconnect"}
        body = self._parts.popleft() if self._parts else b""
        return {"type": "http.request", "body": body, "more_body": bool(self._parts)}

    async def send(self, event: Event) -> None:
        if self.is_gone:
            raise ConnectionResetError
        self.sent.append(event)

    async def answered_by(self, app: EvaluateApp) -> tuple[bytes, dict[bytes, bytes]]:
        """Return the body and the trailers of the answer."""
        async with asyncio.timeout(_DEADLINE_S):
            await app(self.scope, self.receive, self.send)
        _, body, trailers = self.sent
        return body["body"], dict(trailers["headers"])


def _app(evaluator: Evaluator) -> EvaluateApp:
    return EvaluateApp(evaluator, AdmissionControl(Limits(target_wait_s=0), time.monotonic))


async def test_an_answer_is_a_frame_and_a_status() -> None:
    app = _app(_Evaluator())

    assert (frame(b"one:hello"), {b"grpc-status": b"0"}) == await _Call(
        frame(b"hello")
    ).answered_by(app)
    assert (frame(b"many:hello"), {b"grpc-status": b"0"}) == await _Call(
        frame(b"hello"), path=EVALUATE_BATCH
    ).answered_by(app)


async def test_what_can_be_answered_at_once_is() -> None:
    evaluator = _Evaluator()
    evaluator.cached = b"known"

    body, _ = await _Call(frame(b"hello")).answered_by(_app(evaluator))

    assert body == frame(b"known")
    assert evaluator.left_s == []


async def test_a_body_may_come_in_any_parts() -> None:
    whole = frame(b"hello, world")

    for cut in range(len(whole) + 1):
        body, _ = await _Call(whole[:cut], whole[cut:], b"").answered_by(_app(_Evaluator()))
        assert body == frame(b"one:hello, world")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 13),
        (b"\0\0", 13),
        (frame(b"hello")[:-1], 13),
        (frame(b"hello") + b"x", 13),
        (frame(b"hello") * 2, 13),
        (b"\1" + frame(b"hello")[1:], 12),
        (b"\2" + frame(b"hello")[1:], 13),
    ],
    ids=["nothing", "no-length", "too-short", "too-long", "two", "compressed", "unknown-flag"],
)
async def test_what_is_not_one_message_is_refused(body: bytes, code: int) -> None:
    for parts in ((body,), (body, b""), (body[:3], body[3:])):
        evaluator = _Evaluator()
        answer, trailers = await _Call(*parts).answered_by(_app(evaluator))

        assert (answer, trailers[b"grpc-status"]) == (b"", b"%d" % code)
        assert evaluator.left_s == []


async def test_a_message_too_large_is_refused_before_it_has_come() -> None:
    start = struct.pack(">BI", 0, 1024 * 1024 + 1)
    call = _Call(start, *[b"x" * 1000] * 50)

    _, trailers = await call.answered_by(_app(_Evaluator()))

    assert trailers[b"grpc-status"] == b"%d" % grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert b"1048577 bytes" in trailers[b"grpc-message"]
    assert (await call.receive())["more_body"], "it was read to its end"


async def test_a_body_longer_than_it_announced_is_not_collected() -> None:
    call = _Call(frame(b"hello"), *[b"x" * 1024 * 1024] * 20)

    _, trailers = await call.answered_by(_app(_Evaluator()))

    assert trailers[b"grpc-status"] == b"13"
    assert (await call.receive())["more_body"], "it was read to its end"


async def test_a_failure_has_its_details() -> None:
    evaluator = _Evaluator()
    evaluator.error = TenantUnknown("grüße 100%")

    body, trailers = await _Call(frame(b"hello")).answered_by(_app(evaluator))

    status = status_pb2.Status.FromString(
        base64.b64decode(trailers[b"grpc-status-details-bin"] + b"==")
    )
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (body, trailers[b"grpc-status"], info.reason) == (b"", b"5", "TENANT_UNKNOWN")
    assert trailers[b"grpc-message"].startswith(b"tenant `gr%C3%BC%C3%9Fe 100%25` is not known")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"2S", 2.0),
        (b"1500m", 1.5),
        (b"3M", 180.0),
        (b"1H", 3600.0),
        (b"7u", 7e-6),
        (b"9n", 9e-9),
        (b"123456789S", None),
        (b"S", None),
        (b"-1S", None),
        (b"5", None),
        (b"", None),
    ],
)
def test_time_outs_are_read(value: bytes, expected: float | None) -> None:
    read = timeout_s([(b"te", b"trailers"), (b"grpc-timeout", value)])

    assert read == (pytest.approx(expected) if expected is not None else None)


async def test_the_evaluator_is_told_how_long_it_may_take() -> None:
    evaluator = _Evaluator()
    app = _app(evaluator)

    for headers in ([(b"grpc-timeout", b"2S")], []):
        await _Call(frame(b""), headers=headers).answered_by(app)
    _, trailers = await _Call(frame(b""), headers=[(b"grpc-timeout", b"0S")]).answered_by(app)

    assert evaluator.left_s == [2.0, 5.0]
    assert trailers[b"grpc-status"] == b"4"


async def test_a_call_nobody_waits_for_any_more_is_given_up() -> None:
    evaluator = _Evaluator()
    evaluator.may_answer.clear()
    app, call = _app(evaluator), _Call(frame(b"hello"))
    serving = asyncio.create_task(app(call.scope, call.receive, call.send))
    await evaluator.asked.wait()

    call.is_gone = True
    async with asyncio.timeout(_DEADLINE_S):
        await serving

    assert call.sent == []


async def test_draining_waits_for_calls_under_way_and_takes_no_more() -> None:
    evaluator = _Evaluator()
    evaluator.may_answer.clear()
    app, call = _app(evaluator), _Call(frame(b"hello"))
    serving = asyncio.create_task(call.answered_by(app))
    await evaluator.asked.wait()

    draining = asyncio.create_task(app.drain(_DEADLINE_S))
    await asyncio.sleep(0)
    _, trailers = await _Call(frame(b"hello")).answered_by(app)
    assert trailers[b"grpc-status"] == b"14"
    assert not draining.done()

    evaluator.may_answer.set()
    assert (await serving)[0] == frame(b"one:hello")
    await draining


async def test_cancelling_is_not_swallowed() -> None:
    evaluator = _Evaluator()
    evaluator.may_answer.clear()
    call = _Call(frame(b"hello"))
    serving: asyncio.Task[Any] = asyncio.create_task(call.answered_by(_app(evaluator)))
    await evaluator.asked.wait()

    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


def test_frames_are_whole_or_refused() -> None:
    assert unframe(frame(b"")) == b""
    with pytest.raises(FrameRefused):
        unframe(b"")
    with pytest.raises(MessageTooLarge):
        check_length(frame(b"123456"), 5)
    check_length(frame(b"12345"), 5)


async def test_what_comes_in_one_turn_is_decided_together() -> None:
    evaluator = _Evaluator()
    refused = TenantUnknown("nobody")
    evaluator.at_once = {b"one": b"first", b"two": refused}
    app = _app(evaluator)

    answers = await asyncio.gather(
        *(_Call(frame(data)).answered_by(app) for data in (b"one", b"two", b"later"))
    )

    assert [3] == evaluator.together
    assert [frame(b"first"), b"", frame(b"one:later")] == [body for body, _ in answers]
    assert [b"0", b"5", b"0"] == [trailers[b"grpc-status"] for _, trailers in answers]


async def test_many_that_come_in_one_turn_are_decided_in_parts() -> None:
    evaluator = _Evaluator()
    evaluator.at_once = {b"%d" % number: b"yes" for number in range(100)}
    app = _app(evaluator)

    answers = await asyncio.gather(
        *(_Call(frame(data)).answered_by(app) for data in evaluator.at_once)
    )

    assert [64, 36] == evaluator.together
    assert {frame(b"yes")} == {body for body, _ in answers}
