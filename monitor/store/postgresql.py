"""The store in a PostgreSQL database, through psycopg 3.

A database of others' is changed only when an operator says so: `mirrorgate db upgrade`. History
is committed with `synchronous_commit = off`, as it may lose its last second with the server's
power; decisions wait for the disk.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from monitor.store.errors import StoreError, in_one_line
from monitor.store.schema import migrate, oldest_user, refuse_newer, revision_of
from monitor.store.tables import REVISION

log = logging.getLogger(__name__)

CONNECT_WITHIN = 5
"""Seconds for a connection."""
ANSWERS_WITHIN = 30_000
"""Milliseconds for a statement, the waiting for locks included."""
LONGEST_BACKUP = 3600.0
UPGRADE_LOCK = 0x6D697272
"""Held while the tables change, so that two upgrades wait for each other."""


class PostgresqlDatabase:
    """The database that a URL names."""

    def __init__(self, url: str) -> None:
        if importlib.util.find_spec("psycopg") is None:
            raise StoreError(
                "store.url: PostgreSQL needs psycopg: pip install 'psycopg[binary]', "
                'or install mirrorgate with its extra "postgresql"'
            )
        try:
            parsed = make_url(url)
        except ArgumentError:
            raise StoreError("store.url: expected postgresql://USER@HOST/DATABASE") from None
        self._url: URL = parsed.set(drivername="postgresql+psycopg")

    def revision(self) -> str:
        """The revision of the tables, "" for none."""
        with self._named(), self._connected() as connection:
            revision = revision_of(connection)
            refuse_newer(revision, oldest_user(connection) if revision > REVISION else "")
        return revision

    def current(self) -> str:
        """Refuse a database whose tables this version cannot use: those of a newer one it can,
        unless that says otherwise."""
        revision = self.revision()
        if revision > REVISION:
            log.warning(
                "%s has schema %s of a newer mirrorgate, which this one (%s) can use: "
                "upgrade this one too",
                self._place(),
                revision,
                REVISION,
            )
        if revision < REVISION:
            found = f"has schema {revision}" if revision else "has no tables yet"
            raise StoreError(
                f"store.url: the database {found}, this version needs {REVISION}: "
                "run `mirrorgate db upgrade` (after `mirrorgate db backup FILE`)"
            )
        return revision

    def upgrade(self) -> tuple[str, str]:
        """Create or change the tables."""
        with self._named(), self._connected() as connection, connection.begin():
            connection.execute(text(f"SELECT pg_advisory_xact_lock({UPGRADE_LOCK})"))
            before = revision_of(connection)
            refuse_newer(before)
            if before != REVISION:
                migrate(connection, before)
        return before, REVISION

    def backup(self, target: str) -> None:
        """Have pg_dump write an archive, for pg_restore."""
        program = shutil.which("pg_dump")
        if program is None:
            raise StoreError("pg_dump is not here: apt-get install postgresql-client")
        made = Path(f"{target}.{os.getpid()}.part")
        try:
            os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            self._dump(program, made)
            os.link(made, target)
        except FileExistsError:
            raise StoreError(f"{target} is there already: name another file") from None
        except OSError as error:
            raise StoreError(f"{target} cannot be written: {error.strerror}") from error
        finally:
            made.unlink(missing_ok=True)

    def history(self) -> Engine:
        """For statistics: does not wait for the server's disk."""
        return self._engine("-c synchronous_commit=off")

    def decisions(self) -> Engine:
        """For what must not be lost."""
        return self._engine("-c synchronous_commit=on")

    def reading(self) -> Engine:
        """For questions: cannot change anything."""
        return self._engine("-c default_transaction_read_only=on")

    def _engine(self, options: str) -> Engine:
        """One connection, opened anew when the server has closed it."""
        options = f"{options} -c statement_timeout={ANSWERS_WITHIN}"
        return create_engine(
            self._url,
            pool_size=1,
            max_overflow=0,
            pool_pre_ping=True,
            connect_args={**_connecting(), "options": options},
        )

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        engine = create_engine(self._url, poolclass=NullPool, connect_args=_connecting())
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Failures as one sentence, which never holds the password."""
        try:
            yield
        except StoreError as error:
            raise StoreError(f"store.url: {self._place()}: {error}") from error
        except DBAPIError as error:
            said = in_one_line(error.orig)
            raise StoreError(f"store.url: {self._place()} cannot be used: {said}") from error

    def _place(self) -> str:
        return f"the database {self._url.database or ''} at {self._url.host or 'this machine'}"

    def _dump(self, program: str, made: Path) -> None:
        """The password goes through the environment: arguments can be read by others."""
        url, environment = self._url, dict(os.environ)
        if url.password is not None:
            environment["PGPASSWORD"] = str(url.password)
        plain = URL.create(
            "postgresql", url.username, None, url.host, url.port, url.database, url.query
        )
        command = [program, "--format=custom", f"--file={made}", "--no-password"]
        try:
            done = subprocess.run(
                [*command, f"--dbname={plain.render_as_string()}"],
                env=environment,
                capture_output=True,
                text=True,
                timeout=LONGEST_BACKUP,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise StoreError(f"pg_dump did not end within {LONGEST_BACKUP:g} s") from None
        if done.returncode:
            raise StoreError(f"pg_dump failed: {in_one_line(done.stderr)}")


def _connecting() -> dict[str, object]:
    """Arguments of every connection; one whose other end is gone is noticed within a minute."""
    return {
        "connect_timeout": CONNECT_WITHIN,
        "application_name": "mirrorgate",
        "keepalives_idle": 20,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
    }
