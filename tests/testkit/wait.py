"""Waiting for a condition with a deadline: what tests use instead of sleeping."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

FIRST_PAUSE = 0.005
LONGEST_PAUSE = 0.1


class NotReached(AssertionError):
    """The condition did not come true in time."""


def wait_until(
    condition: Callable[[], T | None], timeout: float = 10.0, what: str = "the condition"
) -> T:
    """Poll `condition` until it returns something truthy, and return that.

    Blocks the thread; in a coroutine use `wait_until_async`. `timeout` is in seconds. An exception
    of the condition is not caught: a condition that may fail for a while says so itself.
    """
    deadline = time.monotonic() + timeout
    pause = FIRST_PAUSE
    while not (value := condition()):
        if time.monotonic() >= deadline:
            raise NotReached(_message(what, timeout, value))
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)
    return value


@overload
async def wait_until_async(
    condition: Callable[[], Awaitable[T | None]], timeout: float = ..., what: str = ...
) -> T: ...


@overload
async def wait_until_async(
    condition: Callable[[], T | None], timeout: float = ..., what: str = ...
) -> T: ...


async def wait_until_async(
    condition: Callable[[], Any], timeout: float = 10.0, what: str = "the condition"
) -> Any:
    """As `wait_until`, without blocking the loop; `condition` may be a coroutine function.

    One call of the condition is bounded by the deadline too.
    """
    deadline = time.monotonic() + timeout
    pause = FIRST_PAUSE
    while not (value := await _ask(condition, deadline, what, timeout)):
        if time.monotonic() >= deadline:
            raise NotReached(_message(what, timeout, value))
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)
    return value


async def _ask(condition: Callable[[], Any], deadline: float, what: str, timeout: float) -> Any:
    answer = condition()
    if not inspect.isawaitable(answer):
        return answer
    limit = asyncio.timeout(max(deadline - time.monotonic(), FIRST_PAUSE))
    try:
        async with limit:
            return await answer
    except TimeoutError:
        if limit.expired():
            raise NotReached(_message(what, timeout, "no answer")) from None
        raise


def _message(what: str, timeout: float, last: object) -> str:
    return f"waited {timeout:g} s for {what}; the last value was {last!r}"
