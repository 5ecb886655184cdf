"""One long-lived EvaluateStream call that many requests are sent on, one after the other."""

from __future__ import annotations

from bench.http2 import UNANSWERED, StreamingConnection, message
from bench.workloads import EVALUATE_STREAM
from placet.v1 import evaluate_service_pb2 as pb

_MOST_IN_WORK = 1024
"""The server stops reading past this."""
_ID = b"\x0a\x08%08d"
"""Field 1, the correlation id, eight digits."""
_ID_BYTES = 10
_REQUEST, _DECISION = b"\x12", 0x12
"""Field 2: of what is sent the request, of what comes back the decision."""


class StreamCall(StreamingConnection):
    """A connection for the load loop that makes one call of all its requests."""

    def __init__(self, authority: str, *, sample_every: int = 0) -> None:
        super().__init__(EVALUATE_STREAM, authority, self._answered)
        self._call: int | None = None
        self._number = 0
        self._tickets: dict[int, int] = {}
        self._sample_every = sample_every
        self.done: list[tuple[int, int, bytes | None]] = []

    @property
    def room(self) -> int:
        """How many more requests may be sent now."""
        return 0 if self.leaving or self.holds_back else _MOST_IN_WORK - len(self._tickets)

    @property
    def in_flight(self) -> int:
        """How many requests wait for their answer."""
        return len(self._tickets)

    def call(self, body: bytes, ticket: int) -> None:
        """Send a request: an EvaluateRequest, its length before it."""
        self._number += 1
        self._tickets[self._number] = ticket
        request = body[5:]
        data = message(b"".join((_ID % self._number, _REQUEST, varint(len(request)), request)))
        if self._call is None:
            self._call = self.open(data, end=False)
        else:
            self.write(self._call, data)

    def _answered(self, _stream: int, answer: bytes) -> None:
        number = int(answer[2:_ID_BYTES])
        status = 0
        if answer[_ID_BYTES] != _DECISION:
            status = pb.EvaluateStreamResponse.FromString(answer).error.code or UNANSWERED
        kept = self._sample_every and number % self._sample_every == 0
        self.done.append((self._tickets.pop(number), status, answer if kept else None))

    def on_end(self, stream: int, status: int) -> None:
        super().on_end(stream, status)
        self.lose()

    def lose(self) -> None:
        """Give up what waits: the call has ended."""
        self.done.extend((ticket, UNANSWERED, None) for ticket in self._tickets.values())
        self._tickets.clear()
        self.leaving = True


def varint(number: int) -> bytes:
    """Return a number as protobuf writes lengths."""
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)
