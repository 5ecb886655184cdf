"""A port that several processes will listen on, held for them."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from placet_server.listening import AddressUnavailable


@dataclass(frozen=True, slots=True)
class HeldPort:
    """A port nobody else can take."""

    host: str
    """The host as it was configured."""
    port: int
    hosts: Sequence[str]
    """What the host stands for, as numbers."""

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{self.host}:{self.port}"


@contextmanager
def held_port(listen: str) -> Iterator[HeldPort]:
    """Hold ``host:port`` for the length of the block; port 0 takes any free one.

    The sockets are bound and do not listen, so that the kernel gives them no connections.

    Raises:
        AddressUnavailable: it is taken, or not this machine's.
    """
    host, _, text = listen.rpartition(":")
    port = int(text)
    hosts: list[str] = []
    with ExitStack() as stack:
        try:
            for family, number in _resolved(host.strip("[]")):
                bound = _bind(family, number, port)
                if bound is None:
                    continue
                stack.enter_context(bound)
                port = bound.getsockname()[1]
                hosts.append(number)
        except OSError as error:
            raise _unavailable(listen) from error
        if not hosts:
            raise _unavailable(listen)
        yield HeldPort(host, port, tuple(hosts))


def _resolved(host: str) -> list[tuple[socket.AddressFamily, str]]:
    found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _bind(family: socket.AddressFamily, number: str, port: int) -> socket.socket | None:
    """Bind a socket that others of this user can share; None where there is no such address."""
    with socket.socket(family) as probe:
        # Another server may share its port with whoever asks. This one does not ask.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((number, port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return None
            raise
    holder = socket.socket(family)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((number, port))
    except BaseException:
        holder.close()
        raise
    return holder


def _unavailable(listen: str) -> AddressUnavailable:
    return AddressUnavailable(
        f"cannot listen on `{listen}`: it is in use or not an address of this machine; "
        "choose another with --listen"
    )
