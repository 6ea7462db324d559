"""History on its way to the disk: a bounded queue that never makes anybody wait.

Rows are written in batches. While the database is locked or the disk is full they wait in the
queue; when the queue is full, new ones are dropped and counted. Trouble is logged once, and
once more when it is over. Rows that make writing fail for any other reason are dropped, so that
those behind them are written.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

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

_NAME = "history writer"

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
    ) -> None:
        self._write = write
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
        self.failed = 0
        """Batches that were not taken."""

    @property
    def waiting(self) -> int:
        """Rows that are queued."""
        return len(self._queue) + len(self._batch)

    def start(self) -> None:
        """Begin writing."""
        self._task = self._tasks.service(_NAME, self._run)

    def put(self, item: Item) -> None:
        """Queue something, or drop it when the queue is full."""
        if self.waiting >= self._size:
            self.dropped += 1
        else:
            self._queue.append(item)

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
            self.dropped += rows
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
