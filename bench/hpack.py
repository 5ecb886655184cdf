"""As much of HPACK (RFC 7541) as a load generator needs: a block to send, a status to find.

The peer is told to keep no dynamic table, so that every block can be read on its own,
and equal blocks mean the same.
"""

from __future__ import annotations

from collections.abc import Iterator

# Of the static table (RFC 7541, appendix A).
_AUTHORITY, _PATH, _CONTENT_TYPE = 1, 4, 31
_METHOD_POST, _SCHEME_HTTP = 0x83, 0x86

# Of the Huffman code (appendix B): what `grpc-status` and its values are made of.
_HUFFMAN = {
    "0": "00000",
    "1": "00001",
    "2": "00010",
    "3": "011001",
    "4": "011010",
    "5": "011011",
    "6": "011100",
    "7": "011101",
    "8": "011110",
    "9": "011111",
    "-": "010110",
    "a": "00011",
    "c": "00100",
    "g": "100110",
    "p": "101011",
    "r": "101100",
    "s": "01000",
    "t": "01001",
    "u": "101101",
}


class HpackError(ValueError):
    """A header block that is cut short, or that uses a table it was told not to."""


def request_block(path: str, authority: str, *, timeout: str) -> bytes:
    """Return the header block of a gRPC call over plain text.

    Args:
        path: ``/package.Service/Method``.
        authority: ``host:port``.
        timeout: the deadline as gRPC writes it: ``30S``.
    """
    return b"".join(
        (
            bytes((_METHOD_POST, _SCHEME_HTTP)),
            _literal(_PATH, path),
            _literal(_AUTHORITY, authority),
            _literal(_CONTENT_TYPE, "application/grpc"),
            _literal("te", "trailers"),
            _literal("grpc-timeout", timeout),
        )
    )


def _literal(name: int | str, value: str) -> bytes:
    """Write a field that no table remembers."""
    if isinstance(name, int):
        return _integer(name, 4, 0) + _text(value)
    return b"\x00" + _text(name) + _text(value)


def _text(text: str) -> bytes:
    return _integer(len(text), 7, 0) + text.encode("ascii")


def _integer(value: int, bits: int, pattern: int) -> bytes:
    most = (1 << bits) - 1
    if value < most:
        return bytes((pattern | value,))
    written = bytearray((pattern | most,))
    value -= most
    while value >= 128:
        written.append(value % 128 | 128)
        value //= 128
    written.append(value)
    return bytes(written)


def huffman(text: str) -> bytes:
    """Return text in HPACK's Huffman code; only the characters of `grpc-status` and digits."""
    bits = "".join(_HUFFMAN[character] for character in text)
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


_STATUS_NAMES = frozenset({b"grpc-status", huffman("grpc-status")})
_STATUS_VALUES = {
    written: code
    for code in range(17)
    for written in (str(code).encode("ascii"), huffman(str(code)))
}


def grpc_status(block: bytes) -> int | None:
    """Return the gRPC status in a header block; None when it says none.

    Raises:
        HpackError: the block cannot be read.
    """
    for name, value in _literals(block):
        if name in _STATUS_NAMES:
            return _STATUS_VALUES.get(value)
    return None


def _literals(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the fields that are written out, as they are written; names by index are empty."""
    at = 0
    while at < len(block):
        first = block[at]
        if first & 0x80:
            _, at = _read_integer(block, at, 7)
            continue
        if first & 0xE0 == 0x20:  # a change of the table's size
            _, at = _read_integer(block, at, 5)
            continue
        name, at = _read_integer(block, at, 6 if first & 0x40 else 4)
        written = b""
        if name == 0:
            written, at = _read_text(block, at)
        value, at = _read_text(block, at)
        yield written, value


def _read_text(block: bytes, at: int) -> tuple[bytes, int]:
    length, at = _read_integer(block, at, 7)
    if at + length > len(block):
        raise HpackError("a header block ends within a text")
    return block[at : at + length], at + length


def _read_integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    most = (1 << bits) - 1
    try:
        value = block[at] & most
        at += 1
        if value < most:
            return value, at
        shift = 0
        while True:
            byte = block[at]
            at += 1
            value += (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value, at
    except IndexError as error:
        raise HpackError("a header block ends within a number") from error
