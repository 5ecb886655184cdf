"""What a store needs that many nodes share: leaders, and long texts in PostgreSQL."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the tables of leaders and of long texts."""
    op.create_table(
        "long_texts",
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("body", _TEXT, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_long_texts"),
        comment="what stands in the other tables as a digest; none in sqlite",
    )
    op.create_table(
        "leaders",
        sa.Column("role", _TEXT, nullable=False),
        sa.Column("term", sa.BigInteger, nullable=False),
        sa.Column("holder", _TEXT, nullable=False),
        sa.PrimaryKeyConstraint("role", name="pk_leaders"),
        comment="who leads; a higher term makes the ones below it void",
    )
