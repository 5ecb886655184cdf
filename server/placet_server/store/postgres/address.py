"""Where a database is, and how to connect to that of its hosts which takes writes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

import asyncpg

_HOST_TIMEOUT_S = 3.0
_SETTINGS: Mapping[str, str] = {
    "application_name": "placet",
    # What was acknowledged is on the disk, and at the replicas that the server waits for.
    "synchronous_commit": "on",
    "lock_timeout": "5s",
    # A node reads what it got within its transaction: a hundred thousand items take seconds.
    "idle_in_transaction_session_timeout": "120s",
    # One whose machine is gone loses its locks, too.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}


class AddressRefused(ValueError):
    """A URL that names no database; the message says how one looks."""


class NoHostTakesWrites(OSError):
    """None of the hosts can be used now; the message says why, by host."""

    def __init__(self, message: str, *, is_silence: bool) -> None:
        super().__init__(message)
        self.is_silence = is_silence
        """Whether one of them took what it was sent, and did not answer."""


@dataclass(frozen=True, slots=True)
class Host:
    """One of the servers."""

    name: str
    """Or the directory of its socket."""
    port: int | None

    def __str__(self) -> str:
        return self.name if self.port is None else f"{self.name}:{self.port}"


@dataclass(slots=True)
class Address:
    """A database on any of several hosts, as libpq's URLs write it."""

    url: str = field(repr=False)
    """It may have a password."""
    hosts: tuple[Host, ...]
    """Empty: what PGHOST says, or this machine."""
    shown: str
    """The URL without what may be secret."""
    _last: Host | None = None

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read a URL.

        Raises:
            AddressRefused: it is none of PostgreSQL's.
        """
        try:
            parts = urlsplit(url)
            query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True))
            user, _, listed = parts.netloc.rpartition("@")
            named = [unquote(one) for one in listed.split(",")] if listed else []
            hosts = tuple(map(_to_host, named or filter(None, query.get("host", "").split(","))))
        except ValueError as error:
            raise AddressRefused(f"{_HOW}: {_without_values(error)}") from None
        if parts.scheme not in ("postgresql", "postgres"):
            raise AddressRefused(_HOW)
        if query.get("synchronous_commit") == "off":
            raise AddressRefused(
                "the url sets `synchronous_commit` to off, with which what was acknowledged may be "
                "lost; take it out"
            )
        name = f"{user.partition(':')[0]}@" if user else ""
        at = ",".join(map(str, hosts))
        return cls(url, hosts, f"{parts.scheme}://{name}{at}{parts.path}")

    async def connect(self) -> asyncpg.Connection:
        """Connect to the host that takes writes.

        Each host has its own time: the driver would give all of it to the first one that is
        silent.

        Raises:
            NoHostTakesWrites: there is none now.
            asyncpg.PostgresError: one answered, and refuses.
        """
        settings = {**_SETTINGS, **self._own_settings()}
        reasons: list[str] = []
        is_silence = False
        for host in self._in_order():
            where = {} if host is None else {"host": host.name, "port": host.port}
            try:
                connection = await asyncpg.connect(
                    self.url,
                    **where,
                    timeout=_HOST_TIMEOUT_S,
                    server_settings=settings,
                    target_session_attrs="read-write",
                )
            except _NEXT as error:
                reasons.append(f"{host or 'the server'}: {_reason(error)}")
                is_silence |= isinstance(error, TimeoutError)
                continue
            self._last = host
            return connection
        raise NoHostTakesWrites("; ".join(reasons), is_silence=is_silence)

    def _in_order(self) -> Iterator[Host | None]:
        """Begin with the host that was right the last time."""
        if self._last is not None:
            yield self._last
        yield from (host for host in self.hosts if host != self._last)
        if not self.hosts:
            yield None

    def _own_settings(self) -> Mapping[str, str]:
        query = parse_qsl(urlsplit(self.url).query)
        return {name: value for name, value in query if name in _SETTINGS}


# The server is away, starts, stops or is a replica: another one may be there for it.
_NEXT = (
    OSError,
    asyncpg.TargetServerAttributeNotMatched,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)
_HOW = "write the database as postgresql://user@host1,host2/database"


def _to_host(text: str) -> Host:
    bracketed = text.startswith("[")
    name, colon, port = text.rpartition(":")
    if not colon or (bracketed and text.endswith("]")) or text.startswith("/"):
        return Host(text.strip("[]"), None)
    return Host(name.strip("[]"), int(port) if port else None)


def _without_values(error: ValueError) -> str:
    """Return what is wrong, without quoting a URL that may have a password."""
    return str(error).partition(":")[0]


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {_HOST_TIMEOUT_S:g} s"
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return "it is a replica, which takes no writes"
    if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode:
        # asyncio names the address again, in words of its own.
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
