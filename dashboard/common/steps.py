"""Work that is done in steps, so that whoever does it can see to other things in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

T = TypeVar("T")
Item = TypeVar("Item")

STEP = 0.002
"""Seconds of work without a pause, or one step where that takes longer."""

Steps = Generator[None, None, T]
"""Yields after each step, and returns what was made."""


def in_steps(make: Callable[[Item], T], items: Iterable[Item]) -> Steps[list[T]]:
    """Return the results for all items, one step for each."""
    made = []
    for item in items:
        made.append(make(item))
        yield
    return made


def all_at_once(steps: Steps[T]) -> T:
    """The result, without a pause."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: T = done.value
            return result


async def unhurried(steps: Steps[T]) -> T:
    """The result, while everything else on the event loop has its turn in between."""
    while True:
        until = time.perf_counter() + STEP
        try:
            while time.perf_counter() < until:
                next(steps)
        except StopIteration as done:
            result: T = done.value
            return result
        await asyncio.sleep(0)
