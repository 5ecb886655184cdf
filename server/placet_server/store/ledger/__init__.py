"""The ledger: records that change in place, each transition in one transaction with its audit."""

from __future__ import annotations

from placet_server.store.ledger.contract import (
    EVERYTHING,
    AuditEntry,
    Key,
    Ledger,
    LedgerBusy,
    Page,
    Personal,
    Reading,
    Record,
    RecordChanged,
    RecordKind,
    Span,
    Tally,
    TallyEntry,
    Transaction,
)

__all__ = [
    "EVERYTHING",
    "AuditEntry",
    "Key",
    "Ledger",
    "LedgerBusy",
    "Page",
    "Personal",
    "Reading",
    "Record",
    "RecordChanged",
    "RecordKind",
    "Span",
    "Tally",
    "TallyEntry",
    "Transaction",
]
