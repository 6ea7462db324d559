"""History on its way to the disk: a bounded queue that never makes anybody wait.

Rows are written in batches. While the database is locked or the disk is full they wait in the
queue; when the queue is full, new ones are dropped and counted. Trouble is logged once, and
once more when it is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import islice

from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlmodel import SQLModel

log = logging.getLogger(__name__)

QUEUE_SIZE = 20_000
BATCH_SIZE = 1_000
BATCH_EVERY = 1.0
"""Seconds in which rows are gathered."""
RETRY_AFTER = 2.0
"""Seconds until a batch that failed is tried again."""

Row = SQLModel
Write = Callable[[list[Row]], Awaitable[None]]


class HistoryWriter:
    """The one task that writes history, and its queue."""

    def __init__(self, write: Write, size: int = QUEUE_SIZE, every: float = BATCH_EVERY) -> None:
        self._write = write
        self._size = size
        self._every = every
        self._queue: deque[Row] = deque()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._in_trouble = False
        self._writing = asyncio.Lock()
        self.dropped = 0

    def start(self) -> None:
        """Begin writing."""
        self._task = asyncio.create_task(self._run(), name="history writer")

    def put(self, row: Row) -> None:
        """Queue a row, or drop it when the queue is full."""
        if len(self._queue) >= self._size:
            self.dropped += 1
        else:
            self._queue.append(row)

    async def stop(self) -> None:
        """Try once more to write what is queued, then end; the rest counts as dropped."""
        self._stopping.set()
        if self._task is not None:
            await self._task
        while self._queue and await self.write_batch():
            pass
        self.dropped += len(self._queue)
        self._queue.clear()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            backlog = len(self._queue) >= BATCH_SIZE and not self._in_trouble
            await self._pause(0 if backlog else RETRY_AFTER if self._in_trouble else self._every)
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
        batch = list(islice(self._queue, BATCH_SIZE))
        if not batch:
            return True
        try:
            await self._write(batch)
        except OperationalError as error:
            self._trouble(error)
            return False
        except SQLAlchemyError:
            log.exception("history: %d rows cannot be written and are dropped", len(batch))
            self.dropped += len(batch)
        for _ in batch:
            self._queue.popleft()
        self._recovered()
        return True

    def _trouble(self, error: OperationalError) -> None:
        if not self._in_trouble:
            log.warning("history cannot be written, it waits in memory: %s", error.orig)
        self._in_trouble = True

    def _recovered(self) -> None:
        if self._in_trouble:
            log.warning("history is written again; %d rows were dropped so far", self.dropped)
        self._in_trouble = False
