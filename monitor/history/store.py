"""The store: the only one who touches the database.

All of it happens in one thread of its own, so that neither probing nor anything else on the loop
ever waits for a disk. Samples and transitions are queued (`writer.py`); decisions of operators
and rules are awaited, and on disk when they return.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import delete, func, insert, or_, tuple_
from sqlalchemy.exc import DatabaseError
from sqlmodel import Session, SQLModel, col, select

from monitor.bans import Ban, client_network
from monitor.health.board import State, Wish
from monitor.history.database import Database, StoreError, open_database
from monitor.history.records import Sample, Transition
from monitor.history.tables import (
    AllowanceRow,
    AuditRow,
    BanRow,
    SampleRow,
    TransitionRow,
    WishRow,
)
from monitor.history.writer import HistoryWriter

__all__ = ["Sample", "Store", "StoreError", "Transition"]

T = TypeVar("T")

PRUNE_CHUNK = 5_000
"""Samples deleted in one transaction, so that others never wait for long."""
PAGES_GIVEN_BACK = 1_000
"""Free pages returned to the file system after a pruning."""


class Store:
    """History and decisions."""

    def __init__(self, database: Database, thread: ThreadPoolExecutor) -> None:
        self._database = database
        self._thread = thread
        self._writer = HistoryWriter(self._write_history)

    @classmethod
    async def open(cls, url: str) -> Store:
        """Open or create the database. Raises StoreError."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        try:
            loop = asyncio.get_running_loop()
            database = await loop.run_in_executor(thread, open_database, url)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        store = cls(database, thread)
        store._writer.start()
        return store

    async def close(self) -> None:
        """Write what is queued, as far as that is possible now, and close the database."""
        await self._writer.stop()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._database.close)
        self._thread.shutdown()

    @property
    def dropped(self) -> int:
        """Rows of history that were dropped because the queue was full."""
        return self._writer.dropped

    def record_sample(self, sample: Sample) -> None:
        """Queue a sample."""
        self._writer.put(_sample_row(sample))

    def record_transition(self, transition: Transition) -> None:
        """Queue a change of state."""
        self._writer.put(_transition_row(transition))

    async def flush(self) -> bool:
        """Write a batch of what is queued now; False if the database does not take it."""
        return await self._writer.write_batch()

    async def add_ban(self, ban: Ban) -> None:
        """Keep a ban, in place of one on the very same network."""

        def work(session: Session) -> None:
            for row in _in_force(session, ban.since):
                if row.network == ban.network:
                    row.lifted_at, row.lifted_by = ban.since, ban.by
            session.add(BanRow(**dataclasses.asdict(ban)))
            _audit(session, ban.by, f"ban {ban.network}: {ban.reason}", ban.since)

        await self._decide(work)

    async def lift_bans(self, network: str, by: str, now: float) -> list[Ban]:
        """Lift the bans in force that overlap `network`, and return them. Raises ValueError."""
        wanted = ipaddress.ip_network(client_network(network))

        def work(session: Session) -> list[Ban]:
            rows = [row for row in _in_force(session, now) if _overlap(row.network, wanted)]
            for row in rows:
                row.lifted_at, row.lifted_by = now, by
            _audit(session, by, f"lift bans of {wanted}: {len(rows)}", now)
            return [_ban(row) for row in rows]

        return await self._decide(work)

    async def active_bans(self, now: float) -> list[Ban]:
        """The bans in force, newest first."""
        return await self._decide(lambda session: [_ban(row) for row in _in_force(session, now)])

    async def ban_count(self, network: str) -> int:
        """How many times this very network has been banned, lifted ones included."""
        query = select(func.count()).select_from(BanRow).where(col(BanRow.network) == network)
        return await self._decide(lambda session: session.exec(query).one())

    async def allow(self, network: str, until: float | None, by: str, now: float) -> None:
        """Never limit or ban a network, until a time or for good. Raises ValueError."""
        row = AllowanceRow(network=client_network(network), until=until, by=by, at=now)

        def work(session: Session) -> None:
            session.merge(row)
            _audit(session, by, f"allow {row.network}", now)

        await self._decide(work)

    async def allowed(self, now: float) -> list[str]:
        """The networks that are allowed at present."""
        holds = or_(col(AllowanceRow.until).is_(None), col(AllowanceRow.until) > now)
        query = select(AllowanceRow.network).where(holds).order_by(AllowanceRow.network)
        return await self._decide(lambda session: list(session.exec(query)))

    async def set_wish(
        self, mirror_id: str, wish: Wish, until: float | None, by: str, now: float
    ) -> None:
        """Keep what the operator wants of a mirror."""
        row = WishRow(mirror=mirror_id, wish=wish.value, until=until, by=by, at=now)

        def work(session: Session) -> None:
            session.merge(row)
            _audit(session, by, f"{wish.value} {mirror_id}", now)

        await self._decide(work)

    async def wishes(self) -> dict[str, tuple[Wish, float | None]]:
        """What was wished last of each mirror, and until when; expired ones included."""

        def work(session: Session) -> dict[str, tuple[Wish, float | None]]:
            return {r.mirror: (Wish(r.wish), r.until) for r in session.exec(select(WishRow))}

        return await self._decide(work)

    async def transitions(self, mirror_id: str | None, limit: int) -> list[Transition]:
        """The newest changes of state, newest first, of one mirror or of all."""
        query = select(TransitionRow).order_by(col(TransitionRow.id).desc()).limit(limit)
        if mirror_id is not None:
            query = query.where(TransitionRow.mirror == mirror_id)
        return await self._decide(lambda session: [_transition(r) for r in session.exec(query)])

    async def last_states(self) -> dict[str, Transition]:
        """The newest change of state of each mirror."""
        newest = select(func.max(TransitionRow.id)).group_by(TransitionRow.mirror)
        query = select(TransitionRow).where(col(TransitionRow.id).in_(newest))
        return await self._decide(
            lambda session: {r.mirror: _transition(r) for r in session.exec(query)}
        )

    async def last_samples(self) -> dict[str, float]:
        """When each mirror was probed last."""
        query = select(SampleRow.mirror, func.max(SampleRow.at_ms)).group_by(SampleRow.mirror)
        return await self._decide(
            lambda session: {mirror: at_ms / 1000 for mirror, at_ms in session.exec(query)}
        )

    async def audit(self, who: str, what: str, now: float) -> None:
        """Note who did what."""
        await self._decide(lambda session: _audit(session, who, what, now))

    async def prune_samples(self, before: float) -> int:
        """Delete samples from before a time, chunk by chunk; returns how many."""
        total = 0
        while deleted := await self._decide(lambda session: _delete_samples(session, before)):
            total += deleted
        await self._decide(_give_pages_back)
        return total

    async def _decide(self, work: Callable[[Session], T]) -> T:
        """Run `work` in one durable transaction. Raises StoreError."""

        def run() -> T:
            with Session(self._database.decisions, expire_on_commit=False) as session:
                result = work(session)
                session.commit()
                return result

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, run)
        except DatabaseError as error:
            raise StoreError(f"the store failed: {error.orig}") from error

    async def _write_history(self, rows: list[SQLModel]) -> None:
        def run() -> None:
            samples = [row.model_dump() for row in rows if isinstance(row, SampleRow)]
            changes = [
                row.model_dump(exclude={"id"}) for row in rows if isinstance(row, TransitionRow)
            ]
            with self._database.history.begin() as connection:
                if samples:
                    connection.execute(insert(SampleRow).prefix_with("OR IGNORE"), samples)
                if changes:
                    connection.execute(insert(TransitionRow), changes)

        await asyncio.get_running_loop().run_in_executor(self._thread, run)


