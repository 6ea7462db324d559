"""Stores after years of business: very many bans, issued keys and a long history."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import insert
from sqlmodel import Session, SQLModel

from monitor.health.uptime import DAY, FIVE_MINUTES, HOUR
from monitor.store.database import open_database
from monitor.store.sqlite import SqliteFile
from monitor.store.tables import BanRow, IssuedKeyRow
from router.admission.ban_list import pieces
from router.forwarding.context import WorkerContext

HISTORY_END = 1_795_251_600.0


def banned_address(number: int) -> str:
    """The address of this ban."""
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def fill_bans(url: str, many: int) -> None:
    """Ban so many addresses."""
    now = time.time()
    rows = [
        {
            "id": f"{number:012x}",
            "network": f"{banned_address(number)}/32",
            "since": now - number,
            "until": now + 86400,
            "reason": "rate_limit_exceeded",
            "by": "automatic",
            "user_agent": "python-requests/2.31.0",
            "count": 1,
        }
        for number in range(many)
    ]
    _insert(url, BanRow, rows)


def fill_keys(url: str, many: int) -> None:
    """Issue so many keys, which nobody knows."""
    now = time.time()
    rows = [
        {
            "id": f"k{number:012x}",
            "name": f"customer {number}",
            "digest": f"{number:032x}",
            "created_at": 1.0,
            "created_by": "alice",
            "expires_at": now + number + 86400,
            "revoked_at": None,
            "revoked_by": "",
            "rate": 2.5,
            "models": "gpt-4o*,o3",
            "quota": 10**10 + number,
            "quota_tokens": 10**6 + number,
        }
        for number in range(many)
    ]
    _insert(url, IssuedKeyRow, rows)


def _insert(url: str, table: type[SQLModel], rows: Sequence[dict[str, Any]]) -> None:
    database = open_database(url)
    try:
        with Session(database.decisions) as session:
            session.connection().execute(insert(table), rows)
            session.commit()
    finally:
        database.close()


def ban_in(context: WorkerContext, many: int) -> None:
    """Tell a worker's plane of these bans, as control would."""
    rows = [
        (f"{banned_address(number)}/32", 1e12, f"{number:012x}", "rate_limit_exceeded")
        for number in range(many)
    ]
    for piece in pieces(rows):
        context.bans.extend(piece)


def fill_history(path: Path, mirrors: int, hours_of_days: int, five_minutes_of_days: int) -> None:
    """So many mirrors, each up for all but a minute of every hour, for so many days before NOW."""
    SqliteFile(path).upgrade()
    end = int(HISTORY_END)
    tables = (
        ("rollup_hour", HOUR, hours_of_days),
        ("rollup_5m", FIVE_MINUTES, five_minutes_of_days),
    )
    with closing(sqlite3.connect(path)) as connection:
        for table, size, days in tables:
            connection.execute(
                f"""
                WITH RECURSIVE
                  bucket(start) AS (
                    SELECT {end // size * size - days * DAY}
                    UNION ALL SELECT start + {size} FROM bucket WHERE start + {size} < {end}
                  ),
                  mirror(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM mirror WHERE n < {mirrors})
                INSERT INTO {table}
                SELECT start, 'm' || n, 'here', {size - 5} * 1000, 0, 5000, 0, {size // 15}, 1,
                       {size // 15}, 0, 30000 * {size // 15}, 60000 * {size // 15},
                       180000 * {size // 15}
                FROM bucket, mirror
                """
            )
        connection.commit()
