"""The store: the only part that touches the database.

All writing happens in one thread of its own, so that neither probing nor anything else on the
loop ever waits for a disk; questions are asked in another. What makes up history is queued
(`write_queue.py`); decisions of operators and rules are awaited, and on disk when they return.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlmodel import Session, select

from monitor.common.audit import Actor
from monitor.common.bans import Ban, client_network
from monitor.common.keys import DayUse, KeyBook, KeyRecord, Spent
from monitor.common.machine import ClockSteps
from monitor.common.tasks import Tasks, cancelled
from monitor.health.snapshot import Override
from monitor.store import audit, bans, keys, ledger
from monitor.store.bans import Allowance
from monitor.store.database import Database, open_database
from monitor.store.errors import StoreError, in_one_line
from monitor.store.lease import (
    Holder,
    LeaseLost,
    begin_batch,
    last_renewal,
    refuse_held,
    release,
    renew,
    take,
)
from monitor.store.ledger import Batch
from monitor.store.open_file import Memory, Space
from monitor.store.pruning import Limits, give_pages_back, steps
from monitor.store.rollups import Item, write
from monitor.store.tables import AllowanceRow, WishRow
from monitor.store.write_queue import HistoryWriter, PostponedDecisions, may_pass

log = logging.getLogger(__name__)

__all__ = ["Store", "StoreError"]

T = TypeVar("T")

CLOSE_WITHIN = 8.0
"""Seconds that a store has to end what it was asked, less than the `GRACE` of the supervisor; a
decision that waits for a lock gives up before (`sqlite.DECISION_PATIENCE`)."""

_COMMANDS = {
    Override.use: "enable",
    Override.drain: "drain",
    Override.maintenance: "maintenance",
}
"""Wishes by the names of the commands that set them."""


class Store:
    """History and decisions."""

    def __init__(
        self,
        database: Database,
        threads: Sequence[ThreadPoolExecutor],
        tasks: Tasks | None = None,
    ) -> None:
        self._database = database
        self._thread, self._reader = threads
        self._tasks = tasks or Tasks()
        self._writer = HistoryWriter(self._write_history, tasks=self._tasks)
        self.postponed = PostponedDecisions(self.decide)
        """Bans and wishes that are in effect and wait to be written."""
        self._catching_up: asyncio.Task[None] | None = None
        self._refused = ""
        self.clock = ClockSteps()
        """While it is not steady, nothing is deleted for its age."""
        self._vantage = ""
        self._holder: Holder | None = None
        self._batches = 0
        self._aside = False
        self._written: Callable[[float], None] = lambda seconds: None

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        aside: bool = False,
        tasks: Tasks | None = None,
        memory: Memory | None = None,
    ) -> Store:
        """Open or create the database. Raises StoreError.

        `aside`: it belongs to no instance, so nothing is decided while one uses the store.
        `tasks` supervises the writing of history; `memory` remembers an SQLite file for the next
        process of the instance.
        """
        threads = [ThreadPoolExecutor(1, thread_name_prefix=name) for name in ("store", "reader")]
        try:
            loop = asyncio.get_running_loop()
            database = await loop.run_in_executor(threads[0], open_database, url, memory)
        except BaseException:
            for thread in threads:
                thread.shutdown(wait=False)
            raise
        store = cls(database, threads, tasks)
        store._aside = aside
        store._writer.start()
        if not aside:
            work = store.postponed.run
            store._catching_up = store._tasks.service("postponed decisions", work)
        return store

    async def close(self) -> None:
        """Write what is queued, as far as that is possible now, and close the database.

        Takes at most `CLOSE_WITHIN`: a question or a database that hangs holds nobody up.
        """
        try:
            async with asyncio.timeout(CLOSE_WITHIN):
                await self._end()
        except TimeoutError:
            log.error(
                "the store did not finish within %.0f s: its last rows may be missing", CLOSE_WITHIN
            )
        finally:
            for thread in (self._reader, self._thread):
                thread.shutdown(wait=False, cancel_futures=True)

    async def _end(self) -> None:
        loop = asyncio.get_running_loop()
        if self._catching_up is not None:
            await cancelled([self._catching_up])
        await self.postponed.stop()
        await self._writer.stop()
        if self._holder is not None:
            with suppress(StoreError):
                await self._lease(release, self._vantage, self._holder)
        await loop.run_in_executor(self._reader, lambda: None)  # behind what is still being asked
        await loop.run_in_executor(self._thread, self._database.close)

    async def hold(self, vantage: str, holder: Holder, wait: bool = True) -> None:
        """Become the only writer of this vantage's history.

        Raises StoreError when another one does; to be sure of it, waits for `lease.EXPIRES_AFTER`.
        """
        if (last := await self._lease(last_renewal, vantage)) is not None:
            self.clock.recall(last)
        self._batches = await self._lease(take, vantage, holder, wait)
        self._vantage, self._holder = vantage, holder

    async def renew(self, now: float) -> None:
        """Say that we still write, every few seconds, or try to again. Raises StoreError."""
        if self._holder is None:
            return
        try:
            await self._lease(renew, self._vantage, self._holder, now)
        except LeaseLost:
            await self.hold(self._vantage, self._holder, wait=False)

    @property
    def dropped(self) -> int:
        """Rows of history that were dropped because the queue was full."""
        return self._writer.dropped

    def dropped_lately(self) -> int:
        """Those of the last hour."""
        return self._writer.dropped_lately()

    @property
    def problem(self) -> str:
        """The reason for which nothing can be written; empty while nothing is known to be wrong."""
        of_decisions = self.postponed.problem or self._refused
        return self._database.problem or of_decisions or self._writer.problem

    @property
    def failed(self) -> int:
        """Batches of history that the database did not take."""
        return self._writer.failed

    @property
    def queued(self) -> int:
        """Rows of history that wait to be written."""
        return self._writer.waiting

    def space(self) -> Space | None:
        """Room that the database has on this machine; None if it is elsewhere. Blocks."""
        return self._database.file.space() if self._database.file is not None else None

    def tell_of_writes(self, written: Callable[[float], None]) -> None:
        """Call this with the seconds that each batch of history takes."""
        self._written = written

    def record(self, item: Item) -> bool:
        """Queue something for history; False: it was dropped, as the queue is full."""
        return self._writer.put(item)

    async def flush(self) -> bool:
        """Write what is queued now; False if the database does not take it."""
        return await self._writer.write_all()

    async def add_ban(self, ban: Ban) -> None:
        """Keep a ban, in place of one on the very same network."""
        await self.decide(lambda session: bans.keep(session, [ban]))

    async def sentence(
        self, networks: Sequence[str], make: Callable[[str, int], Ban], origin: str = ""
    ) -> list[Ban]:
        """Make and keep bans on these networks, in one transaction (`ban_rows.sentence`)."""
        return await self._in_order(lambda s: bans.sentence(s, networks, make, origin))

    async def lift_bans(self, network: str | None, by: Actor, now: float) -> list[Ban]:
        """Lift the bans in force that overlap `network` (None: all), and return them.

        Raises ValueError.
        """
        return await self._in_order(lambda session: bans.lift(session, network, by, now))

    async def active_bans(self, now: float) -> list[Ban]:
        """The bans in force, newest first."""
        return await self._in_order(lambda session: bans.active(session, now))

    async def forget_bans(self, before: float, now: float) -> int:
        """Delete what ended before this moment; returns how many bans that were.

        What the audit log has of automatic ones goes with them.
        """
        total = 0
        if not self.clock.steady:
            return total
        while deleted := await self.decide(lambda s: bans.forget(s, before, now)):
            total += deleted
        while await self.decide(lambda s: audit.forget_automatic(s, before)):
            pass
        return total

    async def allow(self, network: str, until: float | None, by: Actor, now: float) -> None:
        """Never limit or ban a network, until a time or for good; written later where the store
        takes nothing now. Raises ValueError."""
        checked = client_network(network)

        def work(session: Session) -> None:
            row = AllowanceRow(network=checked, until=until, by=by.who, at=now)
            bans.allow(session, row, by.origin)

        await self._or_later(work, f"allow {checked}")

    async def allowances(self, now: float) -> list[Allowance]:
        """The networks that are allowed at present, and until when."""
        return await self._in_order(lambda session: bans.allowances(session, now))

    async def set_wish(
        self, mirror_id: str, wish: Override, until: float | None, by: Actor, now: float
    ) -> None:
        """Keep what the operator wants of a mirror, later where the store cannot be written now."""
        what = f"{_COMMANDS[wish]} {mirror_id}{audit.until(until)}"

        def work(session: Session) -> None:
            session.merge(
                WishRow(mirror=mirror_id, wish=wish.value, until=until, by=by.who, at=now)
            )
            audit.note(session, by, what, now)

        await self._or_later(work, what)

    async def wishes(self) -> dict[str, tuple[Override, float | None]]:
        """Return the last override of each mirror, and its end; expired ones included."""

        def work(session: Session) -> dict[str, tuple[Override, float | None]]:
            return {r.mirror: (Override(r.wish), r.until) for r in session.exec(select(WishRow))}

        return await self.decide(work)

    async def read(self, question: Callable[[Session], T]) -> T:
        """The answer to a question to history (`queries.py`). Raises StoreError."""

        def run() -> T:
            with self._database.being_read:
                return _in_session(self._database.reading, question)

        with _failures():
            return await asyncio.get_running_loop().run_in_executor(self._reader, run)

    async def audit(self, by: Actor, what: str, now: float) -> None:
        """Note who did what, where that is not in the store itself."""
        await self.decide(lambda session: audit.note(session, by, what, now))

    async def prune(self, limits: Limits) -> int:
        """Delete what is older than `limits`, chunk by chunk; returns how many rows."""
        total = 0
        if not self.clock.steady:
            return total
        for step in steps(limits):
            while deleted := await self.decide(step):
                total += deleted
        await self.decide(give_pages_back)
        return total

    async def key_book(self) -> KeyBook:
        """All issued keys, and what their digests depend on."""
        return await self.decide(keys.book)

    async def key_days(self, first: str, key: str | None = None) -> list[DayUse]:
        """Return the use of keys, or of this one, from this day on (`keys.days`)."""
        return await self.read(lambda session: keys.days(session, first, key))

    async def create_key(self, record: KeyRecord, by: Actor) -> None:
        """Keep a new key."""
        await self.decide(lambda session: keys.create(session, record, by))

    async def revoke_key(self, key_id: str, by: Actor, now: float) -> KeyRecord:
        """Let a key be used no more. Raises KeyFault."""
        return await self.decide(lambda session: keys.revoke(session, key_id, by, now))

    async def top_up_key(
        self, key_id: str, quota: int | None, tokens: int | None, by: Actor, now: float
    ) -> KeyRecord:
        """Grant a key more of its quotas. Raises KeyFault."""
        more = (quota, tokens)
        return await self.decide(lambda s: keys.top_up(s, key_id, *more, by, now))

    async def write_uses(self, batches: Sequence[Batch], now: float) -> dict[str, Spent]:
        """Write what keys have used, no batch twice; what they have used more than before."""
        return await self.decide(lambda session: ledger.write(session, batches, now))

    async def decide(self, work: Callable[[Session], T]) -> T:
        """Run `work` in one durable transaction, as a decision of an operator. Raises
        StoreError."""

        def unless_held(session: Session) -> T:
            result = work(session)
            refuse_held(session.connection(), time.time())
            return result

        decided = unless_held if self._aside else work

        def run() -> T:
            self._database.ensure()
            return _in_session(self._database.decisions, decided)

        try:
            with _failures():
                done = await asyncio.get_running_loop().run_in_executor(self._thread, run)
        except StoreError as error:
            if may_pass(error):
                self._refused = str(error)
            raise
        self._refused = ""
        return done

    async def _in_order(self, work: Callable[[Session], T]) -> T:
        """Decide behind all that was postponed. Raises StoreError."""
        await self.postponed.catch_up()
        return await self.decide(work)

    async def _or_later(self, work: Callable[[Session], object], what: str) -> None:
        try:
            await self._in_order(work)
        except StoreError as error:
            self.postponed.put(work, what, error)

    async def _lease(self, act: Callable[..., T], *arguments: object) -> T:
        def run() -> T:
            self._database.ensure()
            return act(self._database.decisions, *arguments)

        with _failures():
            return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    async def _write_history(self, items: list[Item]) -> None:
        number, began = self._batches + 1, time.monotonic()
        await asyncio.get_running_loop().run_in_executor(
            self._thread, self._write_batch, items, number
        )
        self._batches = number
        self._written(time.monotonic() - began)

    def _write_batch(self, items: list[Item], number: int) -> None:
        self._database.ensure()
        with self._database.history.begin() as connection:
            if self._holder is None or begin_batch(connection, self._vantage, self._holder, number):
                write(connection, items, number)


def _in_session(engine: Engine, work: Callable[[Session], T]) -> T:
    with Session(engine, expire_on_commit=False) as session:
        result = work(session)
        session.commit()
        return result


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise StoreError(f"the store failed: {in_one_line(error.orig)}") from error
    except SQLAlchemyError as error:
        raise StoreError(f"the store failed: {type(error).__name__}") from error
