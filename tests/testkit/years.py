"""A store with a long history, written at once."""

import sqlite3
from contextlib import closing
from pathlib import Path

from monitor.health.uptime import DAY, FIVE_MINUTES, HOUR
from monitor.store.sqlite import SqliteFile

NOW = 1_795_251_600.0


def fill(path: Path, mirrors: int, hours_of_days: int, five_minutes_of_days: int) -> None:
    """So many mirrors, each up for all but a minute of every hour, for so many days before NOW."""
    SqliteFile(path).upgrade()
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
                    SELECT {int(NOW) // size * size - days * DAY}
                    UNION ALL SELECT start + {size} FROM bucket WHERE start + {size} < {int(NOW)}
                  ),
                  mirror(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM mirror WHERE n < {mirrors})
                INSERT INTO {table}
                SELECT start, 'm' || n, 'here', {size - 5} * 1000, 0, 5000, 0, {size // 15}, 1
                FROM bucket, mirror
                """
            )
        connection.commit()
