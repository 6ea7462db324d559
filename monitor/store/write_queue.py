"""Writes on their way to the disk: history, and decisions that the store could not take.

History is a bounded queue that never makes anybody wait. Rows are written in batches. While the
database is locked or the disk is full they wait in the queue; when the queue is full, new ones are
dropped and counted. Trouble is logged once, and once more when it is over. Rows that make writing
fail for any other reason are dropped, so that those behind them are written.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlmodel import Session

from monitor.common.tasks import Tasks
from monitor.store.errors import StoreError, in_one_line
from monitor.store.rollups import Item

log = logging.getLogger(__name__)

QUEUE_SIZE = 20_000
BATCH_SIZE = 1_000
BATCH_EVERY = 1.0
"""Seconds in which rows are gathered."""
RETRY_AFTER = 2.0
"""Seconds until a batch that failed is tried again."""

LATELY, _MINUTE = 3600.0, 60.0
"""Seconds for which operators are told of rows that were dropped, and in which they are counted."""
_NAME = "history writer"

MOST_POSTPONED = 1_000
"""Decisions that wait; of more, whoever makes them is told that they cannot be kept."""

Decision = Callable[[Session], object]
Write = Callable[[list[Item]], Awaitable[None]]
"""Writes one batch, wholly or not at all; the same batch again when it may have failed."""


class HistoryWriter:
    """The one task that writes history, and its queue."""

    def __init__(
        self,
        write: Write,
        size: int = QUEUE_SIZE,
        every: float = BATCH_EVERY,
        tasks: Tasks | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._monotonic = monotonic
        self._tasks = tasks or Tasks()
        self._size = size
        self._every = every
        self._queue: deque[Item] = deque()
        self._stopping = asyncio.Event()
        self._batch: list[Item] = []
        self._task: asyncio.Task[None] | None = None
        self.problem = ""
        """Why writing failed the last time."""
        self._writing = asyncio.Lock()
        self.dropped = 0
        self._dropped_at: deque[tuple[float, int]] = deque()
        """By minute: its begin on the monotonic clock, and the rows that were dropped in it."""
        self._overflows = False
        """True from the first row that is dropped until half of the queue is free again."""
        self.failed = 0
        """Batches that were not taken."""

    @property
    def waiting(self) -> int:
        """Rows that are queued."""
        return len(self._queue) + len(self._batch)

    def dropped_lately(self) -> int:
        """Rows that were dropped in the last hour."""
        while self._dropped_at and self._dropped_at[0][0] < self._monotonic() - LATELY:
            self._dropped_at.popleft()
        return sum(rows for _, rows in self._dropped_at)

    def _drop(self, rows: int) -> None:
        self.dropped += rows
        now = self._monotonic()
        if self._dropped_at and now - self._dropped_at[-1][0] < _MINUTE:
            began, before = self._dropped_at.pop()
            self._dropped_at.append((began, before + rows))
        else:
            self.dropped_lately()  # forgets what is older
            self._dropped_at.append((now, rows))

    def start(self) -> None:
        """Begin writing."""
        self._task = self._tasks.service(_NAME, self._run)

    def put(self, item: Item) -> bool:
        """Queue something, or drop it when the queue is full; False: it was dropped."""
        if self.waiting >= self._size:
            self._drop(1)
            if not self._overflows:
                log.error("%d rows of history wait to be written; more are dropped", self._size)
            self._overflows = True
            return False
        self._queue.append(item)
        self._overflows = self._overflows and self.waiting > self._size // 2
        return True

    async def stop(self) -> None:
        """Try once more to write what is queued, then end; the rest counts as dropped."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task])
        await self.write_all()
        self.dropped += self.waiting
        self._queue.clear()
        self._batch.clear()

    async def write_all(self) -> bool:
        """Write what is queued now; False if some of it has to wait."""
        while self._queue or self._batch:
            if not await self.write_batch():
                return False
        return True

    async def _run(self) -> None:
        while not self._stopping.is_set():
            backlog = len(self._queue) >= BATCH_SIZE and not self.problem
            await self._pause(0 if backlog else RETRY_AFTER if self.problem else self._every)
            if not self._stopping.is_set():
                await self.write_batch()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    async def write_batch(self) -> bool:
        """Write up to a batch; False if it has to wait in the queue."""
        async with self._writing:
            return await self._write_batch()

    async def _write_batch(self) -> bool:
        if not self._batch:
            self._batch = [self._queue.popleft() for _ in range(min(BATCH_SIZE, len(self._queue)))]
        if not self._batch:
            return True
        try:
            await self._write(self._batch)
        except (OperationalError, InterfaceError, StoreError) as error:
            self._trouble(error.orig if isinstance(error, DBAPIError) else error)
            return False
        except Exception as error:
            rows = len(self._batch)
            self._tasks.crashed(_NAME, error, f"; {rows} rows cannot be written and are dropped")
            self._drop(rows)
        self._batch = []
        self._recovered()
        return True

    def _trouble(self, error: object) -> None:
        self.failed += 1
        first, self.problem = not self.problem, in_one_line(error) or "writing failed"
        if first:
            log.warning("history cannot be written, it waits in memory: %s", self.problem)

    def _recovered(self) -> None:
        if self.problem:
            log.warning("history is written again; %d rows were dropped so far", self.dropped)
        self.problem = ""


