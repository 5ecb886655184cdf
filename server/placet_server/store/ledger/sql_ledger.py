"""The ledger over an SQL database: who writes when, and how others hear of it."""

from __future__ import annotations

import asyncio
import datetime
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy.exc import DBAPIError

from placet_server.store.contract import StoreDamaged, StoreError, StoreUnavailable
from placet_server.store.following import Bell
from placet_server.store.ledger import statements
from placet_server.store.ledger.contract import LedgerBusy, Reading, Transaction
from placet_server.store.ledger.statements import Connection
from placet_server.store.ledger.works import Batch, Looking, Work

Answer = TypeVar("Answer")

MAX_WAITING = 2000
_AT_ONCE = 64
_POLL_S = 0.1
_NONCE_BYTES = 12
_FORGET_EVERY = 500


class LedgerDatabase(Protocol):
    """Runs work in transactions, which end even if their callers are cancelled."""

    async def read(self, work: Callable[[Any], Awaitable[Answer]]) -> Answer:
        """Run work that reads, on one unchanging state of the data."""
        ...

    async def write(self, work: Callable[[Any], Awaitable[Answer]]) -> Answer:
        """Run work that writes, alone, and make it durable."""
        ...


@dataclass(slots=True)
class _Waiting:
    """A work, and who waits for what becomes of it."""

    work: Callable[[Transaction], Awaitable[Any]]
    answer: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class _Outcome:
    answer: Any = None
    error: Exception | None = None


class SqlLedger:
    """Implements ``Ledger``.

    Works that wait while a transaction is made durable share the next one: its price, which is
    the disk's or the network's, is paid once for all of them.
    """

    def __init__(self, database: LedgerDatabase, *, source: str = "placet") -> None:
        self._database = database
        self._source = source
        self._waiting: deque[_Waiting] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._batches = 0
        self._bell = Bell()
        self._polling: asyncio.Task[None] | None = None
        self._listeners = 0
        self._seen = 0
        self._is_closed = False

    # ------------------------------------------------------------------------------ reading

    async def read(self, work: Callable[[Reading], Awaitable[Answer]]) -> Answer:
        return await self._database.read(lambda connection: work(Looking(connection)))

    async def wait_change(self, seen: int, *, timeout_s: float) -> int:
        if seen < 0:
            return await self._look()
        self._listen()
        try:
            async with asyncio.timeout(timeout_s):
                while self._seen <= seen:
                    if self._is_closed:
                        raise StoreUnavailable("the store is closed")
                    await self._bell.listen().wait()
        except TimeoutError:
            pass
        finally:
            self._listeners -= 1
        return max(self._seen, seen)

    def _listen(self) -> None:
        self._listeners += 1
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll(), name="ledger-changes")

    async def _poll(self) -> None:
        """See what other processes change, for as long as anybody wants to know."""
        while self._listeners and not self._is_closed:
            # Whoever reads is told; this looks again.
            with suppress(StoreError):
                await self._look()
            await asyncio.sleep(_POLL_S)

    async def _look(self) -> int:
        return self._note(await self._database.read(statements.sequence))

    def _note(self, sequence: int) -> int:
        if sequence > self._seen:
            self._seen = sequence
            self._bell.ring()
        return self._seen

    # ------------------------------------------------------------------------------ writing

    async def transact(self, work: Callable[[Transaction], Awaitable[Answer]]) -> Answer:
        if self._is_closed:
            raise StoreUnavailable("the store is closed")
        if len(self._waiting) >= MAX_WAITING:
            raise LedgerBusy(len(self._waiting))
        waiting = _Waiting(work, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="ledger")
        answer: Answer = await waiting.answer
        return answer

    async def _write(self) -> None:
        """Carry out what waits until nothing does."""
        while self._waiting:
            taken = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
            # Whoever does not wait any more has not begun.
            wanted = [one for one in taken if not one.answer.done()]
            if not wanted:
                continue
            try:
                outcomes = await self._carry_out([one.work for one in wanted])
            except Exception as error:  # noqa: BLE001  # it is those who wait that are told
                outcomes = [_Outcome(error=error)] * len(wanted)
            for one, outcome in zip(wanted, outcomes, strict=True):
                if one.answer.done():
                    continue
                if outcome.error is not None:
                    one.answer.set_exception(outcome.error)
                else:
                    one.answer.set_result(outcome.answer)

    async def _carry_out(
        self, works: Sequence[Callable[[Transaction], Awaitable[Any]]]
    ) -> Sequence[_Outcome]:
        nonce = secrets.token_hex(_NONCE_BYTES)
        self._batches += 1
        is_time_to_forget = self._batches % _FORGET_EVERY == 1
        outcomes: list[_Outcome] = []

        async def carry_out(connection: Connection) -> tuple[Sequence[_Outcome], int]:
            # Begun again: the answer to the commit may have been lost, and not the commit.
            if outcomes and await statements.was_committed(connection, nonce):
                await statements.confirm(connection)
                return outcomes, await statements.sequence(connection)
            outcomes.clear()
            batch = Batch(connection, self._source)
            for work in works:
                outcomes.append(await _attempt(work, batch))
            await batch.flush()
            if batch.has_written:
                now = datetime.datetime.now(datetime.UTC)
                await statements.advance(connection, nonce, now)
                if is_time_to_forget:
                    await statements.forget_batches(connection, now)
            return outcomes, self._checked(await statements.sequence(connection))

        done, sequence = await self._database.write(carry_out)
        self._note(sequence)
        return done

    def _checked(self, sequence: int) -> int:
        """See that nothing is missing that was there before; nobody else writes meanwhile."""
        if sequence < self._seen:
            raise StoreDamaged(
                f"the ledger is at change {sequence}, and this node has seen {self._seen}: what "
                "answers is not what it was, such as a replica that lacked changes when it was "
                "promoted; restore it, or start nodes anew to go on without them"
            )
        return sequence

    async def aclose(self) -> None:
        """Take no more, and end what has begun."""
        self._is_closed = True
        self._bell.ring()
        if self._writing is not None:
            await asyncio.wait([self._writing])
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)


async def _attempt(work: Callable[[Transaction], Awaitable[Any]], batch: Batch) -> _Outcome:
    transaction = Work(batch)
    try:
        answer = await work(transaction)
    except DBAPIError:
        # The database's transaction is over, for all of them.
        raise
    except Exception as error:  # noqa: BLE001  # what the caller gets, and nobody else
        return _Outcome(error=error)
    transaction.end()
    return _Outcome(answer)
