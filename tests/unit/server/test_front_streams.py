"""A front's streams: frames cut anywhere, answers in order, and what ends a call."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import pytest

from placet_server.admission.control import AdmissionControl, Limits
from placet_server.api.evaluate_stream import AtOnce
from placet_server.api.failures import BadMessage
from placet_server.front.asgi import EvaluateApp
from placet_server.front.calls import Event
from placet_server.front.frames import frame
from placet_server.front.methods import EVALUATE_STREAM
from placet_server.telemetry.recorders import Metrics
from placet_server.telemetry.rpc import RpcTelemetry

_DEADLINE_S = 10.0
_OK, _INVALID, _EXHAUSTED = b"0", b"3", b"8"


class _Echo:
    """Answers with what it was asked. Messages that begin with `wait` cannot be answered at once,
    `held` asks for too much, and `bad` is not a message."""

    def __init__(self) -> None:
        self.together: list[int] = []
        self.left_s: list[float] = []
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.cancelled = asyncio.Event()

    def evaluate_streamed_at_once(self, several: Sequence[bytes], caller: object = None) -> AtOnce:
        self.together.append(len(several))
        answers: list[bytes] = []
        for data in several:
            if data.startswith((b"wait", b"bad")):
                break
            answers.append(b"re:" + data)
            if data == b"held":
                return AtOnce(answers, 0.001)
        return AtOnce(answers, 0.0)

    async def evaluate_streamed(
        self, data: bytes, time_left_s: float, caller: object = None
    ) -> bytes:
        if data == b"bad":
            raise BadMessage("it is bad")
        self.left_s.append(time_left_s)
        self.asked.set()
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return b"re:" + data

    def recall(self, data: bytes, caller: object = None) -> bytes | None:
        raise AssertionError(data)

    def try_evaluate(
        self, several: Sequence[tuple[bytes, object]]
    ) -> list[bytes | Exception | None]:
        raise AssertionError(several)

    async def evaluate(self, data: bytes, time_left_s: float, caller: object = None) -> bytes:
        raise AssertionError(data)

    async def evaluate_batch(self, data: bytes, time_left_s: float, caller: object = None) -> bytes:
        raise AssertionError(data)


class _Stream:
    """One call as a server hands it over: it gives futures, and takes it ill if they are left."""

    def __init__(self, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.scope = {"type": "http", "path": EVALUATE_STREAM, "headers": list(headers)}
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._asked: list[asyncio.Future[Event]] = []
        self.is_read = True
        self.is_gone = False
        self.sent: list[Event] = []
        self.on_body: Callable[[bytes], None] = lambda body: None
        self.begun = asyncio.Event()
        self.answered = asyncio.Event()

    def put(self, body: bytes, *, more: bool = True) -> None:
        """Have something come from the caller."""
        self._events.put_nowait({"type": "http.request", "body": body, "more_body": more})
        self._give()

    def leave(self) -> None:
        """Have the caller go away."""
        self.is_gone = True
        self._events.put_nowait({"type": "http.disconnect"})
        self._give()

    def _give(self) -> None:
        while self._asked and not self._events.empty():
            asked = self._asked.pop(0)
            assert not asked.cancelled(), "what came is lost"
            asked.set_result(self._events.get_nowait())

    def receive(self) -> Awaitable[Event]:
        asked: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        assert not self._asked, "it asks twice"
        self._asked.append(asked)
        self._give()
        return asked

    def send(self, event: Event) -> Awaitable[None]:
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.is_gone:
            sent.set_exception(BrokenPipeError())
        elif self.is_read or not event.get("more_body"):
            sent.set_result(None)
        self.sent.append(event)
        if "body" in event:
            self.on_body(event["body"])
            self.begun.set()
        if event.get("body"):
            self.answered.set()
        return sent

    def serve(self, app: EvaluateApp) -> asyncio.Task[None]:
        """Begin the call."""
        return asyncio.create_task(app(self.scope, self.receive, self.send))

    @property
    def bodies(self) -> list[bytes]:
        """The bodies that were sent and have something in them."""
        return [event["body"] for event in self.sent if event.get("body")]

    @property
    def trailers(self) -> dict[bytes, bytes]:
        """The trailers, when the call has ended."""
        assert self.sent[-1]["type"] == "http.response.trailers"
        return dict(self.sent[-1]["headers"])


def _app(
    evaluator: _Echo, telemetry: RpcTelemetry | None = None, *, write_timeout_s: float = 60.0
) -> EvaluateApp:
    admission = AdmissionControl(Limits(target_wait_s=0), time.monotonic)
    return EvaluateApp(evaluator, admission, telemetry, write_timeout_s=write_timeout_s)


async def _ended(serving: asyncio.Task[None]) -> None:
    async with asyncio.timeout(_DEADLINE_S):
        await serving


async def _served(evaluator: _Echo, *parts: bytes, **options: Any) -> _Stream:
    """Serve a call that sends these parts and then no more."""
    stream = _Stream(**options)
    for part in parts:
        stream.put(part)
    stream.put(b"", more=False)
    await _ended(stream.serve(_app(evaluator)))
    return stream


async def test_messages_of_one_event_are_answered_in_one_and_in_order() -> None:
    evaluator = _Echo()
    names = [b"%d" % number for number in range(20)]

    stream = await _served(evaluator, b"".join(map(frame, names)), frame(b"last"))

    assert [b"".join(frame(b"re:" + name) for name in names), frame(b"re:last")] == stream.bodies
    assert [20, 1] == evaluator.together
    assert {b"grpc-status": _OK} == stream.trailers


async def test_the_response_starts_before_anything_is_sent() -> None:
    stream = _Stream()
    serving = stream.serve(_app(_Echo()))
    async with asyncio.timeout(_DEADLINE_S):
        await stream.begun.wait()

    started, body = stream.sent
    assert ("http.response.start", 200, True) == (
        started["type"],
        started["status"],
        started["trailers"],
    )
    assert (b"", True) == (body["body"], body["more_body"])
    stream.put(b"", more=False)
    await _ended(serving)


async def test_frames_may_be_cut_anywhere() -> None:
    whole = frame(b"one") + frame(b"") + frame(b"three")

    for cut in range(len(whole) + 1):
        stream = await _served(_Echo(), whole[:cut], whole[cut:])
        assert frame(b"re:one") + frame(b"re:") + frame(b"re:three") == b"".join(stream.bodies)


async def test_many_of_one_event_are_answered_in_parts() -> None:
    evaluator = _Echo()

    stream = await _served(evaluator, frame(b"x") * 600)

    assert [256, 256, 88] == evaluator.together
    assert [frame(b"re:x") * count for count in evaluator.together] == stream.bodies


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (b"\1" + frame(b"hello")[1:], b"12"),
        (b"\2" + frame(b"hello")[1:], b"13"),
        (struct.pack(">BI", 0, 1024 * 1024 + 1), _EXHAUSTED),
        (frame(b"x" * (1024 * 1024 + 1)), _EXHAUSTED),
        (frame(b"hello")[:-1], b"13"),
        (b"\0\0", b"13"),
        (frame(b"bad"), _INVALID),
    ],
    ids=[
        "compressed",
        "unknown-flag",
        "too-large",
        "too-large-and-whole",
        "cut-off",
        "no-length",
        "unreadable",
    ],
)
async def test_what_is_no_message_ends_the_call_after_what_was_one(bad: bytes, code: bytes) -> None:
    stream = await _served(_Echo(), frame(b"one") + bad)

    assert (frame(b"re:one"), code) == (b"".join(stream.bodies), stream.trailers[b"grpc-status"])


async def test_a_message_that_waits_keeps_those_behind_it() -> None:
    evaluator, stream = _Echo(), _Stream([(b"grpc-timeout", b"5S")])
    serving = stream.serve(_app(evaluator))
    stream.put(frame(b"one") + frame(b"wait") + frame(b"three"))
    await evaluator.asked.wait()
    assert [frame(b"re:one")] == stream.bodies

    stream.put(frame(b"four"))
    evaluator.may_answer.set()
    stream.put(b"", more=False)
    await _ended(serving)

    assert [b"re:one", b"re:wait", b"re:three", b"re:four"] == _unframed(stream.bodies)
    assert 4.0 < evaluator.left_s[0] <= 5.0


async def test_a_refused_message_is_held_back_and_the_next_asked_again() -> None:
    evaluator = _Echo()

    stream = await _served(evaluator, frame(b"one") + frame(b"held") + frame(b"three"))

    assert [frame(b"re:one"), frame(b"re:held"), frame(b"re:three")] == stream.bodies
    assert [3, 1] == evaluator.together


async def test_while_one_waits_no_more_is_read_than_two_messages() -> None:
    evaluator, stream = _Echo(), _Stream()
    serving = stream.serve(_app(evaluator))
    stream.put(frame(b"wait"))
    await evaluator.asked.wait()
    for _ in range(10):
        stream.put(frame(b"x" * 1024 * 1000))
    for _ in range(100):
        await asyncio.sleep(0)

    assert 7 == stream._events.qsize()
    evaluator.may_answer.set()
    stream.put(b"", more=False)
    await _ended(serving)
    assert 11 == len(_unframed(stream.bodies))


@pytest.mark.parametrize("whole", [False, True], ids=["more-to-come", "all-sent"])
async def test_a_caller_who_goes_ends_what_waits(whole: bool) -> None:
    evaluator, stream = _Echo(), _Stream()
    serving = stream.serve(_app(evaluator))
    stream.put(frame(b"wait"), more=not whole)
    await evaluator.asked.wait()

    stream.leave()
    await _ended(serving)

    assert evaluator.cancelled.is_set()
    assert [] == stream.bodies


async def test_a_caller_who_goes_before_it_is_answered_is_no_failure() -> None:
    telemetry, stream = RpcTelemetry(Metrics()), _Stream()
    serving = stream.serve(_app(_Echo(), telemetry))
    stream.put(frame(b"one"))
    await stream.answered.wait()

    stream.is_gone = True
    stream.put(frame(b"two"))
    await _ended(serving)

    durations, _, _ = telemetry.method(EVALUATE_STREAM).of("CANCELLED")
    assert 1 == sum(durations.counts)


async def test_draining_answers_what_has_come_and_ends_the_call() -> None:
    evaluator, stream = _Echo(), _Stream()
    app = _app(evaluator)
    serving = stream.serve(app)
    stream.put(frame(b"one") + frame(b"wait") + frame(b"three"))
    await evaluator.asked.wait()

    draining = asyncio.create_task(app.drain(_DEADLINE_S))
    await asyncio.sleep(0)
    assert not draining.done()
    evaluator.may_answer.set()
    await _ended(serving)
    await draining

    assert [b"re:one", b"re:wait", b"re:three"] == _unframed(stream.bodies)
    assert b"14" == stream.trailers[b"grpc-status"]
    assert b"this node is draining; use another" == stream.trailers[b"grpc-message"]


async def test_draining_answers_what_came_while_it_wrote() -> None:
    evaluator, stream = _Echo(), _Stream()
    app = _app(evaluator)
    stream.on_body = lambda body: stream.put(frame(b"two")) if body == frame(b"re:wait") else None
    serving = stream.serve(app)
    stream.put(frame(b"wait"))
    await evaluator.asked.wait()

    draining = asyncio.create_task(app.drain(_DEADLINE_S))
    evaluator.may_answer.set()
    await _ended(serving)
    await draining

    assert [b"re:wait", b"re:two"] == _unframed(stream.bodies)


async def test_a_quiet_call_ends_with_its_deadline() -> None:
    stream = _Stream([(b"grpc-timeout", b"20m")])
    serving = stream.serve(_app(_Echo()))
    stream.put(frame(b"one"))

    await _ended(serving)

    assert [frame(b"re:one")] == stream.bodies
    assert b"4" == stream.trailers[b"grpc-status"]


@pytest.mark.parametrize(
    ("headers", "write_timeout_s", "code"),
    [([], 0.01, _EXHAUSTED), ([(b"grpc-timeout", b"10m")], 60.0, b"4")],
    ids=["slow", "out-of-time"],
)
async def test_a_caller_who_reads_nothing_is_given_up(
    headers: list[tuple[bytes, bytes]], write_timeout_s: float, code: bytes
) -> None:
    evaluator, stream = _Echo(), _Stream(headers)
    stream.is_read = False
    serving = stream.serve(_app(evaluator, write_timeout_s=write_timeout_s))
    stream.put(frame(b"one"))

    await _ended(serving)

    assert [] == evaluator.together
    assert code == stream.trailers[b"grpc-status"]


async def test_what_comes_and_goes_is_counted() -> None:
    metrics = Metrics()
    telemetry, stream = RpcTelemetry(metrics), _Stream()
    stream.put(frame(b"1234") * 3)
    stream.put(frame(b"bad"))

    await _ended(stream.serve(_app(_Echo(), telemetry)))

    _, received, sent = telemetry.method(EVALUATE_STREAM).of("INVALID_ARGUMENT")
    assert (1, 3 * 4 + 3) == (sum(received.counts), received.total)
    assert (1, 3 * 7) == (sum(sent.counts), sent.total)


async def test_cancelling_is_not_swallowed() -> None:
    evaluator, stream = _Echo(), _Stream()
    serving = stream.serve(_app(evaluator))
    stream.put(frame(b"wait"))
    await evaluator.asked.wait()

    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert evaluator.cancelled.is_set()


def _unframed(bodies: Iterable[bytes]) -> list[bytes]:
    data, messages = b"".join(bodies), []
    while data:
        (length,) = struct.unpack_from(">I", data, 1)
        messages.append(data[5 : 5 + length])
        data = data[5 + length :]
    return messages
