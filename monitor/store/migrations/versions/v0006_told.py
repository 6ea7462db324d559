"""Conditions that operators were told of.

Revision ID: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create what is new."""
    op.create_table(
        "told",
        sa.Column("vantage", sa.String(), primary_key=True),
        sa.Column("kind", sa.String(), primary_key=True),
        sa.Column("subject", sa.String(), primary_key=True),
        sa.Column("level", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
    )
