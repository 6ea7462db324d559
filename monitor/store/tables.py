"""The tables. Times are seconds since the epoch unless their name says otherwise."""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import BigInteger, Column
from sqlmodel import Field, SQLModel

_GIVEN = {"autoincrement": False}

REVISION = "0008"
"""The newest step in `migrations/versions/`, which these tables are held to by a test."""
OLDEST = "0008"
"""The oldest revision whose instances can use these tables, so that two versions run side by side
while hosts are upgraded in turn. A step that does more than add tables, or columns with a default
of the server, raises it to its own."""


class SampleRow(SQLModel, table=True):
    """One probe. By far the most rows, so they are stored in the primary key itself."""

    __tablename__: ClassVar[str] = "sample"
    __table_args__: ClassVar[dict[str, bool]] = {"sqlite_with_rowid": False}

    mirror: str = Field(primary_key=True)
    vantage: str = Field(primary_key=True)
    at_ms: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    ok: bool
    state: str
    verdict: str
    resolve_us: int | None
    connect_us: int | None
    tls_us: int | None
    first_byte_us: int | None


class _Rollup(SQLModel):
    """Known time of a mirror from `start` on, for the length of a bucket.

    The time comes first in the key: every question is about all mirrors in a stretch of time.
    What is missing to the length of the bucket is unknown.
    """

    start: int = Field(sa_type=BigInteger, primary_key=True, sa_column_kwargs=_GIVEN)
    mirror: str = Field(primary_key=True)
    vantage: str = Field(primary_key=True)
    up_ms: int = 0
    degraded_ms: int = 0
    down_ms: int = 0
    maintenance_ms: int = 0
    samples: int = 0
    failures: int = 0
    answers: int = Field(default=0, sa_type=BigInteger)
    """Good probes, whose phases are added up in the columns behind, in microseconds."""
    resolve_us: int = Field(default=0, sa_type=BigInteger)
    connect_us: int = Field(default=0, sa_type=BigInteger)
    tls_us: int = Field(default=0, sa_type=BigInteger)
    first_byte_us: int = Field(default=0, sa_type=BigInteger)


STATE_SUMS = ("up_ms", "degraded_ms", "down_ms", "maintenance_ms")
"""Columns of the roll-ups, in the order of `monitor.health.uptime.KNOWN_STATES`."""
LATENCY_SUMS = ("answers", "resolve_us", "connect_us", "tls_us", "first_byte_us")
"""Columns of the roll-ups, in the order of `monitor.health.latency.PHASES`."""


class Rollup5mRow(_Rollup, table=True):
    """Five minutes of a mirror."""

    __tablename__: ClassVar[str] = "rollup_5m"
    __table_args__: ClassVar[dict[str, bool]] = {"sqlite_with_rowid": False}


class RollupHourRow(_Rollup, table=True):
    """An hour of a mirror."""

    __tablename__: ClassVar[str] = "rollup_hour"
    __table_args__: ClassVar[dict[str, bool]] = {"sqlite_with_rowid": False}


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
    """The operator's override of a mirror."""

    __tablename__: ClassVar[str] = "wish"

    mirror: str = Field(primary_key=True)
    wish: str
    until: float | None
    by: str
    at: float


class AuditRow(SQLModel, table=True):
    """A change, its author, and its origin (`origin`)."""

    __tablename__: ClassVar[str] = "audit"

    id: int | None = Field(default=None, primary_key=True)
    at: float = Field(index=True)
    who: str
    what: str
    origin: str = ""


class IncidentRow(SQLModel, table=True):
    """An incident, and what it was first taken for."""

    __tablename__: ClassVar[str] = "incident"

    id: str = Field(primary_key=True)
    vantage: str
    verdict: str
    cdn: str
    impact: str
    started_at: float = Field(index=True)
    resolved_at: float | None
    updated_at: float


class IncidentMirrorRow(SQLModel, table=True):
    """A mirror's part in an incident."""

    __tablename__: ClassVar[str] = "incident_mirror"

    incident: str = Field(primary_key=True, foreign_key="incident.id")
    mirror: str = Field(primary_key=True)
    verdict: str
    since: float
    until: float | None
    times: int
    fell_at: float | None
    down_ms: int | None = Field(sa_type=BigInteger)
    """None: of an earlier release, which did not know it."""


class IncidentEditRow(SQLModel, table=True):
    """An operator's title of an incident (`zh`, `en`) and its impact, where they are given.

    No foreign key: the incident itself is history, and may be written a moment later.
    """

    __tablename__: ClassVar[str] = "incident_edit"

    incident: str = Field(primary_key=True)
    zh: str
    en: str
    impact: str
    at: float


