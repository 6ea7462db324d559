"""Opening the store: what `store.url` names, whether it is ours, and whether it is current.

Three connections. History may lose its last second in a power failure; decisions may not: they
are on disk before they count. What is read for pages has a connection and a thread of its own, so
that a long question holds up neither. See `sqlite.py` and `postgresql.py` for each.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from monitor.store.errors import StoreError
from monitor.store.open_file import Memory, OpenFile, refuse_lost
from monitor.store.postgresql import PostgresqlDatabase
from monitor.store.sqlite import SqliteFile

__all__ = ["Database", "StoreError", "backend_of", "open_database"]


class Backend(Protocol):
    """A place that can hold the store. Every method blocks and raises StoreError."""

    def current(self) -> str:
        """Make sure that it can be used and has the tables of this version; the revision.

        Whatever may be changed without being asked is changed.
        """

    def revision(self) -> str:
        """The revision of the tables, "" for none; changes nothing."""

    def upgrade(self) -> tuple[str, str]:
        """Bring the tables to this version; the revisions before and after."""

    def backup(self, target: str) -> None:
        """Write a consistent copy to a file that is not there yet, whoever else is writing."""

    def history(self) -> Engine:
        """For statistics."""

    def decisions(self) -> Engine:
        """For what must not be lost once it was said."""

    def reading(self) -> Engine:
        """For questions."""


@dataclass(frozen=True, slots=True)
class Database:
    """The three connections. A method is called by the thread that writes."""

    history: Engine
    decisions: Engine
    reading: Engine
    file: OpenFile | None = None
    """Where there is one."""
    renew: Callable[[], object] = lambda: None
    """Makes the file current again once it was written anew."""
    being_read: Lock = field(default_factory=Lock)
    """Held while the connection is read, so that it is not closed meanwhile."""

    @property
    def problem(self) -> str:
        """The reason for which nothing is written; empty while nothing is known to be wrong."""
        return self.file.problem if self.file is not None else ""

    def ensure(self) -> None:
        """Make sure that what is written stays. Raises StoreError."""
        if self.file is not None:
            self.file.ensure(self._sqlite, self._reopen)

    def _sqlite(self) -> sqlite3.Connection:
        borrowed = self.decisions.raw_connection()
        connection: sqlite3.Connection | None = borrowed.driver_connection
        borrowed.close()  # back to its pool, where it stays open
        assert connection is not None
        return connection

    def _reopen(self) -> None:
        with self.being_read:
            self.close()
            self.renew()

    def close(self) -> None:
        """Close them."""
        for engine in (self.reading, self.history, self.decisions):
            engine.dispose()


def backend_of(url: str) -> Backend:
    """Return the database that a `store.url` names. Raises StoreError."""
    if url.startswith("postgresql"):
        return PostgresqlDatabase(url)
    return SqliteFile.of(url)


def open_database(url: str, memory: Memory | None = None) -> Database:
    """Open the store, and make it where that may be done unasked; blocks. Raises StoreError.

    `memory`: remembers the file from one process of an instance to the next.
    """
    backend = backend_of(url)
    if isinstance(backend, SqliteFile) and memory is not None:
        refuse_lost(backend.path, memory)
    backend.current()
    file = OpenFile(backend.path, memory) if isinstance(backend, SqliteFile) else None
    try:
        engines = (backend.history(), backend.decisions(), backend.reading())
        return Database(*engines, file, backend.current)
    except DBAPIError as error:
        raise StoreError(f"store.url: it cannot be used: {error.orig}") from error
