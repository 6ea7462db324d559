"""Operators' words on incidents, and planned maintenance.

Revision ID: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create what is new."""
    op.create_table(
        "incident_edit",
        sa.Column("incident", sa.String(), primary_key=True),
        sa.Column("zh", sa.String(), nullable=False),
        sa.Column("en", sa.String(), nullable=False),
        sa.Column("impact", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
    )
    op.create_table(
        "incident_update",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("about", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("zh", sa.String(), nullable=False),
        sa.Column("en", sa.String(), nullable=False),
    )
    op.create_index("ix_incident_update_about", "incident_update", ["about"])
    op.create_table(
        "maintenance",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("zh", sa.String(), nullable=False),
        sa.Column("en", sa.String(), nullable=False),
        sa.Column("mirrors", sa.String(), nullable=False),
        sa.Column("starts_at", sa.Float(), nullable=False),
        sa.Column("ends_at", sa.Float(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.Column("began_at", sa.Float()),
        sa.Column("ended_at", sa.Float()),
    )
    op.create_index("ix_maintenance_starts_at", "maintenance", ["starts_at"])
