"""Roll-ups, incidents and leases; samples of several vantages beside each other.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

BUCKETS = {"rollup_5m": 300, "rollup_hour": 3600}
SPEAKS_FOR_MS = 60_000
"""What a sample of the first release speaks for at most: four of its intervals."""


def upgrade() -> None:
    """Create what is new, and sum up the samples that there are."""
    _renew_samples()
    for name, seconds in BUCKETS.items():
        _create_rollup(name)
        _sum_up(name, seconds)
    _create_incidents()
    _create_leases()


def _renew_samples() -> None:
    """The vantage becomes a part of the key, so the table is written anew."""
    op.rename_table("sample", "sample_of_0001")
    op.create_table(
        "sample",
        sa.Column("mirror", sa.String(), primary_key=True),
        sa.Column("vantage", sa.String(), primary_key=True),
        sa.Column("at_ms", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("ok", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("resolve_us", sa.Integer()),
        sa.Column("connect_us", sa.Integer()),
        sa.Column("tls_us", sa.Integer()),
        sa.Column("first_byte_us", sa.Integer()),
        sqlite_with_rowid=False,
    )
    columns = (
        "mirror, vantage, at_ms, ok, state, verdict, resolve_us, connect_us, tls_us, first_byte_us"
    )
    op.execute(f"INSERT INTO sample ({columns}) SELECT {columns} FROM sample_of_0001")
    op.drop_table("sample_of_0001")


def _create_rollup(name: str) -> None:
    op.create_table(
        name,
        sa.Column("start", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("mirror", sa.String(), primary_key=True),
        sa.Column("vantage", sa.String(), primary_key=True),
        sa.Column("up_ms", sa.Integer(), nullable=False),
        sa.Column("degraded_ms", sa.Integer(), nullable=False),
        sa.Column("down_ms", sa.Integer(), nullable=False),
        sa.Column("maintenance_ms", sa.Integer(), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sqlite_with_rowid=False,
    )


def _sum_up(name: str, seconds: int) -> None:
    """A sample speaks until the next one, and not for longer than `SPEAKS_FOR_MS`."""
    sums = ", ".join(
        f"SUM(CASE WHEN state = '{state}' THEN ms ELSE 0 END)"
        for state in ("up", "degraded", "down", "maintenance")
    )
    op.execute(f"""
        INSERT INTO {name}
        SELECT start, mirror, vantage, {sums}, COUNT(*), SUM(CASE WHEN ok THEN 0 ELSE 1 END)
        FROM (
            SELECT mirror, vantage, ok, state,
                   at_ms / 1000 - at_ms / 1000 % {seconds} AS start,
                   CASE WHEN next - at_ms <= {SPEAKS_FOR_MS} THEN next - at_ms
                        WHEN next IS NULL THEN 0
                        ELSE {SPEAKS_FOR_MS} END AS ms
            FROM (
                SELECT mirror, vantage, ok, state, at_ms,
                       LEAD(at_ms) OVER (PARTITION BY mirror, vantage ORDER BY at_ms) AS next
                FROM sample
            ) AS beside
        ) AS spoken
        GROUP BY start, mirror, vantage
    """)


def _create_incidents() -> None:
    op.create_table(
        "incident",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("vantage", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("cdn", sa.String(), nullable=False),
        sa.Column("impact", sa.String(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("resolved_at", sa.Float()),
        sa.Column("updated_at", sa.Float(), nullable=False),
    )
    op.create_index("ix_incident_started_at", "incident", ["started_at"])
    op.create_table(
        "incident_mirror",
        sa.Column("incident", sa.String(), sa.ForeignKey("incident.id"), primary_key=True),
        sa.Column("mirror", sa.String(), primary_key=True),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("until", sa.Float()),
        sa.Column("times", sa.Integer(), nullable=False),
    )


def _create_leases() -> None:
    op.create_table(
        "lease",
        sa.Column("vantage", sa.String(), primary_key=True),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("renewed_at", sa.Float(), nullable=False),
    )
