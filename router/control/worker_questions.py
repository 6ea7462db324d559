"""Questions from control to all workers; a worker that does not answer is not waited for."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import NamedTuple

from monitor.common.ipc import Message
from router.control.worker_channels import WorkerChannels

PATIENCE = 1.0
"""Seconds that the workers have."""


class Answers(NamedTuple):
    """Answers that came in time."""

    by_worker: dict[int, Message]
    """By the number of the worker's slot."""
    silent: list[int]
    """The slots that nothing came from."""


class _Open:
    def __init__(self, waiting: set[int]) -> None:
        self.waiting = waiting
        self.answers: dict[int, Message] = {}
        self.done = asyncio.Event()


class Questions:
    """Asks, and collects."""

    def __init__(self, channels: WorkerChannels, patience: float = PATIENCE) -> None:
        self._channels = channels
        self.patience = patience
        self._numbers = count(1)
        self._open: dict[int, _Open] = {}

    async def ask(self, question: Message) -> Answers:
        """Ask every worker; returns when all have answered, or after a second."""
        number, asked = next(self._numbers), set(self._channels.processes())
        mine = self._open[number] = _Open(set(asked))
        try:
            self._channels.broadcast({**question, "number": number})
            async with asyncio.timeout(self.patience):
                await mine.done.wait()
        except TimeoutError:
            pass
        finally:
            del self._open[number]
        return Answers(dict(sorted(mine.answers.items())), sorted(mine.waiting))

    def hear(self, message: Message) -> None:
        """A worker's answer; one that comes too late is dropped."""
        asked = self._open.get(message["number"])
        slot = next(
            (n for n, p in self._channels.processes().items() if p == message["process"]), None
        )
        if asked is None or slot not in asked.waiting:
            return
        asked.answers[slot] = message
        asked.waiting.discard(slot)
        if not asked.waiting:
            asked.done.set()
