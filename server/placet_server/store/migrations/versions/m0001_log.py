"""The log of revisions, and the items it comes to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# Text in byte order, whatever the database's own order is.
_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables of the first release."""
    op.create_table(
        "store_meta",
        sa.Column("one", sa.SmallInteger, autoincrement=False, nullable=False),
        sa.Column("store_id", sa.Text, nullable=False),
        sa.Column("head", sa.BigInteger, nullable=False),
        sa.Column("compacted_to", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("one", name="pk_store_meta"),
        sa.CheckConstraint("one = 1", name="ck_store_meta_row"),
        comment="one row; who locks it may commit",
    )
    op.create_table(
        "owners",
        sa.Column("owner", _TEXT, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("owner", name="pk_owners"),
    )
    op.create_table(
        "revisions",
        sa.Column("revision", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("owner", _TEXT, nullable=False),
        sa.Column(
            "parent", sa.BigInteger, nullable=False, comment="the owner's revision before this one"
        ),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("author", _TEXT, nullable=False),
        sa.Column("message", _TEXT, nullable=False),
        sa.Column("request_id", _TEXT, comment="null: none, and then it need not be unique"),
        sa.Column("upserts", sa.BigInteger, nullable=False),
        sa.Column("deletes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("revision", name="pk_revisions"),
        sa.ForeignKeyConstraint(["owner"], ["owners.owner"], name="fk_revisions_owner"),
        sa.UniqueConstraint("owner", "request_id", name="uq_revisions_owner_request_id"),
    )
    op.create_index("ix_revisions_owner_revision", "revisions", ["owner", "revision"])
    op.create_table(
        "changes",
        sa.Column("revision", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("kind", sa.SmallInteger, autoincrement=False, nullable=False),
        sa.Column("type", _TEXT, nullable=False),
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("owner", _TEXT, nullable=False),
        sa.Column("body", sa.Text, comment="canonical JSON; null: the item was removed"),
        sa.Column("before_revision", sa.BigInteger, comment="null: the item was not there"),
        sa.PrimaryKeyConstraint("revision", "kind", "type", "id", name="pk_changes"),
        sa.ForeignKeyConstraint(["owner"], ["owners.owner"], name="fk_changes_owner"),
        comment="compaction keeps what is needed to read at the earliest revision",
    )
    op.create_index(
        "ix_changes_owner_kind_type_id_revision",
        "changes",
        ["owner", "kind", "type", "id", "revision"],
    )
    op.create_table(
        "items",
        sa.Column("owner", _TEXT, nullable=False),
        sa.Column("kind", sa.SmallInteger, autoincrement=False, nullable=False),
        sa.Column("type", _TEXT, nullable=False),
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("owner", "kind", "type", "id", name="pk_items"),
        sa.ForeignKeyConstraint(["owner"], ["owners.owner"], name="fk_items_owner"),
    )