def _in_force(session: Session, now: float) -> list[BanRow]:
    holds = or_(col(BanRow.until).is_(None), col(BanRow.until) > now)
    query = select(BanRow).where(holds, col(BanRow.lifted_at).is_(None))
    return list(session.exec(query.order_by(col(BanRow.since).desc(), BanRow.id)))


def _overlap(network: str, wanted: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    other = ipaddress.ip_network(network)
    return other.version == wanted.version and other.overlaps(wanted)


def _delete_samples(session: Session, before: float) -> int:
    key = (col(SampleRow.mirror), col(SampleRow.at_ms))
    old = select(*key).where(col(SampleRow.at_ms) < before * 1000).limit(PRUNE_CHUNK)
    deleted = session.connection().execute(delete(SampleRow).where(tuple_(*key).in_(old))).rowcount
    return deleted


def _give_pages_back(session: Session) -> None:
    """A plain `execute` takes one step of this statement, which frees one page; a script all."""
    connection = session.connection().connection.driver_connection
    if connection is not None:
        connection.executescript(f"PRAGMA incremental_vacuum({PAGES_GIVEN_BACK})")


def _audit(session: Session, who: str, what: str, now: float) -> None:
    session.add(AuditRow(at=now, who=who, what=what))


def _ban(row: BanRow) -> Ban:
    return Ban(**row.model_dump(exclude={"lifted_at", "lifted_by"}))


def _transition(row: TransitionRow) -> Transition:
    return Transition(row.mirror, row.at, State(row.state), row.verdict, row.detail, row.vantage)


def _transition_row(transition: Transition) -> TransitionRow:
    return TransitionRow(
        mirror=transition.mirror_id,
        at=transition.at,
        vantage=transition.vantage,
        state=transition.state.value,
        verdict=transition.verdict,
        detail=transition.detail,
    )


def _sample_row(sample: Sample) -> SampleRow:
    return SampleRow(
        mirror=sample.mirror_id,
        at_ms=round(sample.at * 1000),
        vantage=sample.vantage,
        ok=sample.ok,
        state=sample.state.value,
        verdict=sample.verdict,
        resolve_us=_microseconds(sample.latency.resolve),
        connect_us=_microseconds(sample.latency.connect),
        tls_us=_microseconds(sample.latency.tls),
        first_byte_us=_microseconds(sample.latency.first_byte),
    )


def _microseconds(milliseconds: float | None) -> int | None:
    return None if milliseconds is None else round(milliseconds * 1000)
