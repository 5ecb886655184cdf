from __future__ import annotations

import pytest

from bench.http1 import PostConnection
from bench.http2 import UNANSWERED, ProtocolError

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\ntrue"


def test_posts_one_body_at_a_time() -> None:
    made = PostConnection("/v1/x", "host:1")

    made.call(b"{}", 10)

    assert 0 == made.room
    sent = b"".join(made.out)
    assert sent.startswith(b"POST /v1/x HTTP/1.1\r\nHost: host:1\r\n")
    assert sent.endswith(b"Content-Length: 2\r\n\r\n{}")


@pytest.mark.parametrize("size", [1, 5, 40, 200])
def test_answers_come_in_pieces(size: int) -> None:
    made = PostConnection("/v1/x", "host:1", sample_every=1)
    made.call(b"{}", 10)

    for at in range(0, len(OK), size):
        made.feed(OK[at : at + size])

    assert [(10, 0, b"true")] == made.done
    assert 1 == made.room


def test_other_status_is_a_failure() -> None:
    made = PostConnection("/v1/x", "host:1")
    made.call(b"{}", 10)

    made.feed(OK.replace(b"200 OK", b"500 No"))

    assert [(10, UNANSWERED, None)] == made.done


def test_answer_without_length_is_refused() -> None:
    made = PostConnection("/v1/x", "host:1")
    made.call(b"{}", 10)

    with pytest.raises(ProtocolError):
        made.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")


def test_lost_connection_leaves_the_call_unanswered() -> None:
    made = PostConnection("/v1/x", "host:1")
    made.call(b"{}", 10)

    made.lose()

    assert [(10, UNANSWERED, None)] == made.done
    assert 0 == made.room
