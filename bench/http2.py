"""HTTP/2 frames (RFC 9113) of a gRPC client, without sockets: bytes in, bytes out.

It reads frames no further than it must, because each one counts: at 40,000 calls a second
there are 25 microseconds for a call.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable

from bench import hpack

_HEADER = struct.Struct(">HBBBI")
"""A frame's header: length (16 + 8 bits), type, flags, stream."""
_TWO_WORDS = struct.Struct(">II")

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_HEADER_TABLE_SIZE, _MAX_CONCURRENT_STREAMS, _INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 1, 3, 4, 5

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DEFAULT_WINDOW = 65_535
_LARGEST = 2**31 - 1
_RENEW_AT = 2**30
_LAST_STREAM = 2**31 - 3
_KNOWN_BLOCKS = 1000

UNANSWERED = -1
"""Stands for a gRPC status where none came: the stream was reset, the connection lost."""


class ProtocolError(Exception):
    """The peer sent what this client does not read."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame's bytes."""
    size = len(payload)
    return _HEADER.pack(size >> 8, size & 255, kind, flags, stream) + payload


def message(body: bytes) -> bytes:
    """Return a message as gRPC puts it into DATA: uncompressed, behind its length."""
    return b"\x00" + len(body).to_bytes(4, "big") + body


