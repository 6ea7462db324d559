"""Latency in the roll-ups; the downtime of a mirror in an incident apart from its span.

Revision ID: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

SUMS = ("answers", "resolve_us", "connect_us", "tls_us", "first_byte_us")
BUCKETS = {"rollup_5m": 300, "rollup_hour": 3600}


def upgrade() -> None:
    """Create what is new, and sum up the samples that there are."""
    for name, seconds in BUCKETS.items():
        for column in SUMS:
            added = sa.Column(column, sa.BigInteger(), nullable=False, server_default="0")
            op.add_column(name, added)
        _sum_up(name, seconds)
    op.add_column("incident_mirror", sa.Column("fell_at", sa.Float()))
    op.add_column("incident_mirror", sa.Column("down_ms", sa.BigInteger()))
    # Of what went down several times nobody knows any more for how long each time.
    op.execute(
        "UPDATE incident_mirror SET down_ms = CASE WHEN until IS NULL THEN 0 "
        "ELSE CAST((until - since) * 1000 AS BIGINT) END WHERE times = 1"
    )
    op.execute("UPDATE incident_mirror SET fell_at = since WHERE until IS NULL AND times = 1")


def _sum_up(name: str, seconds: int) -> None:
    """Only where a sample is: buckets without one have nothing to add."""
    phases = SUMS[1:]
    sums = ", ".join(f"SUM(COALESCE({phase}, 0)) AS {phase}" for phase in phases)
    op.execute(f"""
        CREATE TEMPORARY TABLE latency_of_samples AS
        SELECT at_ms / 1000 - at_ms / 1000 % {seconds} AS start, mirror, vantage,
               COUNT(*) AS answers, {sums}
        FROM sample WHERE ok AND first_byte_us IS NOT NULL
        GROUP BY at_ms / 1000 - at_ms / 1000 % {seconds}, mirror, vantage
    """)
    op.execute("CREATE INDEX by_bucket ON latency_of_samples (start, mirror, vantage)")
    same = " AND ".join(f"{name}.{key} = s.{key}" for key in ("start", "mirror", "vantage"))
    assigned = ", ".join(
        f"{column} = (SELECT s.{column} FROM latency_of_samples AS s WHERE {same})"
        for column in SUMS
    )
    op.execute(
        f"UPDATE {name} SET {assigned} "
        f"WHERE EXISTS (SELECT 1 FROM latency_of_samples AS s WHERE {same})"
    )
    op.execute("DROP TABLE latency_of_samples")
