from __future__ import annotations

import pytest

from bench import hpack


def literal(name: bytes, value: bytes, first: int) -> bytes:
    return bytes((first, len(name))) + name + bytes((len(value),)) + value


@pytest.mark.parametrize("first", [0x00, 0x10, 0x40], ids=["plain", "never indexed", "indexed"])
@pytest.mark.parametrize("code", [0, 8, 14])
def test_status_is_found_in_plain_text(first: int, code: int) -> None:
    block = b"\x88" + literal(b"grpc-status", str(code).encode(), first)

    assert code == hpack.grpc_status(block)


@pytest.mark.parametrize("code", range(17))
def test_status_is_found_in_huffman_code(code: int) -> None:
    name, value = hpack.huffman("grpc-status"), hpack.huffman(str(code))
    block = bytes((0x00, 0x80 | len(name))) + name + bytes((0x80 | len(value),)) + value

    assert code == hpack.grpc_status(block)


def test_huffman_code_is_that_of_the_standard() -> None:
    """RFC 7541, C.6.1: `302` is 6402."""
    assert bytes.fromhex("6402") == hpack.huffman("302")


def test_status_is_found_behind_other_fields_and_a_change_of_the_table() -> None:
    block = (
        b"\x20"  # the table's size is 0 now
        + b"\x88"
        + literal(b"grpc-message", b"x" * 100, 0x00)
        + bytes((0x0F, 0x10, 1))
        + b"v"  # content-type by its index, 31
        + literal(b"grpc-status", b"5", 0x00)
    )

    assert 5 == hpack.grpc_status(block)


def test_no_status_is_none() -> None:
    assert hpack.grpc_status(b"\x88" + literal(b"grpc-message", b"0", 0x00)) is None


def test_unknown_status_is_none() -> None:
    assert hpack.grpc_status(literal(b"grpc-status", b"99", 0x00)) is None


@pytest.mark.parametrize("cut", [1, 5, 13])
def test_block_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(hpack.HpackError):
        hpack.grpc_status(literal(b"grpc-status", b"0", 0x00)[:cut])


def test_request_block_is_what_the_standard_says() -> None:
    block = hpack.request_block("/p.S/M", "a:1", timeout="5S")

    assert block.startswith(b"\x83\x86\x04\x06/p.S/M\x01\x03a:1\x0f\x10\x10application/grpc")
    assert block.endswith(b"\x00\x0cgrpc-timeout\x025S")


def test_long_text_has_its_length_in_several_bytes() -> None:
    """RFC 7541, 5.1: what does not fit into seven bits goes on in the next bytes."""
    block = hpack.request_block("/" + "x" * 299, "a:1", timeout="5S")

    assert b"\x04\x7f\xad\x01/xxx" in block
