"""HTTP/1.1 of a keep-alive client that posts JSON, without sockets. One call at a time."""

from __future__ import annotations

from bench.http2 import UNANSWERED, ProtocolError

_OK = b"HTTP/1.1 200 "
_LENGTH = b"content-length:"


class PostConnection:
    """A connection that posts one body after another to one path."""

    def __init__(self, path: str, authority: str, *, sample_every: int = 0) -> None:
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {authority}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode("ascii")
        self._rest = b""
        self._ticket: int | None = None
        self._answers = 0
        self._sample_every = sample_every
        self.leaving = False
        self.out: list[bytes] = []
        self.done: list[tuple[int, int, bytes | None]] = []

    @property
    def room(self) -> int:
        """How many more calls may be begun now: one or none."""
        return int(self._ticket is None and not self.leaving)

    @property
    def in_flight(self) -> int:
        """How many calls are under way: one or none."""
        return int(self._ticket is not None)

    def call(self, body: bytes, ticket: int) -> None:
        """Post a body."""
        self.out.append(b"%s%d\r\n\r\n%s" % (self._head, len(body), body))
        self._ticket = ticket

    def feed(self, received: bytes) -> None:
        """Take what came from the socket.

        Raises:
            ProtocolError: an answer without its length.
        """
        data = self._rest + received if self._rest else received
        head_end = data.find(b"\r\n\r\n")
        if head_end < 0:
            self._rest = data
            return
        head = data[:head_end].lower()
        at = head.find(_LENGTH)
        if at < 0:
            raise ProtocolError("the server sent an answer without Content-Length")
        start = head_end + 4
        stop = start + int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])
        if len(data) < stop:
            self._rest = data
            return
        self._rest = data[stop:]
        self._answers += 1
        kept = self._sample_every and self._answers % self._sample_every == 0
        if self._ticket is not None:
            status = 0 if data.startswith(_OK) else UNANSWERED
            self.done.append((self._ticket, status, data[start:stop] if kept else None))
            self._ticket = None

    def lose(self) -> None:
        """Give up the call under way: the connection is gone."""
        if self._ticket is not None:
            self.done.append((self._ticket, UNANSWERED, None))
            self._ticket = None
        self.leaving = True
