"""Mirrors as each vantage sees them now, and which older versions can use the tables.

Revision ID: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create what is new."""
    op.create_table(
        "vantage_view",
        sa.Column("vantage", sa.String(), primary_key=True),
        sa.Column("mirror", sa.String(), primary_key=True),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
    )
    op.create_table("compatibility", sa.Column("oldest", sa.String(), primary_key=True))
