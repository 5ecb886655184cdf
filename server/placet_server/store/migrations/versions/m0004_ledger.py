"""The ledger: agents' records, tallies and the audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the ledger's tables."""
    op.create_table(
        "ledger_meta",
        sa.Column("one", sa.SmallInteger, autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("one", name="pk_ledger_meta"),
        comment="one row; the sequence grows with every change",
    )
    op.create_table(
        "ledger_batches",
        sa.Column("nonce", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("nonce", name="pk_ledger_batches"),
        comment="what was committed lately, for those who never heard whether it was",
    )
    op.create_table(
        "records",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("tenant", _TEXT, nullable=False),
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False, comment="JSON"),
        sa.Column(
            "found_by", sa.Text, nullable=False, comment="JSON: texts by index, as in record_texts"
        ),
        sa.PrimaryKeyConstraint("kind", "tenant", "id", name="pk_records"),
    )
    op.create_table(
        "record_texts",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("tenant", _TEXT, nullable=False),
        sa.Column("text", _TEXT, nullable=False),
        sa.Column("id", _TEXT, nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", "tenant", "text", "id", name="pk_record_texts"),
        comment="under what else records are found",
    )
    op.create_index(
        "ix_record_texts_kind_name_text_tenant_id",
        "record_texts",
        ["kind", "name", "text", "tenant", "id"],
    )
    op.create_table(
        "tallies",
        sa.Column("tenant", _TEXT, nullable=False),
        sa.Column("series", _TEXT, nullable=False),
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "series", "id", name="pk_tallies"),
    )
    op.create_index("ix_tallies_tenant_series_time", "tallies", ["tenant", "series", "time"])
    op.create_table(
        "audit_logs",
        sa.Column("tenant", _TEXT, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column(
            "frontier", sa.LargeBinary, nullable=False, comment="roots of the complete subtrees"
        ),
        sa.PrimaryKeyConstraint("tenant", name="pk_audit_logs"),
    )
    op.create_table(
        "audit_records",
        sa.Column("tenant", _TEXT, nullable=False),
        sa.Column("position", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("type", _TEXT, nullable=False),
        sa.Column("actor", _TEXT, nullable=False),
        sa.Column("target", _TEXT, nullable=False),
        sa.Column("agent", _TEXT),
        sa.Column("action", _TEXT),
        sa.Column("action_id", _TEXT),
        sa.Column("run_id", _TEXT),
        sa.Column("decision_id", _TEXT),
        sa.Column("outcome", _TEXT),
        sa.Column("json", sa.Text, nullable=False, comment="what the leaf is the hash of"),
        sa.Column("leaf_hash", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "position", name="pk_audit_records"),
        comment="only `json` is proved; the other columns are for finding it",
    )
    op.create_index(
        "ix_audit_records_tenant_agent_position", "audit_records", ["tenant", "agent", "position"]
    )
    op.create_index("ix_audit_records_tenant_leaf_hash", "audit_records", ["tenant", "leaf_hash"])
    op.create_index(
        "ix_audit_records_tenant_target_position", "audit_records", ["tenant", "target", "position"]
    )
    op.create_index("ix_audit_records_tenant_time", "audit_records", ["tenant", "time"])
    op.create_table(
        "audit_nodes",
        sa.Column("tenant", _TEXT, nullable=False),
        sa.Column("level", sa.SmallInteger, autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "level", "position", name="pk_audit_nodes"),
        comment="roots of complete subtrees, above the leaves",
    )
    op.create_table(
        "audit_parts",
        sa.Column("tenant", _TEXT, nullable=False),
        sa.Column("position", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("pointer", _TEXT, nullable=False),
        sa.Column("salt", sa.LargeBinary, comment="null once erased"),
        sa.Column("json", sa.Text, comment="null once erased"),
        sa.Column("erase_time", sa.BigInteger),
        sa.PrimaryKeyConstraint("tenant", "position", "pointer", name="pk_audit_parts"),
        comment="personal parts of records, which hold their hashes only",
    )
    op.create_table(
        "audit_heads",
        sa.Column("tenant", _TEXT, nullable=False),
        sa.Column("size", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("json", sa.Text, nullable=False, comment="what is signed"),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "size", name="pk_audit_heads"),
    )
