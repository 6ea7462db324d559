"""Incidents that operators open by hand.

Revision ID: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create what is new."""
    op.create_table(
        "manual_incident",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("zh", sa.String(), nullable=False),
        sa.Column("en", sa.String(), nullable=False),
        sa.Column("impact", sa.String(), nullable=False),
        sa.Column("mirrors", sa.String(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("resolved_at", sa.Float()),
    )
    op.create_index("ix_manual_incident_started_at", "manual_incident", ["started_at"])