class Http2Connection:
    """One connection's state: streams, windows, and the bytes that wait to be sent.

    Subclasses say what to do with what comes in for a stream.
    """

    def __init__(self, path: str, authority: str, *, timeout: str = "60S") -> None:
        self._block = hpack.request_block(path, authority, timeout=timeout)
        self._stream = 1
        self._rest = b""
        self._window = _DEFAULT_WINDOW
        self._stream_windows: dict[int, int] = {}
        self._initial_window = _DEFAULT_WINDOW
        self._max_frame = 16_384
        self._max_streams = _LARGEST
        self._unrenewed = 0
        self._held: deque[tuple[int, bytes, bool]] = deque()
        self._statuses: dict[bytes, int | None] = {}
        self.leaving = False
        """Whether no more streams may be opened: the peer said so, or ids ran out."""
        self.out: list[bytes] = [
            _PREFACE,
            frame(
                _SETTINGS,
                0,
                0,
                struct.pack(
                    ">HIHIHI",
                    _HEADER_TABLE_SIZE,
                    0,
                    2,  # ENABLE_PUSH
                    0,
                    _INITIAL_WINDOW_SIZE,
                    _LARGEST,
                ),
            ),
            frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _LARGEST - _DEFAULT_WINDOW)),
        ]
        """What waits to be sent."""

    # -------------------------------------------------------------------------- sending

    def open(self, data: bytes, *, end: bool) -> int:
        """Open a stream with a first piece of data; return its id."""
        stream = self._stream
        self._stream = stream + 2
        if stream >= _LAST_STREAM:
            self.leaving = True
        block = self._block
        size = len(data)
        head = _HEADER.pack(0, len(block), _HEADERS, _END_HEADERS, stream) + block
        if size > self._window or size > self._initial_window or size > self._max_frame:
            self.out.append(head)
            self._hold(stream, data, end)
        else:
            self._window -= size
            self.out.append(
                head + _HEADER.pack(size >> 8, size & 255, _DATA, 1 if end else 0, stream) + data
            )
            if not end:
                self._stream_windows[stream] = self._initial_window - size
        return stream

    def write(self, stream: int, data: bytes) -> None:
        """Send more on a stream that was opened without its end."""
        if self._held or len(data) > min(
            self._window, self._stream_windows[stream], self._max_frame
        ):
            self._hold(stream, data, False)
            return
        self._window -= len(data)
        self._stream_windows[stream] -= len(data)
        self.out.append(frame(_DATA, 0, stream, data))

    @property
    def holds_back(self) -> bool:
        """Whether data waits for the peer to make room for it."""
        return bool(self._held)

    def _hold(self, stream: int, data: bytes, end: bool) -> None:
        self._stream_windows.setdefault(stream, self._initial_window)
        self._held.append((stream, data, end))
        self._release()

    def _release(self) -> None:
        """Send what the windows let through, in order."""
        while self._held:
            stream, data, end = self._held.popleft()
            size = min(
                len(data), self._window, self._stream_windows.get(stream, 0), self._max_frame
            )
            last = size == len(data)
            if size > 0 or last:
                self._window -= size
                self._stream_windows[stream] = self._stream_windows.get(stream, 0) - size
                self.out.append(frame(_DATA, int(end and last), stream, data[:size]))
            if not last:
                self._held.appendleft((stream, data[size:], end))
                if size <= 0:
                    return
            elif end:
                self._stream_windows.pop(stream, None)

    # ------------------------------------------------------------------------ receiving

    def feed(self, received: bytes) -> None:
        """Take what came from the socket.

        Raises:
            ProtocolError: it is not what an HTTP/2 server may send to this client.
        """
        data = self._rest + received if self._rest else received
        at, end = 0, len(data)
        unpack, on_data, on_headers = _HEADER.unpack_from, self.on_data, self.on_headers
        while end - at >= 9:
            high, low, kind, flags, stream = unpack(data, at)
            start = at + 9
            stop = start + (high << 8 | low)
            if stop > end:
                break
            at = stop
            if kind == _DATA:
                self._unrenewed += stop - start
                if flags & _PADDED:
                    start, stop = start + 1, stop - data[start]
                on_data(stream, data[start:stop])
                if flags & _END_STREAM:
                    self.on_end(stream, UNANSWERED)
            elif kind == _HEADERS:
                if flags & ~_END_STREAM != _END_HEADERS:
                    start, stop = _unwrapped(data, start, stop, flags)
                if flags & _END_STREAM:
                    on_headers(stream, data[start:stop])
            else:
                self._control(kind, flags, stream, data[start:stop])
        self._rest = data[at:]
        if self._unrenewed >= _RENEW_AT:
            self.out.append(frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", self._unrenewed)))
            self._unrenewed = 0

    def on_headers(self, stream: int, block: bytes) -> None:
        """Take the trailers of a stream."""
        try:
            status = self._statuses[block]
        except KeyError:
            status = hpack.grpc_status(block)
            if len(self._statuses) < _KNOWN_BLOCKS:
                self._statuses[block] = status
        self.on_end(stream, UNANSWERED if status is None else status)

    def on_data(self, stream: int, data: bytes) -> None:
        """Take data of a stream."""
        raise NotImplementedError

    def on_end(self, stream: int, status: int) -> None:
        """Take a stream's end."""
        raise NotImplementedError

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _WINDOW_UPDATE:
            more = int.from_bytes(payload, "big")
            if stream == 0:
                self._window += more
            elif stream in self._stream_windows:
                self._stream_windows[stream] += more
            if self._held:
                self._release()
        elif kind == _SETTINGS and not flags & _ACK:
            self._settings(payload)
            self.out.append(frame(_SETTINGS, _ACK, 0))
        elif kind == _PING and not flags & _ACK:
            self.out.append(frame(_PING, _ACK, 0, payload))
        elif kind == _RST_STREAM:
            self._stream_windows.pop(stream, None)
            self._held = deque(held for held in self._held if held[0] != stream)
            self.on_end(stream, UNANSWERED)
        elif kind == _GOAWAY:
            self.leaving = True
        elif kind == 9:
            raise ProtocolError("the server sent a header block in pieces (CONTINUATION)")

    def _settings(self, payload: bytes) -> None:
        for key, value in struct.iter_unpack(">HI", payload):
            if key == _INITIAL_WINDOW_SIZE:
                change = value - self._initial_window
                self._initial_window = value
                for stream in self._stream_windows:
                    self._stream_windows[stream] += change
            elif key == _MAX_FRAME_SIZE:
                self._max_frame = value
            elif key == _MAX_CONCURRENT_STREAMS:
                self._max_streams = value
        self._release()


def _unwrapped(data: bytes, start: int, stop: int, flags: int) -> tuple[int, int]:
    """Take padding and priority off a HEADERS frame."""
    if not flags & _END_HEADERS:
        raise ProtocolError("the server sent a header block in pieces (CONTINUATION)")
    if flags & _PADDED:
        start, stop = start + 1, stop - data[start]
    if flags & _PRIORITY:
        start += 5
    return start, stop


class UnaryConnection(Http2Connection):
    """Calls with one message each way."""

    def __init__(self, path: str, authority: str, *, sample_every: int = 0) -> None:
        """Prepare a connection.

        Args:
            path: the method that is called.
            authority: ``host:port``.
            sample_every: keep the body of every so many answers. 0: of none.
        """
        super().__init__(path, authority)
        self._calls: dict[int, int] = {}
        self._bodies: dict[int, bytes] = {}
        self._sample_step = 2 * sample_every
        self.done: list[tuple[int, int, bytes | None]] = []
        """What was answered and not yet taken: ticket, status, body where it was kept."""

    @property
    def room(self) -> int:
        """How many more calls may be begun now."""
        return 0 if self.leaving else self._max_streams - len(self._calls)

    @property
    def in_flight(self) -> int:
        """How many calls are under way."""
        return len(self._calls)

    def call(self, body: bytes, ticket: int) -> None:
        """Begin a call with a message (its length before it), known by a ticket."""
        self._calls[self.open(body, end=True)] = ticket

    def on_data(self, stream: int, data: bytes) -> None:
        step = self._sample_step
        if step and stream % step == 1 % step:
            self._bodies[stream] = self._bodies.get(stream, b"") + data

    def on_end(self, stream: int, status: int) -> None:
        ticket = self._calls.pop(stream, None)
        if ticket is not None:
            body = self._bodies.pop(stream, None) if self._sample_step else None
            self.done.append((ticket, status, body))

    def lose(self) -> None:
        """Give up every call under way: the connection is gone."""
        self.done.extend((ticket, UNANSWERED, None) for ticket in self._calls.values())
        self._calls.clear()
        self.leaving = True


class StreamingConnection(Http2Connection):
    """Calls with many messages; each that comes in is handed on."""

    def __init__(self, path: str, authority: str, on_message: Callable[[int, bytes], None]) -> None:
        super().__init__(path, authority, timeout="600S")
        self._on_message = on_message
        self._parts: dict[int, bytes] = {}
        self.ended: dict[int, int] = {}
        """Status by stream, of those that ended."""

    def on_data(self, stream: int, data: bytes) -> None:
        data = self._parts.pop(stream, b"") + data
        at = 0
        while len(data) - at >= 5:
            stop = at + 5 + int.from_bytes(data[at + 1 : at + 5], "big")
            if stop > len(data):
                break
            self._on_message(stream, data[at + 5 : stop])
            at = stop
        if at < len(data):
            self._parts[stream] = data[at:]

    def on_end(self, stream: int, status: int) -> None:
        self.ended.setdefault(stream, status)
