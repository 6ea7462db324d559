"""Copies of a whole store into another database, of either kind. All of it blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlmodel import SQLModel

from monitor.store.database import backend_of
from monitor.store.errors import StoreError, in_one_line
from monitor.store.schema import refuse_newer
from monitor.store.tables import CompatibilityRow, LeaseRow, ViewRow

AT_ONCE = 1_000
"""Rows of one statement."""
_OF_EACH_STORE = {str(row.__tablename__) for row in (LeaseRow, ViewRow, CompatibilityRow)}
"""Who writes at present, who sees what, and who can use the tables: the copy has its own."""


def transfer(source: str, target: str) -> Mapping[str, int]:
    """Copy all rows, wholly or not at all; returns how many, by table.

    The target gets the tables of this version and must hold no row: neither is what is there
    mixed with what comes, nor overwritten. Raises StoreError.
    """
    refuse_newer(backend_of(source).current())
    destination = backend_of(target)
    destination.upgrade()
    reading, writing = backend_of(source).reading(), destination.decisions()
    try:
        with reading.connect() as source_rows, writing.begin() as copy:
            tables = [t for t in SQLModel.metadata.sorted_tables if t.name not in _OF_EACH_STORE]
            _refuse_used(copy, tables)
            return {table.name: _copy(source_rows, copy, table) for table in tables}
    except DBAPIError as error:
        raise StoreError(f"the copy failed: {in_one_line(error.orig)}") from error
    except SQLAlchemyError as error:
        raise StoreError(f"the copy failed: {type(error).__name__}") from error
    finally:
        reading.dispose()
        writing.dispose()


def _refuse_used(copy: Connection, tables: Sequence[Table]) -> None:
    for table in tables:
        if copy.execute(select(1).select_from(table).limit(1)).first() is not None:
            raise StoreError(
                f"the target holds rows already (in {table.name}): name an empty database"
            )


def _copy(source: Connection, copy: Connection, table: Table) -> int:
    total = 0
    for rows in _pieces(source, table):
        copy.execute(insert(table), rows)
        total += len(rows)
    number = table.autoincrement_column
    if total and number is not None and copy.dialect.name == "postgresql":
        # The rows brought their numbers along: the next one begins behind them.
        sequence = func.pg_get_serial_sequence(table.name, number.name)
        copy.execute(select(func.setval(sequence, select(func.max(number)).scalar_subquery())))
    return total


def _pieces(source: Connection, table: Table) -> Iterator[list[dict[str, Any]]]:
    rows = source.execution_options(yield_per=AT_ONCE).execute(select(table))
    for piece in rows.mappings().partitions(AT_ONCE):
        yield [{name: _plain(value) for name, value in row.items()} for row in piece]


def _plain(value: Any) -> Any:
    """A value that either database takes: PostgreSQL has no text with a zero byte."""
    return value.replace("\0", "") if isinstance(value, str) else value
