"""gRPC's framing of one message in an HTTP/2 body, and its status as headers."""

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
        raise FrameRefused(
            grpc.StatusCode.INTERNAL, "the request ends before its message does; send all of it"
        )
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
