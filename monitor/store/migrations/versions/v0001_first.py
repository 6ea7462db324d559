"""The tables of the first release, as it made them without a revision.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "sample",
        sa.Column("mirror", sa.String(), primary_key=True),
        sa.Column("at_ms", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("vantage", sa.String(), nullable=False),
        sa.Column("ok", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("resolve_us", sa.Integer()),
        sa.Column("connect_us", sa.Integer()),
        sa.Column("tls_us", sa.Integer()),
        sa.Column("first_byte_us", sa.Integer()),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "transition",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("mirror", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("vantage", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
    )
    op.create_index("ix_transition_mirror", "transition", ["mirror"])
    _create_decisions()


def _create_decisions() -> None:
    op.create_table(
        "ban",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("network", sa.String(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("until", sa.Float()),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("user_agent", sa.String(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("lifted_at", sa.Float()),
        sa.Column("lifted_by", sa.String(), nullable=False),
    )
    op.create_index("ix_ban_network", "ban", ["network"])
    op.create_table(
        "allowance",
        sa.Column("network", sa.String(), primary_key=True),
        sa.Column("until", sa.Float()),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
    )
    op.create_table(
        "wish",
        sa.Column("mirror", sa.String(), primary_key=True),
        sa.Column("wish", sa.String(), nullable=False),
        sa.Column("until", sa.Float()),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("what", sa.String(), nullable=False),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
