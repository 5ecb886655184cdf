"""What a supervisor and its workers tell each other: lines of JSON on a pair of sockets.

The pair is also how each learns that the other is gone, however it went.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

from placet_server.config import Config, from_document, to_document

FD_VARIABLE = "PLACET_WORKER_FD"
"""Environment variable with the number of the worker's end."""

_MAX_LINE_BYTES = 1 << 20


class Kind(StrEnum):
    """What a line is about."""

    ASSIGNMENT = "assignment"
    """To the worker, first: what to be."""
    STOP = "stop"
    """To the worker: drain, then end."""
    READY = "ready"
    """From the worker: it serves."""
    FAILED = "failed"
    """From the worker: it cannot serve."""
    ENDED = "ended"
    """From the worker: everything is done and closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What a worker is to be."""

    config: Config
    address: str
    """``host:port`` that the workers serve on."""
    node_socket: str = ""
    """Unix socket for the gRPC server of a worker that has another front."""
    admin_socket: str = ""
    """Unix socket on which that front answers about itself."""
    tls_folder: str = ""
    """Folder by which that front is told that the TLS files are new."""

    def to_line(self) -> dict[str, Any]:
        """Return it as what can be sent."""
        return {
            "config": to_document(self.config),
            "address": self.address,
            "node_socket": self.node_socket,
            "admin_socket": self.admin_socket,
            "tls_folder": self.tls_folder,
        }

    @classmethod
    def of_line(cls, line: Mapping[str, Any]) -> Self:
        """Return what was sent."""
        return cls(
            config=from_document(line["config"]),
            address=line["address"],
            node_socket=line["node_socket"],
            admin_socket=line["admin_socket"],
            tls_folder=line["tls_folder"],
        )


class Cause(StrEnum):
    """Why a worker cannot serve."""

    CONFIG = "config"
    ADDRESS = "address"
    STORE = "store"
    MISTAKE = "mistake"


@dataclass(frozen=True, slots=True)
class Failed:
    """That a worker cannot serve."""

    cause: Cause
    message: str

    def to_line(self) -> dict[str, Any]:
        """Return it as what can be sent."""
        return asdict(self)

    @classmethod
    def of_line(cls, line: Mapping[str, Any]) -> Self:
        """Return what was sent."""
        return cls(Cause(line["cause"]), line["message"])


class Channel:
    """One end of the pair."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Self:
        """Take an end over."""
        end.setblocking(False)
        return cls(*await asyncio.open_connection(sock=end, limit=_MAX_LINE_BYTES))

    async def send(self, kind: Kind, line: Mapping[str, Any] | None = None) -> None:
        """Send a line. If the other is gone, :meth:`receive` is where that is noticed."""
        try:
            self._writer.write(json.dumps({"kind": kind, **(line or {})}).encode() + b"\n")
            await self._writer.drain()
        except ConnectionError:
            return

    async def receive(self) -> tuple[Kind, Mapping[str, Any]] | None:
        """Return the next line, or nothing when the other is gone."""
        try:
            text = await self._reader.readline()
        except ConnectionError:
            return None
        if not text.endswith(b"\n"):
            return None
        line = json.loads(text)
        return Kind(line.pop("kind")), line

    def close(self) -> None:
        """Let the other know that this one is gone."""
        self._writer.close()
