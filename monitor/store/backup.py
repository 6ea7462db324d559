"""Copies of an SQLite file: whole, private, and consistent while others write. All of it blocks."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

from monitor.store.errors import StoreError, in_one_line

KEPT = 3
"""Copies that are kept of those made before a change of the schema."""


def keep_copy(path: Path, revision: str) -> Path:
    """Copy the file beside itself before its schema changes; the oldest of such copies go."""
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    target = path.with_name(f"{path.name}.schema-{revision}-{moment}")
    copy_sqlite(path, target)
    for old in sorted(path.parent.glob(f"{path.name}.schema-*"), key=_age)[:-KEPT]:
        old.unlink(missing_ok=True)
    return target


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a database to a new file, which is there whole or not at all. Raises StoreError."""
    try:
        with closing(sqlite3.connect(source, timeout=5.0)) as reader:
            copy_connection(reader, target)
    except sqlite3.Error as error:
        raise StoreError(f"it cannot be copied to {target}: {in_one_line(error)}") from error


def copy_connection(reader: sqlite3.Connection, target: Path) -> None:
    """The same with what is open already."""
    made = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        _copy(reader, made)
        os.link(made, target)  # unlike a rename, never over something that is there
    except FileExistsError:
        raise StoreError(f"{target} is there already: name another file") from None
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror}") from error
    except sqlite3.Error as error:
        raise StoreError(f"it cannot be copied to {target}: {in_one_line(error)}") from error
    finally:
        with suppress(OSError):
            made.unlink(missing_ok=True)


def _copy(reader: sqlite3.Connection, made: Path) -> None:
    with closing(sqlite3.connect(made)) as writer:
        reader.backup(writer)
        writer.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
    with made.open("rb") as written:
        os.fsync(written.fileno())


def _age(copy: Path) -> str:
    return copy.name.rpartition("-")[2]
