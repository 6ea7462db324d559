"""The file of an SQLite database that is open: noticed when it is removed or replaced.

What is open goes on without a name then, and ends with the process. So before anything is written,
and with every renewal of the lease, the file's identity is compared:

    removed  -> written anew, whole, from what is still open
    replaced -> what is open is kept in a copy; nothing is written until a restart, which uses the
                file that is there

Its log belongs to the former file: SQLite would apply it to the new one.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from monitor.store.backup import copy_connection
from monitor.store.errors import StoreError

log = logging.getLogger(__name__)

RETRY_AFTER = 5.0
"""Seconds between two tries to write a removed file anew."""
_LOGS = ("-wal", "-shm")

Identity = tuple[int, int]
"""Device and inode."""


class OpenFile:
    """The file, as it was when it was opened. Every method blocks; only one thread calls them."""

    def __init__(self, path: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._monotonic = monotonic
        self._opened = _identity(path)
        self._retry_at = float("-inf")
        self.problem = ""
        """Why nothing is written at present."""

    def __repr__(self) -> str:
        return f"<OpenFile {self._path} {self.problem}>"

    def ensure(
        self, connection: Callable[[], sqlite3.Connection], reopen: Callable[[], None]
    ) -> None:
        """Make sure that what is written gets into the file; raises StoreError if it would not.

        `connection` gives one to what is open; `reopen` ends all of them, and has the next ones
        begin with the file that is there.
        """
        found = _identity(self._path)
        if found == self._opened:
            if self.problem:
                log.warning("store.url: %s is in its place again", self._path)
                self.problem = ""
        elif found is None:
            self._restore(connection, reopen)
        else:
            self._refuse(connection)

    def _restore(
        self, connection: Callable[[], sqlite3.Connection], reopen: Callable[[], None]
    ) -> None:
        now = self._monotonic()
        if now < self._retry_at:
            raise StoreError(self.problem)
        self._retry_at = now + RETRY_AFTER
        try:
            for suffix in _LOGS:
                _beside(self._path, suffix).unlink(missing_ok=True)
            copy_connection(connection(), self._path)
            reopen()
        except (OSError, StoreError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            self._fail(f"it was removed while in use, and cannot be written anew: {why}")
        self._opened = _identity(self._path)
        self._retry_at = float("-inf")
        self.problem = ""
        words = "store.url: %s was removed while in use; it was written anew, with all that it held"
        log.error(words, self._path)

    def _refuse(self, connection: Callable[[], sqlite3.Connection]) -> None:
        if self.problem:
            raise StoreError(self.problem)
        for suffix in _LOGS:
            log_file = _beside(self._path, suffix)
            if _is_open_here(log_file):
                log_file.unlink(missing_ok=True)
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        copy = _beside(self._path, f".replaced-{moment}")
        try:
            copy_connection(connection(), copy)
            kept = f"what it held is in {copy}"
        except StoreError as error:
            kept = f"what it held could not be kept ({error})"
        self._fail(
            f"it was replaced while in use, so nothing is written; {kept}; restart to use the "
            "file that is there"
        )

    def _fail(self, what: str) -> None:
        sentence = f"store.url: {self._path}: {what}"
        if sentence != self.problem:
            log.error("%s", sentence)
        self.problem = sentence
        raise StoreError(sentence)


def _identity(path: Path) -> Identity | None:
    """Which file has this name; None: none, or nobody can tell."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _is_open_here(path: Path) -> bool:
    """True if this process has opened the file of this name."""
    wanted = _identity(path)
    if wanted is None:
        return False
    for name in os.listdir("/proc/self/fd"):
        try:
            found = os.fstat(int(name))
        except OSError:
            continue  # closed meanwhile
        if (found.st_dev, found.st_ino) == wanted:
            return True
    return False
