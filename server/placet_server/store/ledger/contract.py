"""The ledger's contract: records, tallies and the audit log, changed together or not at all.

A ledger lies beside a store's log of revisions, in the same database. It keeps what changes in
place: agents, approvals, runs. Every transition is a piece of work that reads what it needs,
then writes records and audit entries; all of it is durable when ``Ledger.transact`` returns, or
none of it happened. Works that write are carried out one after the other, whichever process they
come from, so that what a work has read is still so when it writes: no two of them can both take
the last unit of anything.

Every implementation passes ``tests/conformance/test_ledger.py``.
"""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, TypeVar

from placet_server.store.contract import StoreError

Answer = TypeVar("Answer")


class RecordKind(StrEnum):
    """What a record is of."""

    AGENT = "agent"
    CREDENTIAL = "credential"
    INSTANCE = "instance"
    """One running process of an agent: its lease, and the orders it acknowledged."""
    KILL_SWITCH = "kill_switch"
    ORCHESTRA = "orchestra"
    ACTION = "action"
    APPROVAL = "approval"
    GRANT = "grant"
    RUN = "run"
    TRIGGER = "trigger"
    EVENT = "event"
    REQUEST = "request"
    """What became of a request with a ``request_id``."""
    NOTIFICATION = "notification"
    """What somebody outside is still to be told."""


class LedgerBusy(StoreError):
    """More works wait than may. Nothing was done; try again soon."""

    def __init__(self, waiting: int) -> None:
        super().__init__(f"{waiting} changes to agents' records wait already; try again soon")


class RecordChanged(StoreError):
    """A record is not at the version the caller read. Read it and try again."""

    def __init__(self, key: Key, expected: int, actual: int) -> None:
        super().__init__(
            f"{key} is at version {actual}, not {expected}; read it again and repeat the change"
        )
        self.key = key
        self.expected = expected
        self.actual = actual


class Key(NamedTuple):
    """The name of one record."""

    kind: RecordKind
    tenant: str
    """Whose it is; empty: the platform's."""
    id: str

    def __str__(self) -> str:
        return f"{self.kind.replace('_', ' ')} `{self.id}`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A JSON object under a key, and under what else it can be found."""

    key: Key
    body: Mapping[str, Any]
    """A JSON object, without floats that are not finite."""
    found_by: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Texts under which ``find`` finds it, by the name of the index; some, one or none each.

    Texts are compared in order of their code points. A time has to be written so that this is
    its order: ``placet_server.store.ledger.instants.sortable``.
    """
    version: int = 0
    """Grows by one with every write; 0: not written yet."""


class Span(NamedTuple):
    """Which texts of an index are meant: those from ``low`` on that are below ``high``."""

    low: str = ""
    high: str | None = None
    is_exact: bool = False
    """Whether it is ``low`` alone."""

    @classmethod
    def exactly(cls, text: str) -> Span:
        """Return the span of one text."""
        return cls(text, is_exact=True)

    @classmethod
    def prefix(cls, text: str) -> Span:
        """Return the span of the texts that begin with a text."""
        return cls(text, text + "\U0010ffff")


EVERYTHING = Span()


class Page(NamedTuple):
    """Some records, and where the next ones are."""

    records: list[Record]
    next: tuple[str, str, str] | None
    """What ``after`` continues with; None: there are no more."""


class TallyEntry(NamedTuple):
    """What one thing adds to a series of amounts over time."""

    series: str
    id: str
    """What added it, such as an action. An entry of the same series and id replaces it."""
    time: datetime.datetime
    amount: int
    """Between -2^53 and 2^53."""


class Tally(NamedTuple):
    """What a series comes to."""

    entries: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Personal:
    """A part of an audit entry that is kept apart, so that it can be erased."""

    pointer: str
    """JSON Pointer (RFC 6901) within ``AuditEntry.data`` to the part; its hash takes its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """What is to be put down in a tenant's audit log."""

    type: str
    """What happened, such as `action.completed`, `agent.paused`."""
    time: datetime.datetime
    actor: str
    """Who made it happen: a person, an agent or a node."""
    target: str
    """What it happened to."""
    data: Mapping[str, Any]
    """Everything about it: a JSON object. Integers beyond 2^53 as text.

    By these members, where it has them, records are found: ``agent``, ``action``
    (`orchestra.action`), ``action_id``, ``run_id``, ``decision_id``, ``outcome``.
    """
    personal: Sequence[Personal] = ()


