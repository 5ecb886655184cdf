"""Numbers for the names that nodes are reached by: C-core and Envoy look none up themselves."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence

from placet_server.regions.moves import Moves

log = logging.getLogger(__name__)

Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""Returns the addresses of a host, or raises ``OSError``."""

_REFRESH_S = 10.0
_TIMEOUT_S = 5.0
_AT_ONCE = 8


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


class Addresses:
    """Remembers the addresses of hosts that were asked for, and looks them up again and again.

    What was found stays when looking it up fails: a name server that is away takes no node out.

    Args:
        onward: moves when a host has others than it had.
        lookup: how.
    """

    def __init__(self, onward: Moves, lookup: Lookup = looked_up) -> None:
        self._onward = onward
        self._lookup = lookup
        self._found: dict[str, tuple[str, ...]] = {}
        self._wanted: set[str] = set()
        self._new = asyncio.Event()

    def __call__(self, host: str) -> tuple[str, ...]:
        """Return the addresses of a host: none until they were looked up."""
        try:
            return (str(ipaddress.ip_address(host)),)
        except ValueError:
            pass
        if host not in self._wanted:
            self._wanted.add(host)
            if host not in self._found:
                self._new.set()
        return self._found.get(host, ())

    async def run(self) -> None:
        """Look hosts up until cancelled: new ones at once, all that are asked for every 10 s."""
        while True:
            self._new.clear()
            await self._refresh(self._wanted - self._found.keys())
            try:
                async with asyncio.timeout(_REFRESH_S):
                    await self._new.wait()
            except TimeoutError:
                await self._renew()

    async def _renew(self) -> None:
        """Look all hosts up again, and forget those that nobody has asked for meanwhile."""
        hosts, self._wanted = self._wanted, set()
        for host in self._found.keys() - hosts:
            del self._found[host]
        await self._refresh(hosts)
        # Whoever still needs them asks again.
        self._wanted |= hosts

    async def _refresh(self, hosts: set[str]) -> None:
        limit = asyncio.Semaphore(_AT_ONCE)
        found = await asyncio.gather(*(self._one(host, limit) for host in sorted(hosts)))
        if any(found):
            self._onward.move()

    async def _one(self, host: str, limit: asyncio.Semaphore) -> bool:
        """Look a host up; return whether it has other addresses than it had."""
        try:
            async with limit, asyncio.timeout(_TIMEOUT_S):
                addresses = tuple(sorted(dict.fromkeys(await self._lookup(host))))
        except (OSError, TimeoutError) as error:
            if host not in self._found:
                log.warning(
                    "the address of a node is not known; xDS clients are not sent there",
                    extra={"host": host, "reason": str(error) or "no answer in time"},
                )
            return False
        former = self._found.get(host)
        self._found[host] = addresses
        return former != addresses
