"""The board of notices."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the table of what processes on one store tell each other."""
    op.create_table(
        "notices",
        sa.Column("topic", _TEXT, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False, comment="JSON"),
        sa.PrimaryKeyConstraint("topic", "name", name="pk_notices"),
        comment="what processes on one store tell each other; the last one counts",
    )
