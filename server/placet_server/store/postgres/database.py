"""A PostgreSQL database as transactions: connections, isolation, retries, what errors mean."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakSet

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from placet_engine.changes import Commit
from placet_server.store.contract import StoreDamaged, StoreIncompatible, StoreUnavailable
from placet_server.store.postgres.address import Address, NoHostTakesWrites
from placet_server.store.postgres.locks import SCHEMA, Lock
from placet_server.store.postgres.troubles import Trouble, diagnose
from placet_server.store.postgres.witness import Witness
from placet_server.store.sql_store import Answer, Work
from placet_server.store.undisturbed import Undisturbed

_CONNECTIONS = 4
_POOL_TIMEOUT_S = 5.0
_CLOSE_TIMEOUT_S = 2.0
_RETRY_FIRST_S, _RETRY_MOST_S = 0.01, 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mode:
    """What a kind of transaction is like."""

    isolation: str
    begin: tuple[str, ...] = ()
    """What comes before all other statements."""
    is_read_only: bool = False
    timeout_s: float


_READ = _Mode(isolation="REPEATABLE READ", is_read_only=True, timeout_s=120.0)
# LOCK TABLE takes no snapshot: what is read after it is what the one before left. Without it,
# of those that write at the same time all but one would fail, at the end, and begin again.
_WRITE = _Mode(
    isolation="SERIALIZABLE",
    begin=(
        # One that hangs while it has the lock does not keep it from the others for long; nor does
        # one that hangs where the server does not take it for idle, see `_END_HUNG`.
        "SET LOCAL idle_in_transaction_session_timeout = '10s'",
        "LOCK TABLE store_meta IN SHARE ROW EXCLUSIVE MODE",
    ),
    timeout_s=20.0,
)
# Notices may be lost in a crash, so nobody waits for a disk or a replica.
_POST = _Mode(
    isolation="READ COMMITTED", begin=("SET LOCAL synchronous_commit = off",), timeout_s=20.0
)
_PATIENT = ("SET LOCAL idle_in_transaction_session_timeout = 0", "SET LOCAL lock_timeout = '120s'")
_READ_LONG = replace(_READ, begin=_PATIENT, timeout_s=3600.0)
_WRITE_LONG = replace(_WRITE, begin=(*_PATIENT, _WRITE.begin[-1]), timeout_s=3600.0)
_LAYOUT = _Mode(isolation="READ COMMITTED", begin=_PATIENT, timeout_s=3600.0)


class Database:
    """Runs work in transactions, again when it lost against others or the server went away.

    What is tried again may have been committed before: of a commit whose answer never came
    nobody knows. So work that writes finds out by itself whether it is done already.

    A transaction is never cancelled by request, since a server that is waiting for its replica
    would then end the wait and keep the commit. One that takes too long loses its connection.
    """

    def __init__(self, address: Address, *, patience_s: float) -> None:
        self.address = address
        self.witness = Witness()
        self._patience_s = patience_s
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            pool_size=_CONNECTIONS,
            max_overflow=0,
            # A connection is not tried before it is used: what fails is done again on another.
            pool_timeout=_POOL_TIMEOUT_S,
            pool_use_lifo=True,
        )
        self._transactions = Undisturbed()
        self._connections: WeakSet[Any] = WeakSet()

    async def read(self, work: Work[Answer]) -> Answer:
        """Run work that reads, on one unchanging state of the data."""
        return await self._transactions.run(lambda: self._transact(_READ, work))

    async def write(self, work: Work[Answer]) -> Answer:
        """Run work that writes to the log, alone, and make it durable."""
        return await self._transactions.run_alone(lambda: self._transact(_WRITE, work))

    async def read_long(self, work: Work[Answer]) -> Answer:
        """Run work that reads for up to an hour."""
        return await self._transactions.run(lambda: self._transact(_READ_LONG, work))

    async def write_long(self, work: Work[Answer]) -> Answer:
        """Run work that writes to the log for up to an hour."""
        return await self._transactions.run_alone(lambda: self._transact(_WRITE_LONG, work))

    async def post(self, work: Work[Answer]) -> Answer:
        """Run work that writes to the board, which need not be durable."""
        return await self._transactions.run(lambda: self._transact(_POST, work))

    async def change_layout(self, work: Work[Answer]) -> Answer:
        """Run work that makes tables; each statement sees what others did before it."""
        return await self._transactions.run_alone(lambda: self._transact(_LAYOUT, work))

    async def is_in_use(self) -> bool:
        """Whether a node is connected."""
        return bool(await self.read(_is_marked))

    def abandon(self) -> None:
        """Drop all connections: whoever waits for an answer on one of them waits in vain."""
        for connection in list(self._connections):
            connection.terminate()

    async def aclose(self) -> None:
        """Let the transactions that have begun end, then close the connections."""
        await self._transactions.aclose()
        # A connection that is closed in order waits for the server's word.
        timer = asyncio.get_running_loop().call_later(_CLOSE_TIMEOUT_S, self.abandon)
        try:
            await self._engine.dispose()
        finally:
            timer.cancel()

    async def _connect(self) -> Any:
        connection = await self.address.connect()
        self._connections.add(connection)
        return connection

    async def _transact(self, mode: _Mode, work: Work[Answer]) -> Answer:
        deadline_s = time.monotonic() + self._patience_s
        attempt = _Attempt()
        delay_s = _RETRY_FIRST_S
        while True:
            try:
                with self._naming():
                    return await self._try(mode, work, attempt)
            except Exception as error:
                trouble = diagnose(error)
                if trouble is None:
                    raise
                if trouble.is_locked_out:
                    await self._end_hung()
                attempt.is_unknown |= attempt.is_committing and trouble.is_lost
                is_over = time.monotonic() + delay_s > deadline_s or self._transactions.is_closed
                if is_over or not (trouble.is_passing or trouble.is_lost):
                    raise self._reported(trouble, attempt) from error
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311  # jitter
            delay_s = min(delay_s * 2, _RETRY_MOST_S)

    async def _try(self, mode: _Mode, work: Work[Answer], attempt: _Attempt) -> Answer:
        attempt.is_committing = False
        async with self._engine.connect() as connection:
            await connection.execution_options(
                isolation_level=mode.isolation, postgresql_readonly=mode.is_read_only
            )
            async with self._bounded(connection, mode.timeout_s):
                seen = self.witness.seen
                async with connection.begin():
                    for statement in mode.begin:
                        await connection.execute(text(statement))
                    await self._check_new(connection, seen)
                    answer = await work(connection)
                    attempt.is_committing = not mode.is_read_only
                return answer

    async def _end_hung(self) -> None:
        """End the session of whoever hangs and has the log locked, if somebody does."""
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, NoHostTakesWrites, OSError):
            async with asyncio.timeout(_POOL_TIMEOUT_S):
                connection = await self.address.connect()
                try:
                    await connection.execute(_END_HUNG)
                finally:
                    connection.terminate()

    async def _check_new(self, connection: AsyncConnection, seen: Commit | None) -> None:
        """Look at the server of a connection that is new: it may be another one than before."""
        known = connection.sync_connection.info if connection.sync_connection else {}
        if not self.witness.store_id or known.get(_CHECKED):
            return
        await self.witness.check(connection, seen)
        # For as long as the connection lasts: see `is_in_use`.
        await connection.execute(text(f"SELECT pg_advisory_lock_shared({int(Lock.USE)}, {SCHEMA})"))
        known[_CHECKED] = True

    @asynccontextmanager
    async def _bounded(self, connection: AsyncConnection, timeout_s: float) -> AsyncIterator[None]:
        """Drop the connection if the block takes too long."""
        raw = (await connection.get_raw_connection()).driver_connection
        assert raw is not None
        timer = asyncio.get_running_loop().call_later(timeout_s, raw.terminate)
        try:
            yield
        finally:
            timer.cancel()

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Say which database a finding is about."""
        try:
            yield
        except (StoreDamaged, StoreIncompatible) as error:
            raise type(error)(f"`{self.address.shown}`: {error}") from error

    def _reported(self, trouble: Trouble, attempt: _Attempt) -> Exception:
        error = trouble.to_error(self.address.shown)
        if attempt.is_unknown and isinstance(error, StoreUnavailable):
            return StoreUnavailable(
                f"{error}; it is not known whether it was committed: ask again with the same "
                "request id"
            )
        return error


# The driver sends a statement to be prepared, and the values for it when it has the answer. Whoever
# hangs in between is, to the server, neither idle nor waiting for anything that has a time limit
# (before `transaction_timeout` of PostgreSQL 17). Nodes share a role, which may end its sessions.
_END_HUNG = """
SELECT pg_terminate_backend(holder.pid)
FROM pg_locks AS held JOIN pg_stat_activity AS holder USING (pid)
WHERE held.relation = 'store_meta'::regclass AND held.mode = 'ShareRowExclusiveLock'
AND held.granted AND holder.state = 'active' AND holder.wait_event = 'ClientRead'
AND holder.state_change < clock_timestamp() - interval '8s'
"""

_CHECKED = "placet_checked"


async def _is_marked(connection: AsyncConnection) -> bool:
    mark = text(f"SELECT NOT pg_try_advisory_xact_lock({int(Lock.USE)}, {SCHEMA})")
    return bool(await connection.scalar(mark))


@dataclass(slots=True)
class _Attempt:
    """What is known of a transaction that is tried again and again."""

    is_committing: bool = False
    is_unknown: bool = False
    """Whether a connection was lost while its transaction was committed."""
