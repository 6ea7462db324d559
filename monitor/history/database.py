"""Opening the store: what `store.url` names, whether it is ours, and whether it is current.

Three connections. History may lose its last second in a power failure; decisions may not: they
are on disk before they count. What is read for pages has a connection and a thread of its own, so
that a long question holds up neither. See `sqlite.py` and `postgresql.py` for how each is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from monitor.history.errors import StoreError
from monitor.history.postgresql import PostgresqlDatabase
from monitor.history.sqlite import SqliteFile

__all__ = ["Database", "StoreError", "backend_of", "open_database"]


class Backend(Protocol):
    """A place that can hold the store. Every method blocks and raises StoreError."""

    def current(self) -> str:
        """Make sure that it can be used and has the tables of this version; the revision.

        Whatever may be changed without being asked is changed.
        """

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
    """The three connections."""

    history: Engine
    decisions: Engine
    reading: Engine

    def close(self) -> None:
        """Close them."""
        for engine in (self.reading, self.history, self.decisions):
            engine.dispose()


def backend_of(url: str) -> Backend:
    """What a `store.url` names. Raises StoreError."""
    if url.startswith("postgresql"):
        return PostgresqlDatabase(url)
    return SqliteFile.of(url)


def open_database(url: str) -> Database:
    """Open the store, and make it where that may be done unasked; blocks. Raises StoreError."""
    backend = backend_of(url)
    backend.current()
    try:
        return Database(backend.history(), backend.decisions(), backend.reading())
    except DBAPIError as error:
        raise StoreError(f"store.url: it cannot be used: {error.orig}") from error
