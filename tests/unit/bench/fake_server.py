"""A gRPC server that does with each call what a test wants."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.unit.bench.frames import DATA, END_STREAM, PREFACE, parse

Respond = Callable[[int], bytes]
"""Gets the number of a call, from 0 on each connection, and returns what to send then."""


class FakeServer:
    """Listens on a free port; each connection has its own thread."""

    def __init__(self, respond: Respond, *, greeting: bytes = b"") -> None:
        self._respond = respond
        self._greeting = greeting
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self.connections = 0
        self.calls = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def start(self) -> None:
        self._run(self._accept)

    def _run(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            self._run(lambda connection=connection: self._serve(connection))  # type: ignore[misc]

    def _serve(self, connection: socket.socket) -> None:
        received, number = b"", 0
        try:
            connection.sendall(self._greeting)
            while data := connection.recv(65_536):
                received += data
                whole = _whole(received)
                for kind, flags, _, _ in parse(received[:whole]):
                    if kind == DATA and flags & END_STREAM:
                        self.calls += 1
                        connection.sendall(self._respond(number))
                        number += 1
                received = received[whole:]
        except OSError:
            return

    def stop(self) -> None:
        # A listener in accept() is not woken by close alone.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()


def _whole(received: bytes) -> int:
    """How many bytes make whole frames."""
    at = len(PREFACE) if received.startswith(PREFACE) else 0
    while len(received) - at >= 9:
        stop = at + 9 + int.from_bytes(received[at : at + 3], "big")
        if stop > len(received):
            break
        at = stop
    return at


@contextmanager
def fake_server(respond: Respond, *, greeting: bytes = b"") -> Iterator[FakeServer]:
    server = FakeServer(respond, greeting=greeting)
    server.start()
    try:
        yield server
    finally:
        server.stop()
