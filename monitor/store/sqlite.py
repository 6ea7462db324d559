"""The store in one SQLite file, in WAL mode.

`synchronous=NORMAL` for history: on disk at the next checkpoint. `FULL` for decisions: on disk
before they count. Neither loses anything with the process, only with the power. A program that
holds the file for long must not hold up decisions behind history, so history gives up early and
tries again later.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool, StaticPool

from monitor.store import backup
from monitor.store.errors import StoreError, in_one_line
from monitor.store.schema import migrate, refuse_newer, revision_of
from monitor.store.tables import REVISION

log = logging.getLogger(__name__)

HISTORY_PATIENCE = 0.25
"""Seconds that history waits for a lock."""
DECISION_PATIENCE = 5.0
"""Seconds that a decision waits for a lock."""
CHECKED_UP_TO = 256 << 20
"""Larger files are not checked whole at start: that would take too long."""

READING_CACHE = "cache_size = -16384"
"""16 MiB hold the hours that pages ask for."""

FIRST_RELEASE = 1
"""What the first release wrote into `user_version`; it knew no other way to tell a revision."""
HAS_REVISION = 2
"""What is there since: the first release refuses it as written by a newer one."""


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """The file."""

    path: Path

    @classmethod
    def of(cls, url: str) -> SqliteFile:
        """The file that a URL names. Raises StoreError."""
        name = url.removeprefix("sqlite:///")
        if name == url or not name or name.startswith(":"):
            raise StoreError('store.url: expected "sqlite:///FILE" or "postgresql://…"')
        return cls(Path(name))

    def current(self) -> str:
        """Open or create it, and bring it to this version after keeping a copy."""
        self.upgrade()
        return REVISION

    def revision(self) -> str:
        """The revision of the tables, "" for none; the file is only read."""
        with self._named(), _connected(self.path, "&mode=ro") as connection:
            version = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
            revision = revision_of(connection, first=version == FIRST_RELEASE)
            refuse_newer(revision)
        return revision

    def upgrade(self) -> tuple[str, str]:
        """The same, telling what was done."""
        with self._named():
            self._create_privately()
            before = self._look()
            if before != REVISION:
                self._bring_up(before)
        return before, REVISION

    def backup(self, target: str) -> None:
        """Copy it, page by page, in one look."""
        with self._named():
            if not self.path.exists():
                raise StoreError("there is no such file to copy yet")
            backup.copy_sqlite(self.path, Path(target))

    def history(self) -> Engine:
        """For statistics: does not wait for the disk, nor long for others."""
        return _engine(self.path, HISTORY_PATIENCE, "synchronous = NORMAL")

    def decisions(self) -> Engine:
        """For what must not be lost: waits for the disk."""
        return _engine(self.path, DECISION_PATIENCE, "synchronous = FULL")

    def reading(self) -> Engine:
        """For questions: cannot change anything."""
        return _engine(self.path, DECISION_PATIENCE, "query_only = ON", READING_CACHE)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Failures, with the name of the file."""
        try:
            yield
        except StoreError as error:
            raise StoreError(f"store.url: {self.path}: {error}") from error
        except OSError as error:
            raise StoreError(
                f"store.url: {self.path} cannot be opened: {error.strerror}"
            ) from error
        except (sqlite3.Error, DatabaseError) as error:
            said = in_one_line(error.orig if isinstance(error, DatabaseError) else error)
            raise StoreError(f"store.url: {self.path} cannot be used: {said}") from error

    def _create_privately(self) -> None:
        """The file holds addresses of clients: only its owner may read it, WAL and all."""
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))

    def _look(self) -> str:
        """Make sure that it is ours and whole; its revision."""
        with closing(sqlite3.connect(self.path, timeout=DECISION_PATIENCE)) as connection:
            tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if tables and version not in (FIRST_RELEASE, HAS_REVISION):
                raise StoreError("it is a database of something else")
            revision = self._revision(version) if tables else ""
            refuse_newer(revision)
            if self.path.stat().st_size <= CHECKED_UP_TO:
                _check_pages(connection)
            if not tables:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
        return revision

    def _revision(self, version: int) -> str:
        with _connected(self.path) as connection:
            return revision_of(connection, first=version == FIRST_RELEASE)

    def _bring_up(self, before: str) -> None:
        copy = backup.keep_copy(self.path, before) if before else None
        with _connected(self.path) as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            migrate(connection, before)
            connection.exec_driver_sql(f"PRAGMA user_version = {HAS_REVISION}")
            connection.commit()
        if copy is not None:
            words = "the store is now of schema %s; a copy as it was before is %s"
            log.info(words, REVISION, copy)


@contextmanager
def _connected(path: Path, options: str = "") -> Iterator[Connection]:
    """A connection that begins a transaction only on request."""
    engine = create_engine(
        f"sqlite:///file:{quote(str(path))}?uri=true{options}",
        poolclass=NullPool,
        connect_args={"timeout": DECISION_PATIENCE, "isolation_level": None},
    )
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _check_pages(connection: sqlite3.Connection) -> None:
    found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    if found != "ok":
        raise StoreError(f"it is damaged ({found.splitlines()[-1][:100]}); restore a backup")


def _engine(path: Path, patience: float, *pragmas: str) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=StaticPool,
        connect_args={"check_same_thread": False, "timeout": patience},
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        for pragma in ("foreign_keys = ON", *pragmas):
            connection.execute(f"PRAGMA {pragma}")

    return engine
