"""Issued keys and what they use; where a change came from.

Revision ID: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

SUMS = (
    "requests",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "images",
    "audio_ms",
    "characters",
    "cost",
)


def upgrade() -> None:
    """Create what is new."""
    op.add_column("audit", sa.Column("origin", sa.String(), nullable=False, server_default=""))
    _create_keys()
    _create_ledger()


def _create_keys() -> None:
    op.create_table(
        "issued_key",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("expires_at", sa.Float()),
        sa.Column("revoked_at", sa.Float()),
        sa.Column("revoked_by", sa.String(), nullable=False),
        sa.Column("rate", sa.Float(), nullable=False),
        sa.Column("models", sa.String(), nullable=False),
        sa.Column("quota", sa.BigInteger()),
        sa.Column("quota_tokens", sa.BigInteger()),
    )
    op.create_index("ix_issued_key_digest", "issued_key", ["digest"], unique=True)
    op.create_table(
        "secret",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("value", sa.String(), nullable=False),
    )


def _create_ledger() -> None:
    op.create_table(
        "use",
        sa.Column("key", sa.String(), primary_key=True),
        sa.Column("day", sa.String(), primary_key=True),
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("basis", sa.String(), primary_key=True),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in SUMS),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_batch",
        sa.Column("process", sa.String(), primary_key=True),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
    )
