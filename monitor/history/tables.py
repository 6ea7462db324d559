"""The tables. Times are seconds since the epoch unless their name says otherwise."""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import BigInteger, Column
from sqlmodel import Field, SQLModel

SCHEMA_VERSION = 1
"""Raised with every change to a table; kept in SQLite's `user_version`."""


class SampleRow(SQLModel, table=True):
    """One probe. By far the most rows, so they are stored in the primary key itself."""

    __tablename__: ClassVar[str] = "sample"
    __table_args__: ClassVar[dict[str, bool]] = {"sqlite_with_rowid": False}

    mirror: str = Field(primary_key=True)
    at_ms: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    vantage: str
    ok: bool
    state: str
    verdict: str
    resolve_us: int | None
    connect_us: int | None
    tls_us: int | None
    first_byte_us: int | None


class TransitionRow(SQLModel, table=True):
    """A change of state."""

    __tablename__: ClassVar[str] = "transition"

    id: int | None = Field(default=None, primary_key=True)
    mirror: str = Field(index=True)
    at: float
    vantage: str
    state: str
    verdict: str
    detail: str


class BanRow(SQLModel, table=True):
    """A ban; a lifted one stays until its retention ends."""

    __tablename__: ClassVar[str] = "ban"

    id: str = Field(primary_key=True)
    network: str = Field(index=True)
    since: float
    until: float | None
    reason: str
    by: str
    user_agent: str
    count: int
    lifted_at: float | None = None
    lifted_by: str = ""


class AllowanceRow(SQLModel, table=True):
    """A network that is never limited or banned."""

    __tablename__: ClassVar[str] = "allowance"

    network: str = Field(primary_key=True)
    until: float | None
    by: str
    at: float


class WishRow(SQLModel, table=True):
    """What the operator wants of a mirror."""

    __tablename__: ClassVar[str] = "wish"

    mirror: str = Field(primary_key=True)
    wish: str
    until: float | None
    by: str
    at: float


class AuditRow(SQLModel, table=True):
    """Who did what."""

    __tablename__: ClassVar[str] = "audit"

    id: int | None = Field(default=None, primary_key=True)
    at: float = Field(index=True)
    who: str
    what: str
