from __future__ import annotations

import pytest

from bench.http2 import (
    UNANSWERED,
    ProtocolError,
    StreamingConnection,
    UnaryConnection,
    frame,
    message,
)
from tests.unit.bench.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    SHED_TRAILERS,
    WINDOW_UPDATE,
    answer,
    parse,
    setting,
)

INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS = 4, 3


def connection(*, sample_every: int = 0) -> UnaryConnection:
    """A connection behind its greeting."""
    made = UnaryConnection("/p.S/M", "host:1", sample_every=sample_every)
    made.out.clear()
    return made


def taken(made: UnaryConnection) -> list[tuple[int, int, int, bytes]]:
    """The frames that wait to be sent; they wait no longer."""
    sent = b"".join(made.out)
    made.out.clear()
    return list(parse(sent))


def test_greeting_turns_the_peers_header_table_off() -> None:
    made = UnaryConnection("/p.S/M", "host:1")

    sent = b"".join(made.out)

    assert sent.startswith(PREFACE)
    (kind, _, _, payload), (window, _, stream, _) = parse(sent)
    assert SETTINGS == kind
    assert b"\x00\x01\x00\x00\x00\x00" in payload
    assert (WINDOW_UPDATE, 0) == (window, stream)


def test_calls_have_odd_stream_ids_that_rise() -> None:
    made = connection()

    for ticket in (10, 20, 30):
        made.call(message(b"ask"), ticket)

    frames = taken(made)
    assert [HEADERS, DATA] * 3 == [kind for kind, *_ in frames]
    assert [1, 1, 3, 3, 5, 5] == [stream for _, _, stream, _ in frames]
    assert (END_STREAM, b"\x00\x00\x00\x00\x03ask") == (frames[1][1], frames[1][3])
    assert 3 == made.in_flight


def test_answers_are_matched_in_any_order() -> None:
    made = connection()
    for ticket in (10, 20, 30):
        made.call(message(b"ask"), ticket)

    made.feed(answer(5) + answer(1, trailers=SHED_TRAILERS) + answer(3))

    assert [(30, 0, None), (10, 8, None), (20, 0, None)] == made.done
    assert 0 == made.in_flight


@pytest.mark.parametrize("size", [1, 2, 7, 9, 10, 30])
def test_answers_come_in_pieces_of_any_size(size: int) -> None:
    made = connection(sample_every=1)
    made.call(message(b"a"), 10)
    made.call(message(b"b"), 20)
    received = answer(1, b"first") + answer(3, b"second")

    for at in range(0, len(received), size):
        made.feed(received[at : at + size])

    assert [(10, 0, message(b"first")), (20, 0, message(b"second"))] == made.done


def test_every_so_many_bodies_are_kept() -> None:
    made = connection(sample_every=3)
    for ticket in range(6):
        made.call(message(b"a"), ticket)
        made.feed(answer(2 * ticket + 1, b"x"))

    kept = [ticket for ticket, _, body in made.done if body is not None]

    assert [0, 3] == kept


def test_padding_is_taken_off() -> None:
    made = connection(sample_every=1)
    made.call(message(b"a"), 10)

    made.feed(
        frame(DATA, 0x8, 1, b"\x02" + message(b"x") + b"\0\0")
        + frame(HEADERS, 0x8 | END_HEADERS | END_STREAM, 1, b"\x01\x00\x0bgrpc-status\x010\0")
    )

    assert [(10, 0, message(b"x"))] == made.done


def test_pings_and_settings_are_acknowledged() -> None:
    made = connection()

    made.feed(frame(PING, 0, 0, b"12345678") + setting(5, 20_000) + frame(PING, ACK, 0, b"x" * 8))

    assert [(PING, ACK, 0, b"12345678"), (SETTINGS, ACK, 0, b"")] == taken(made)


