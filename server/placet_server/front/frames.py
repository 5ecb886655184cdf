"""gRPC's framing of messages in an HTTP/2 body, and its status as headers."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Mapping

import grpc

from placet_server.api.failures import MessageTooLarge

Headers = list[tuple[bytes, bytes]]

_PREFIX = struct.Struct(">BI")
PREFIX_BYTES = _PREFIX.size
NOT_COMPRESSED = b"\x00"
_CUT_OFF = "the request ends before its message does; send all of it"


class FrameRefused(Exception):
    """A body that is not one message, framed as gRPC has it."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def frame(message: bytes) -> bytes:
    """Put a message into a frame."""
    return _PREFIX.pack(0, len(message)) + message


def unframe(body: bytes) -> bytes:
    """Take the one message out of a whole body.

    Raises:
        FrameRefused: there is none, or more than one, or less than was announced.
    """
    announced = announced_bytes(body)
    present = len(body) - PREFIX_BYTES
    if announced is None or present < announced:
        raise FrameRefused(grpc.StatusCode.INTERNAL, _CUT_OFF)
    if present > announced:
        raise FrameRefused(
            grpc.StatusCode.INTERNAL, "the method takes one message and the request has more"
        )
    return body[PREFIX_BYTES:]


def announced_bytes(start: bytes | bytearray) -> int | None:
    """Return the length that the first bytes of a body announce; None while they are too few.

    Raises:
        FrameRefused: what follows is compressed.
    """
    if len(start) < PREFIX_BYTES:
        return None
    flag, length = _PREFIX.unpack_from(start)
    if flag:
        raise FrameRefused(
            grpc.StatusCode.UNIMPLEMENTED if flag == 1 else grpc.StatusCode.INTERNAL,
            "the message is marked as compressed and no `grpc-encoding` says how",
        )
    return int(length)


def check_length(start: bytes | bytearray, max_bytes: int) -> None:
    """Refuse a message by what it announces, before the rest of it has come.

    Raises:
        FrameRefused: what follows is compressed.
        MessageTooLarge: it has more than ``max_bytes``.
    """
    announced = announced_bytes(start)
    if announced is not None and announced > max_bytes:
        raise MessageTooLarge(announced, max_bytes)


class Frames:
    """Cuts messages out of a body that comes in parts."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()

    def feed(self, part: bytes) -> None:
        """Add what came."""
        self._rest += part

    def __len__(self) -> int:
        """Return how many bytes wait to be taken."""
        return len(self._rest)

    def take(self) -> list[bytes]:
        """Take the whole messages there are, up to one that is refused.

        Raises:
            FrameRefused: the first of them is compressed.
            MessageTooLarge: it announces more than it may have.
        """
        rest = self._rest
        check_length(rest, self._max_bytes)
        messages: list[bytes] = []
        at, end = 0, len(rest)
        # Slices of bytes are bytes; those of the other would be copied twice.
        data = bytes(rest) if self._has_one() else b""
        while end - at >= PREFIX_BYTES:
            flag, length = _PREFIX.unpack_from(rest, at)
            if flag or length > self._max_bytes or at + PREFIX_BYTES + length > end:
                break
            at += PREFIX_BYTES
            messages.append(data[at : at + length])
            at += length
        del rest[:at]
        return messages

    def _has_one(self) -> bool:
        announced = announced_bytes(self._rest)
        return announced is not None and announced + PREFIX_BYTES <= len(self._rest)

    def finish(self) -> None:
        """Say that no more comes.

        Raises:
            FrameRefused: it ended in the middle of a message.
        """
        if self._rest:
            raise FrameRefused(grpc.StatusCode.INTERNAL, _CUT_OFF)


def framed(messages: Iterable[bytes]) -> bytes:
    """Put messages into frames, one after the other."""
    parts: list[bytes] = []
    for message in messages:
        parts += (_PREFIX.pack(0, len(message)), message)
    return b"".join(parts)


_TIMEOUT_UNITS_S: Mapping[bytes, float] = {
    b"H": 3600.0,
    b"M": 60.0,
    b"S": 1.0,
    b"m": 1e-3,
    b"u": 1e-6,
    b"n": 1e-9,
}
_MAX_TIMEOUT_DIGITS = 8


def timeout_s(headers: Iterable[tuple[bytes, bytes]]) -> float | None:
    """Return what ``grpc-timeout`` says; None when it is not there or says nothing."""
    for name, value in headers:
        if name == b"grpc-timeout":
            digits, unit_s = value[:-1], _TIMEOUT_UNITS_S.get(value[-1:])
            if unit_s is None or not digits.isdigit() or len(digits) > _MAX_TIMEOUT_DIGITS:
                return None
            return int(digits) * unit_s
    return None


def status_headers(
    code: grpc.StatusCode, message: str, metadata: Iterable[tuple[str, str | bytes]] = ()
) -> Headers:
    """Write a status as the trailers that end a call."""
    headers: Headers = [
        (b"grpc-status", b"%d" % code.value[0]),
        (b"grpc-message", _percent_encoded(message)),
    ]
    for name, value in metadata:
        if isinstance(value, bytes):
            # Binary values are sent in base64, without padding.
            headers.append((name.encode(), base64.b64encode(value).rstrip(b"=")))
        else:
            headers.append((name.encode(), value.encode()))
    return headers


def _percent_encoded(text: str) -> bytes:
    return b"".join(
        b"%c" % byte if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte
        for byte in text.encode()
    )
