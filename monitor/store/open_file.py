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
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from monitor.store.backup import copy_connection
from monitor.store.errors import StoreError

log = logging.getLogger(__name__)

RETRY_AFTER = 5.0
"""Seconds between two tries to write a removed file anew."""
_LOGS = ("-wal", "-shm")
_RESTORED = "store.url: %s was removed while in use; it was written anew, with all that it held"
_RENEWED = "store.url: the log of %s was removed while in use; the file was written anew"

Identity = tuple[int, int]
"""Device and inode."""


class Space(NamedTuple):
    """Room on a disk, in bytes."""

    used: int
    """By the file and its log."""
    free: int
    """Left for those who may not use the reserve."""


class Memory(Protocol):
    """A place that outlives the process which has the file open."""

    store_file: Identity | None
    """The file that is open, or was when the process ended."""


def refuse_lost(path: Path, memory: Memory) -> None:
    """Compare the file with the one that an earlier process of this instance had open.

    Raises StoreError where it is gone: an empty one in its place would lift every ban and forget
    every key without a word. The log of a former file is put aside.
    """
    former, path = memory.store_file, path.resolve()
    found = _identity(path)
    if former is None or found == former:
        return
    if found is None:
        raise StoreError(
            f"store.url: {path} was removed while in use: put it back, or stop mirrorgate and "
            "start it again to begin with an empty one"
        )
    aside = _beside(path, f".replaced-{_moment()}")
    for suffix in _LOGS:
        log_file = _beside(path, suffix)
        if log_file.exists():
            log_file.rename(_beside(aside, suffix))
    log.error("store.url: %s was replaced while in use; the file that is there is used", path)


class OpenFile:
    """The file, as it was when it was opened. Every method blocks; only one thread calls them."""

    def __init__(
        self,
        path: Path,
        memory: Memory | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path.resolve()  # SQLite's logs lie beside the file, not beside a link to it
        self._memory = memory
        self._monotonic = monotonic
        self._opened: Identity | None = None
        self._note()
        self._retry_at = float("-inf")
        self.problem = ""
        """Why nothing is written at present."""

    def __repr__(self) -> str:
        return f"<OpenFile {self._path} {self.problem}>"

    def space(self) -> Space:
        """Return the size of the file and the free room beside it. Raises OSError."""
        disk = os.statvfs(self._path.parent)
        files = (self._path, *(_beside(self._path, suffix) for suffix in _LOGS))
        used = sum(file.stat().st_size for file in files if file.exists())
        return Space(used, disk.f_bavail * disk.f_frsize)

    def ensure(
        self, connection: Callable[[], sqlite3.Connection], reopen: Callable[[], None]
    ) -> None:
        """Make sure that what is written gets into the file; raises StoreError if it would not.

        `connection` gives one to what is open; `reopen` ends all of them, and has the next ones
        begin with the file that is there.
        """
        found = _identity(self._path)
        if found == self._opened and self._log_is_lost():
            self._write_anew(
                lambda: self._renew(connection()),
                reopen,
                "its log was removed while in use, and it",
                _RENEWED,
            )
        elif found == self._opened:
            if self.problem:
                log.warning("store.url: %s is back", self._path)
                self.problem = ""
        elif found is None:
            self._write_anew(
                lambda: self._restore(connection()),
                reopen,
                "it was removed while in use, and",
                _RESTORED,
            )
        else:
            self._refuse(connection)

    def _write_anew(
        self, write: Callable[[], None], reopen: Callable[[], None], failed: str, done: str
    ) -> None:
        """Put what is open in the file's place, at most every `RETRY_AFTER` seconds."""
        now = self._monotonic()
        if now < self._retry_at:
            raise StoreError(self.problem)
        self._retry_at = now + RETRY_AFTER
        try:
            write()
            self._note()
            reopen()
        except (OSError, StoreError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            self._fail(f"{failed} cannot be written anew: {why}")
        self._retry_at = float("-inf")
        self.problem = ""
        log.error(done, self._path)

    def _restore(self, connection: sqlite3.Connection) -> None:
        self._drop_logs()
        copy_connection(connection, self._path)

    def _renew(self, connection: sqlite3.Connection) -> None:
        """Put a copy in the place of the file, which stays beside it."""
        copy = _beside(self._path, f".renewed-{_moment()}")
        copy_connection(connection, copy)
        os.link(self._path, _beside(self._path, f".without-log-{_moment()}"))
        self._drop_logs()
        copy.rename(self._path)

    def _drop_logs(self) -> None:
        for suffix in _LOGS:
            _beside(self._path, suffix).unlink(missing_ok=True)

    def _log_is_lost(self) -> bool:
        """True if the log that is open here has no name any more."""
        name = _beside(self._path, "-wal")
        if name.exists():
            return False
        return any(target == f"{name} (deleted)" for target in _open_names())

    def _note(self) -> None:
        self._opened = _identity(self._path)
        if self._memory is not None:
            self._memory.store_file = self._opened

    def _refuse(self, connection: Callable[[], sqlite3.Connection]) -> None:
        if self.problem:
            raise StoreError(self.problem)
        for suffix in _LOGS:
            log_file = _beside(self._path, suffix)
            if _is_open_here(log_file):
                log_file.unlink(missing_ok=True)
        copy = _beside(self._path, f".replaced-{_moment()}")
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
    """The file that has this name; None: none, or nobody can tell."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _moment() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")


def _open_names() -> Iterator[str]:
    """The names of all files that this process has open."""
    for fd in os.listdir("/proc/self/fd"):
        try:
            yield os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue  # closed meanwhile


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