def may_pass(error: BaseException) -> bool:
    """True if a decision failed for a reason that may pass: a full disk, a lock, a server that is
    gone. What a table refuses will be refused again."""
    cause = error.__cause__
    return not isinstance(cause, DBAPIError) or isinstance(cause, OperationalError | InterfaceError)


class PostponedDecisions:
    """Decisions in effect that the store could not take, in order: written once it can."""

    def __init__(
        self,
        decide: Callable[[Decision], Awaitable[object]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._decide = decide
        self._monotonic = monotonic
        self._waiting: deque[tuple[Decision, str]] = deque()
        self._retry_at = float("-inf")
        self._writing = asyncio.Lock()
        self.problem = ""
        """Why the first of them cannot be written; empty while none waits."""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, decision: Decision, what: str, error: StoreError) -> None:
        """Keep one for later that failed with `error`; raises it where that would not help."""
        if len(self._waiting) >= MOST_POSTPONED or not may_pass(error):
            raise error
        if not self._waiting:
            log.error("decisions are in effect, but cannot be written yet: %s", error)
            self.problem, self._retry_at = str(error), self._monotonic() + RETRY_AFTER
        self._waiting.append((decision, what))

    async def catch_up(self) -> None:
        """Write all of them. Raises StoreError while that cannot be."""
        async with self._writing:
            while self._waiting:
                if self._monotonic() < self._retry_at:
                    raise StoreError(self.problem)
                await self._write(*self._waiting[0])
                self._waiting.popleft()
            if self.problem:
                log.warning("decisions are written again")
            self.problem = ""

    async def _write(self, decision: Decision, what: str) -> None:
        try:
            await self._decide(decision)
        except StoreError as error:
            if may_pass(error):
                self.problem, self._retry_at = str(error), self._monotonic() + RETRY_AFTER
                raise
            log.error("a decision cannot be written, a restart forgets it (%s): %s", what, error)

    async def run(self) -> None:
        """Write them as soon as that is possible, until cancelled."""
        while True:
            await asyncio.sleep(RETRY_AFTER)
            try:
                await self.catch_up()
            except StoreError:
                continue

    async def stop(self) -> None:
        """Try for the last time; what the store still does not take is in the log then."""
        self._retry_at = float("-inf")
        try:
            await self.catch_up()
        except StoreError as error:
            for _, what in self._waiting:
                log.error("a decision is lost with this process (%s): %s", what, error)
            self._waiting.clear()
