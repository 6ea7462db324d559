"""The revision of the tables, and the way to the newest one. All of it blocks.

The steps are in `migrations/versions/`. All that are missing are taken in one transaction: the
store is as it was or as it should be, whenever the power fails.
"""

from __future__ import annotations

import logging
import re
from importlib import resources

from sqlalchemy import Connection, delete, insert, inspect, text
from sqlmodel import SQLModel, select

from monitor.store.errors import StoreError
from monitor.store.tables import OLDEST, REVISION, CompatibilityRow

VERSION_TABLE = "alembic_version"


def revision_of(connection: Connection, first: bool = False) -> str:
    """The revision of the tables; empty when there are none.

    `first`: tables without a revision are the first release's. Raises StoreError.
    """
    tables = set(inspect(connection).get_table_names())
    if VERSION_TABLE in tables:
        found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars().all()
        if len(found) == 1 and re.fullmatch(r"[0-9]{4}", str(found[0])):
            return str(found[0])
    elif first:
        return "0001"
    if tables & (SQLModel.metadata.tables.keys() | {VERSION_TABLE}):
        raise StoreError("it is a database of something else")
    return ""


def oldest_user(connection: Connection) -> str:
    """The oldest revision whose instances can use the tables."""
    found = connection.execute(select(CompatibilityRow.oldest)).scalar()
    return found or revision_of(connection)


def refuse_newer(revision: str, oldest: str = "") -> None:
    """Raises StoreError for a revision that this version does not know, unless its tables can be
    used from `oldest` on."""
    if revision > REVISION and not "" < oldest <= REVISION:
        raise StoreError(
            f"it was written by a newer mirrorgate (schema {revision}, this one knows {REVISION}): "
            "install that one again, or restore a backup"
        )


def migrate(connection: Connection, revision: str) -> None:
    """Take the steps from `revision` to the newest, in the transaction that is open."""
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it names its plugins one by one
    from alembic.config import Config  # most starts have nothing to do here
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    with resources.as_file(resources.files("monitor.store") / "migrations") as folder:
        script = ScriptDirectory(str(folder))
        if revision:
            _stamp(connection, revision)
        environment = EnvironmentContext(
            Config(), script, fn=lambda rev, _: script._upgrade_revs("head", rev)
        )
        with environment:
            environment.configure(connection=connection, transactional_ddl=True)
            environment.run_migrations()
    connection.execute(delete(CompatibilityRow))
    connection.execute(insert(CompatibilityRow), [{"oldest": OLDEST}])


def _stamp(connection: Connection, revision: str) -> None:
    """Note the revision of tables that have none yet."""
    if VERSION_TABLE not in inspect(connection).get_table_names():
        connection.execute(
            text(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
        )
        connection.execute(text(f"INSERT INTO {VERSION_TABLE} VALUES (:it)"), {"it": revision})