class IncidentUpdateRow(SQLModel, table=True):
    """An operator's message about an incident or a maintenance, whose id is `about`."""

    __tablename__: ClassVar[str] = "incident_update"

    id: int | None = Field(default=None, primary_key=True)
    about: str = Field(index=True)
    at: float
    status: str
    zh: str
    en: str


class ManualIncidentRow(SQLModel, table=True):
    """An incident that an operator opened; ids of mirrors are in `mirrors`, with blanks between."""

    __tablename__: ClassVar[str] = "manual_incident"

    id: str = Field(primary_key=True)
    zh: str
    en: str
    impact: str
    mirrors: str
    started_at: float = Field(index=True)
    created_at: float
    resolved_at: float | None = None


class MaintenanceRow(SQLModel, table=True):
    """Planned maintenance of mirrors, whose ids are in `mirrors`, with blanks between them."""

    __tablename__: ClassVar[str] = "maintenance"

    id: str = Field(primary_key=True)
    zh: str
    en: str
    mirrors: str
    starts_at: float = Field(index=True)
    ends_at: float
    created_at: float
    updated_at: float
    began_at: float | None = None
    ended_at: float | None = None


class ToldRow(SQLModel, table=True):
    """A condition that operators were told of and that holds, as one vantage sees it."""

    __tablename__: ClassVar[str] = "told"

    vantage: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    subject: str = Field(primary_key=True)
    level: str
    at: float


class LeaseRow(SQLModel, table=True):
    """The writer of the history of a vantage: see `lease.py`."""

    __tablename__: ClassVar[str] = "lease"

    vantage: str = Field(primary_key=True)
    holder: str
    host: str
    pid: int
    beat: int = Field(sa_type=BigInteger)
    batch: int = Field(sa_type=BigInteger)
    renewed_at: float


class CompatibilityRow(SQLModel, table=True):
    """The oldest revision whose instances can use the tables; one row."""

    __tablename__: ClassVar[str] = "compatibility"

    oldest: str = Field(primary_key=True)


class ViewRow(SQLModel, table=True):
    """A mirror as a vantage sees it now; see `records.View`.

    `batch`: the one of the vantage (`LeaseRow`) that it was written in, so that readers ask for
    what is new.
    """

    __tablename__: ClassVar[str] = "vantage_view"

    vantage: str = Field(primary_key=True)
    mirror: str = Field(primary_key=True)
    text: str
    batch: int = Field(sa_type=BigInteger)
    at: float


class IssuedKeyRow(SQLModel, table=True):
    """A key that this instance issued; a revoked one stays, for what it has used.

    `digest` is the keyed hash of the key, which itself is nowhere. `quota` (10⁻⁹ of the unit of
    the prices) and `quota_tokens` are what was granted in all; None: no limit.
    """

    __tablename__: ClassVar[str] = "issued_key"

    id: str = Field(primary_key=True)
    name: str
    digest: str = Field(index=True, unique=True)
    created_at: float
    created_by: str
    expires_at: float | None
    revoked_at: float | None = None
    revoked_by: str = ""
    rate: float
    models: str
    quota: int | None = Field(sa_type=BigInteger)
    quota_tokens: int | None = Field(sa_type=BigInteger)


class SecretRow(SQLModel, table=True):
    """A random value that what is stored depends on, so that a copy of the store is whole."""

    __tablename__: ClassVar[str] = "secret"

    name: str = Field(primary_key=True)
    value: str


class UseRow(SQLModel, table=True):
    """Use of a model by a key on a day (UTC); `cost` is in 10⁻⁹ of the prices' unit.

    `basis`: whether a mirror said it ("usage") or it was estimated ("estimate").
    """

    __tablename__: ClassVar[str] = "use"
    __table_args__: ClassVar[dict[str, bool]] = {"sqlite_with_rowid": False}

    key: str = Field(primary_key=True)
    day: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    basis: str = Field(primary_key=True)
    requests: int = Field(default=0, sa_type=BigInteger)
    input_tokens: int = Field(default=0, sa_type=BigInteger)
    cached_tokens: int = Field(default=0, sa_type=BigInteger)
    output_tokens: int = Field(default=0, sa_type=BigInteger)
    images: int = Field(default=0, sa_type=BigInteger)
    audio_ms: int = Field(default=0, sa_type=BigInteger)
    characters: int = Field(default=0, sa_type=BigInteger)
    cost: int = Field(default=0, sa_type=BigInteger)


class LedgerBatchRow(SQLModel, table=True):
    """The last batch of uses that was written of a process, so that none is written twice."""

    __tablename__: ClassVar[str] = "ledger_batch"

    process: str = Field(primary_key=True)
    seq: int = Field(sa_type=BigInteger)
    at: float
