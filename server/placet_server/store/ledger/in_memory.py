"""A ledger in memory: the same statements, on a database that is nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection as SyncConnection
from sqlalchemy import Dialect, StaticPool, create_engine
from sqlalchemy.engine import CursorResult
from sqlalchemy.sql import Executable

from placet_server.store.contract import StoreUnavailable
from placet_server.store.layout import metadata

Answer = TypeVar("Answer")


class MemoryDatabase:
    """Implements ``LedgerDatabase``. There is one transaction at a time."""

    def __init__(self) -> None:
        self._engine = create_engine("sqlite://", poolclass=StaticPool)
        metadata.create_all(self._engine)
        self._turn = asyncio.Lock()
        self._is_closed = False

    async def read(self, work: Callable[[Any], Awaitable[Answer]]) -> Answer:
        return await self.write(work)

    async def write(self, work: Callable[[Any], Awaitable[Answer]]) -> Answer:
        async with self._turn:
            if self._is_closed:
                raise StoreUnavailable("the store is closed")
            with self._engine.begin() as connection:
                return await work(_AtOnce(connection))

    def close(self) -> None:
        """Forget everything."""
        self._is_closed = True
        self._engine.dispose()


class _AtOnce:
    """A connection whose statements keep nobody waiting, for those who would wait."""

    def __init__(self, connection: SyncConnection) -> None:
        self._connection = connection

    @property
    def dialect(self) -> Dialect:
        return self._connection.dialect

    async def execute(
        self,
        statement: Executable,
        parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> CursorResult[Any]:
        return self._connection.execute(statement, parameters)

    async def scalar(self, statement: Executable) -> Any:
        return self._connection.scalar(statement)