def test_data_waits_for_the_peers_window() -> None:
    made = connection()
    made.feed(setting(INITIAL_WINDOW_SIZE, 10))
    taken(made)

    made.call(b"0123456789abcde", 10)

    assert [(HEADERS, b""), (DATA, b"0123456789")] == [
        (kind, payload if kind == DATA else b"") for kind, _, _, payload in taken(made)
    ]
    assert made.holds_back
    made.feed(frame(WINDOW_UPDATE, 0, 1, (3).to_bytes(4, "big")))
    assert [(DATA, 0, 1, b"abc")] == taken(made)
    made.feed(setting(INITIAL_WINDOW_SIZE, 12))
    assert [(DATA, END_STREAM, 1, b"de")] == [f for f in taken(made) if f[0] == DATA]
    assert not made.holds_back


def test_connection_window_is_kept() -> None:
    made = connection()
    made.feed(setting(INITIAL_WINDOW_SIZE, 1_000_000))
    for ticket in range(4):
        made.call(b"x" * 16_384, ticket)
    sent = sum(len(payload) for kind, _, _, payload in taken(made) if kind == DATA)

    made.feed(frame(WINDOW_UPDATE, 0, 0, (100_000).to_bytes(4, "big")))

    assert 65_535 == sent
    assert [(DATA, END_STREAM, 7, b"x")] == taken(made)


def test_large_messages_go_in_frames_the_peer_takes() -> None:
    made = connection()

    made.call(b"x" * 40_000, 10)

    sizes = [len(payload) for kind, _, _, payload in taken(made) if kind == DATA]
    assert [16_384, 16_384, 7_232] == sizes


def test_no_more_calls_than_the_peer_allows() -> None:
    made = connection()
    made.feed(setting(MAX_CONCURRENT_STREAMS, 2))
    made.call(b"a", 10)

    assert 1 == made.room
    made.call(b"b", 20)
    assert 0 == made.room
    made.feed(answer(1))
    assert 1 == made.room


def test_reset_streams_and_answers_without_status_are_unanswered() -> None:
    made = connection()
    for ticket in (10, 20, 30):
        made.call(b"a", ticket)

    made.feed(
        frame(RST_STREAM, 0, 1, b"\0\0\0\x07")
        + frame(HEADERS, END_HEADERS | END_STREAM, 3, b"\x88")
        + frame(DATA, END_STREAM, 5, b"")
    )

    assert [(10, UNANSWERED, None), (20, UNANSWERED, None), (30, UNANSWERED, None)] == made.done


def test_no_new_calls_after_go_away_and_old_ones_end() -> None:
    made = connection()
    made.call(b"a", 10)

    made.feed(frame(GOAWAY, 0, 0, b"\0" * 8) + answer(1))

    assert 0 == made.room
    assert [(10, 0, None)] == made.done


def test_no_new_calls_when_stream_ids_ran_out() -> None:
    made = connection()
    made._stream = 2**31 - 3

    made.call(b"a", 10)

    assert made.leaving


def test_lost_connection_leaves_calls_unanswered() -> None:
    made = connection()
    made.call(b"a", 10)

    made.lose()

    assert [(10, UNANSWERED, None)] == made.done
    assert 0 == made.in_flight


def test_header_block_in_pieces_is_refused() -> None:
    made = connection()

    with pytest.raises(ProtocolError):
        made.feed(frame(HEADERS, END_STREAM, 1, b"\x88"))


def test_received_data_is_acknowledged_in_time() -> None:
    made = connection()
    made._unrenewed = 2**30 - 3
    made.call(b"a", 10)
    taken(made)

    made.feed(frame(DATA, 0, 1, b"abcd"))

    ((kind, _, stream, payload),) = taken(made)
    assert (WINDOW_UPDATE, 0, 2**30 + 1) == (kind, stream, int.from_bytes(payload, "big"))


def test_messages_of_a_stream_are_put_together() -> None:
    got: list[tuple[int, bytes]] = []
    made = StreamingConnection("/p.S/M", "host:1", lambda stream, body: got.append((stream, body)))
    stream = made.open(message(b"ask"), end=True)
    both = message(b"first") + message(b"second")

    for piece in (both[:3], both[3:12], both[12:]):
        made.feed(frame(DATA, 0, stream, piece))
    made.feed(answer(stream, b"third"))

    assert [(1, b"first"), (1, b"second"), (1, b"third")] == got
    assert {1: 0} == made.ended
