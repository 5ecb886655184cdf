"""A server's side of HTTP/2, written out by hand."""

from __future__ import annotations

from collections.abc import Iterator

from bench.http2 import frame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1

OK_TRAILERS = b"\x00\x0bgrpc-status\x010"
SHED_TRAILERS = b"\x00\x0bgrpc-status\x018"


def answer(stream: int, body: bytes = b"", *, trailers: bytes = OK_TRAILERS) -> bytes:
    """A whole answer: headers, one message, trailers."""
    message = b"\x00" + len(body).to_bytes(4, "big") + body
    return (
        frame(HEADERS, END_HEADERS, stream, b"\x88")
        + frame(DATA, 0, stream, message)
        + frame(HEADERS, END_HEADERS | END_STREAM, stream, trailers)
    )


def setting(key: int, value: int) -> bytes:
    return frame(SETTINGS, 0, 0, key.to_bytes(2, "big") + value.to_bytes(4, "big"))


def parse(sent: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Kind, flags, stream and payload of each frame, behind the preface if there is one."""
    at = len(PREFACE) if sent.startswith(PREFACE) else 0
    while at < len(sent):
        size = int.from_bytes(sent[at : at + 3], "big")
        stream = int.from_bytes(sent[at + 5 : at + 9], "big")
        yield sent[at + 3], sent[at + 4], stream, sent[at + 9 : at + 9 + size]
        at += 9 + size
