"""Opening the database file: what it must be, and how SQLite is told to work.

Two connections, used by one thread: history may lose its last second in a power failure
(`synchronous=NORMAL`), decisions may not (`FULL`: on disk before they count). A program that
holds the file for long must not hold up decisions behind history, so history gives up early
and tries again later.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import StaticPool
from sqlmodel import SQLModel

from monitor.history.tables import SCHEMA_VERSION

HISTORY_PATIENCE = 0.25
"""Seconds that history waits for a lock."""
DECISION_PATIENCE = 5.0
"""Seconds that a decision waits for a lock."""
CHECKED_UP_TO = 256 << 20
"""Larger files are not checked whole at start: that would take too long."""


class StoreError(Exception):
    """The store cannot be used, or could not do what was asked; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Database:
    """The two connections."""

    history: Engine
    decisions: Engine

    def close(self) -> None:
        """Close both."""
        self.history.dispose()
        self.decisions.dispose()


def open_database(url: str) -> Database:
    """Open or create the file; blocks. Raises StoreError."""
    path = _path_of(url)
    try:
        _create_privately(path)
        _check(path)
        database = Database(
            _engine(path, "NORMAL", HISTORY_PATIENCE), _engine(path, "FULL", DECISION_PATIENCE)
        )
    except OSError as error:
        raise StoreError(f"store.url: {path} cannot be opened: {error.strerror}") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(f"store.url: {path} cannot be used: {error}") from error
    return database


def _path_of(url: str) -> Path:
    if url.startswith("postgresql"):
        raise StoreError(
            "store.url: PostgreSQL is not supported by this version yet; use sqlite:///FILE"
        )
    name = url.removeprefix("sqlite:///")
    if name == url or not name or name.startswith(":"):
        raise StoreError('store.url: expected "sqlite:///FILE"')
    return Path(name)


def _create_privately(path: Path) -> None:
    """The file holds addresses of clients: only its owner may read it, WAL and all."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _check(path: Path) -> None:
    with closing(sqlite3.connect(path, timeout=DECISION_PATIENCE)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"store.url: {path} was written by a newer mirrorgate (schema {version}, "
                f"this one knows {SCHEMA_VERSION})"
            )
        if version == 0 and tables:
            raise StoreError(f"store.url: {path} is a database of something else")
        if path.stat().st_size <= CHECKED_UP_TO:
            _check_pages(connection, path)
        if not tables:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
    if not tables:
        _create_tables(path)


def _check_pages(connection: sqlite3.Connection, path: Path) -> None:
    found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    if found != "ok":
        detail = found.splitlines()[-1][:100]
        raise StoreError(f"store.url: {path} is damaged ({detail}); restore a backup")


def _create_tables(path: Path) -> None:
    engine = _engine(path, "FULL", DECISION_PATIENCE)
    try:
        with engine.begin() as connection:
            SQLModel.metadata.create_all(connection)
            connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
    finally:
        engine.dispose()


def _engine(path: Path, synchronous: str, patience: float) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=StaticPool,
        connect_args={"check_same_thread": False, "timeout": patience},
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.execute(f"PRAGMA synchronous = {synchronous}")

    return engine