class Reading(Protocol):
    """What a work can read: one unchanging state of the ledger."""

    async def get(self, key: Key) -> Record | None:
        """Return a record, or None."""
        ...

    async def find(
        self,
        kind: RecordKind,
        index: str,
        span: Span = EVERYTHING,
        *,
        tenant: str | None,
        limit: int,
        after: tuple[str, str, str] | None = None,
        descending: bool = False,
    ) -> Page:
        """Return records by an index, in order of its texts, then of tenant and id.

        Args:
            kind: what they are of.
            index: the name it has in ``Record.found_by``.
            span: which of its texts.
            tenant: whose; None: everybody's.
            limit: at most so many.
            after: ``Page.next`` of the page before.
            descending: the other way round.

        Raises:
            ValueError: ``limit`` is less than 1.
        """
        ...

    async def tally(self, tenant: str, series: str, *, since: datetime.datetime | None) -> Tally:
        """Add up a series, from a time on (inclusive) or as far as it goes."""
        ...


class Transaction(Reading, Protocol):
    """A work's hold on the ledger while it is the only one that writes.

    All finding and adding up comes before the first write: what a work has written shows in
    ``get`` only, and ``find`` and ``tally`` after a write raise ``RuntimeError``.
    """

    def put(self, record: Record, *, expected: int | None = None) -> Record:
        """Write a record in the place of the one with its key, and return it as it is now.

        ``version`` of what is given makes no difference. A record that the work has not read, by
        ``get`` or ``find``, must not be there yet. With ``expected`` it is written only if it is
        at that version; 0: if there is none.

        Raises:
            RecordChanged: it is at another version.
            ValueError: NUL in the id or in a text, or one of more than 512 characters.
        """
        ...

    def delete(self, key: Key) -> None:
        """Remove a record that the work has read, if it is there."""
        ...

    def add(self, tenant: str, entry: TallyEntry) -> None:
        """Put down an amount."""
        ...

    def subtract(self, tenant: str, series: str, entry_id: str) -> None:
        """Take an amount away, if it was put down."""
        ...

    def audit(self, tenant: str, entry: AuditEntry) -> str:
        """Put an entry down in a tenant's log (empty: the platform's); return its id."""
        ...


class Ledger(Protocol):
    """Records with their audit log, see above.

    Every method may raise ``StoreUnavailable`` and ``StoreDamaged``.
    """

    async def transact(self, work: Callable[[Transaction], Awaitable[Answer]]) -> Answer:
        """Carry out a work that writes, and return its answer once everything is durable.

        What the work raises is raised here, and nothing that it wrote happened. A work may be
        begun again from its beginning, so it has no effects but by its transaction; and it waits
        for nothing else, since all others wait for it. Several works that wait together are made
        durable together. A cancelled ``transact`` has either happened or not.

        Raises:
            LedgerBusy: too many wait already.
        """
        ...

    async def read(self, work: Callable[[Reading], Awaitable[Answer]]) -> Answer:
        """Carry out a work that reads, and return its answer."""
        ...

    async def wait_change(self, seen: int, *, timeout_s: float) -> int:
        """Wait until the ledger changed since ``seen``, or the time is over; return what is now.

        Begin with -1, which returns at once; then read, then wait with what was returned. A
        change shows at once when it was made through this object, and within 300 ms when it was
        made by another process.
        """
        ...
