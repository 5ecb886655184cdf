"""The ledger's tables, beside those of the log of revisions."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, LargeBinary, SmallInteger, Table, Text

from placet_server.store.columns import Instant, KeyText, SortedText
from placet_server.store.tables import metadata

ledger_meta = Table(
    "ledger_meta",
    metadata,
    Column("one", SmallInteger, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
    comment="one row; the sequence grows with every change",
)

ledger_batches = Table(
    "ledger_batches",
    metadata,
    Column("nonce", Text, primary_key=True),
    Column("time", Instant, nullable=False),
    comment="what was committed lately, for those who never heard whether it was",
)

records = Table(
    "records",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("tenant", KeyText, primary_key=True),
    Column("id", SortedText, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("body", Text, nullable=False, comment="JSON"),
    Column("found_by", Text, nullable=False, comment="JSON: texts by index, as in record_texts"),
)

record_texts = Table(
    "record_texts",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("tenant", KeyText, primary_key=True),
    Column("text", SortedText, primary_key=True),
    Column("id", SortedText, primary_key=True),
    Index(None, "kind", "name", "text", "tenant", "id"),
    comment="under what else records are found",
)

tallies = Table(
    "tallies",
    metadata,
    Column("tenant", KeyText, primary_key=True),
    Column("series", SortedText, primary_key=True),
    Column("id", SortedText, primary_key=True),
    Column("time", Instant, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Index(None, "tenant", "series", "time"),
)

audit_logs = Table(
    "audit_logs",
    metadata,
    Column("tenant", KeyText, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("frontier", LargeBinary, nullable=False, comment="roots of the complete subtrees"),
)

audit_records = Table(
    "audit_records",
    metadata,
    Column("tenant", KeyText, primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False),
    Column("time", Instant, nullable=False),
    Column("type", KeyText, nullable=False),
    Column("actor", KeyText, nullable=False),
    Column("target", KeyText, nullable=False),
    Column("agent", KeyText),
    Column("action", KeyText),
    Column("action_id", KeyText),
    Column("run_id", KeyText),
    Column("decision_id", KeyText),
    Column("outcome", KeyText),
    Column("json", Text, nullable=False, comment="what the leaf is the hash of"),
    Column("leaf_hash", LargeBinary, nullable=False),
    Index(None, "tenant", "leaf_hash"),
    Index(None, "tenant", "time"),
    Index(None, "tenant", "target", "position"),
    Index(None, "tenant", "agent", "position"),
    comment="only `json` is proved; the other columns are for finding it",
)

audit_nodes = Table(
    "audit_nodes",
    metadata,
    Column("tenant", KeyText, primary_key=True),
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
    comment="roots of complete subtrees, above the leaves",
)

audit_parts = Table(
    "audit_parts",
    metadata,
    Column("tenant", KeyText, primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("pointer", KeyText, primary_key=True),
    Column("salt", LargeBinary, comment="null once erased"),
    Column("json", Text, comment="null once erased"),
    Column("erase_time", Instant),
    comment="personal parts of records, which hold their hashes only",
)

audit_heads = Table(
    "audit_heads",
    metadata,
    Column("tenant", KeyText, primary_key=True),
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("time", Instant, nullable=False),
    Column("json", Text, nullable=False, comment="what is signed"),
    Column("signature", LargeBinary, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
)
