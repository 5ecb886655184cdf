"""Numbers for the names that nodes are reached by: C-core and Envoy look none up themselves."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence

from placet_server.regions.moves import Moves

log = logging.getLogger(__name__)

Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""Returns the addresses of a host, or raises ``OSError``."""

_REFRESH_S = 10.0
_TIMEOUT_S = 5.0
_AT_ONCE = 8
_PAUSE_S = 0.1


async def looked_up(host: str) -> Sequence[str]:
    """Ask this machine's resolver.

    Of a host with addresses of both kinds those of IPv4 are taken, since an endpoint that is
    reached one way only would fail for half of the calls.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    by_family: dict[int, list[str]] = {}
    for family, _, _, _, address in found:
        by_family.setdefault(family, []).append(str(address[0]))
    return by_family.get(socket.AF_INET) or by_family.get(socket.AF_INET6) or ()


def host_port(address: str) -> tuple[str, int]:
    """Return the host and port of an address such as `eu1.example.net:7443` or `[::1]:7443`."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


class Addresses:
    """Knows the addresses of hosts, and looks them up again and again.

    What was found stays when looking it up fails: a name server that is away takes no node out.

    Args:
        hosts: returns those there are; numbers among them are themselves.
        onward: moves when a host has others than it had.
        lookup: how.
    """

    def __init__(
        self, hosts: Callable[[], Iterable[str]], onward: Moves, lookup: Lookup = looked_up
    ) -> None:
        self._hosts = hosts
        self._onward = onward
        self._lookup = lookup
        self._found: dict[str, tuple[str, ...]] = {}
        self._told: set[str] = set()
        self._missed = asyncio.Event()

    def __call__(self, host: str) -> tuple[str, ...]:
        """Return the addresses of a host: none until they were looked up."""
        if _is_number(host):
            return (host,)
        found = self._found.get(host)
        if found is None:
            self._missed.set()
        return found or ()

    async def run(self) -> None:
        """Look hosts up until cancelled: new ones at once, all there are every 10 s."""
        while True:
            self._missed.clear()
            await self._refresh(self._names() - self._found.keys())
            try:
                async with asyncio.timeout(_REFRESH_S):
                    await self._missed.wait()
            except TimeoutError:
                names = self._names()
                for gone in self._found.keys() - names:
                    del self._found[gone]
                self._told &= names
                await self._refresh(names)
            else:
                # One that is not known is asked for again and again.
                await asyncio.sleep(_PAUSE_S)

    def _names(self) -> set[str]:
        return {host for host in self._hosts() if not _is_number(host)}

    async def _refresh(self, names: set[str]) -> None:
        limit = asyncio.Semaphore(_AT_ONCE)
        found = await asyncio.gather(*(self._one(name, limit) for name in sorted(names)))
        if any(found):
            self._onward.move()

    async def _one(self, host: str, limit: asyncio.Semaphore) -> bool:
        """Look a host up; return whether it has other addresses than it had."""
        try:
            async with limit, asyncio.timeout(_TIMEOUT_S):
                addresses = tuple(sorted(dict.fromkeys(await self._lookup(host))))
        except (OSError, TimeoutError) as error:
            if host not in self._found and host not in self._told:
                self._told.add(host)
                log.warning(
                    "the address of a node is not known; xDS clients are not sent there",
                    extra={"host": host, "reason": str(error) or "no answer in time"},
                )
            return False
        self._told.discard(host)
        former = self._found.get(host)
        self._found[host] = addresses
        return former != addresses


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
