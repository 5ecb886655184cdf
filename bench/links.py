"""Connections with their sockets."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import Protocol

_READ_BYTES = 1 << 18
_CONNECT_TIMEOUT_S = 5.0


class Connection(Protocol):
    """A protocol's client side, without a socket."""

    leaving: bool
    out: list[bytes]
    done: list[tuple[int, int, bytes | None]]

    @property
    def room(self) -> int:
        """How many more calls may be begun now."""

    @property
    def in_flight(self) -> int:
        """How many calls are under way."""

    def call(self, body: bytes, ticket: int) -> None:
        """Begin a call."""

    def feed(self, received: bytes) -> None:
        """Take what came."""

    def lose(self) -> None:
        """Give up all calls under way."""


class Socket:
    """A non-blocking socket with what it could not send yet."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, timeout=_CONNECT_TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._unsent = b""

    def fileno(self) -> int:
        """Return the descriptor, for select."""
        return self._socket.fileno()

    @property
    def stuck(self) -> bool:
        """Whether there is something that the kernel did not take."""
        return bool(self._unsent)

    def send(self, pieces: list[bytes]) -> None:
        """Send, as far as the kernel takes it; empties the list.

        Raises:
            OSError: the connection is gone.
        """
        data = b"".join((self._unsent, *pieces)) if self._unsent else b"".join(pieces)
        pieces.clear()
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        self._unsent = data[sent:]

    def receive(self) -> bytes | None:
        """Return what came; None when nothing did, empty when the peer is gone."""
        try:
            return self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def close(self) -> None:
        """Close it."""
        self._socket.close()


class Links:
    """A handful of connections to one server, each made anew when it ends."""

    def __init__(self, address: str, make: Callable[[], Connection], *, count: int) -> None:
        """Connect.

        Args:
            address: ``host:port``.
            make: a fresh connection.
            count: how many to hold.

        Raises:
            OSError: nobody listens there.
        """
        host, _, port = address.rpartition(":")
        self._address = (host, int(port))
        self._make = make
        self._links = [(Socket(self._address), make()) for _ in range(count)]
        self._turn = 0
        self.in_flight = 0
        """How many calls are under way, on all of them."""

    def free(self) -> Connection | None:
        """Return the next connection in turn that has room; None when none has."""
        links = self._links
        for _ in range(len(links)):
            self._turn = (self._turn + 1) % len(links)
            connection = links[self._turn][1]
            if connection.room > 0:
                return connection
        return None

    def flush(self) -> None:
        """Send what waits."""
        for index, (sock, connection) in enumerate(self._links):
            if connection.out or sock.stuck:
                try:
                    sock.send(connection.out)
                except OSError:
                    connection.lose()
            if connection.leaving and connection.in_flight == 0 and not connection.done:
                sock.close()
                self._links[index] = (Socket(self._address), self._make())

    def sockets(self) -> list[Socket]:
        """Return all sockets."""
        return [sock for sock, _ in self._links]

    def stuck_sockets(self) -> list[Socket]:
        """Return the sockets that wait for the kernel to take more."""
        return [sock for sock, _ in self._links if sock.stuck]

    def read(self, ready: set[Socket]) -> list[tuple[int, int, bytes | None]]:
        """Read from what is ready; return the calls that ended."""
        done: list[tuple[int, int, bytes | None]] = []
        for sock, connection in self._links:
            if sock in ready:
                data = sock.receive()
                if data:
                    connection.feed(data)
                elif data is not None:
                    connection.lose()
            if connection.done:
                done += connection.done
                connection.done.clear()
        self.in_flight -= len(done)
        return done

    def close(self) -> None:
        """Close every connection; calls under way are given up."""
        for sock, _ in self._links:
            sock.close()


def wait(
    read: list[Socket], write: list[Socket], timeout_s: float
) -> tuple[set[Socket], list[Socket]]:
    """Wait until a socket can be read or written, or the time is over."""
    readable, writable, _ = select.select(read, write, (), timeout_s)
    return set(readable), writable
