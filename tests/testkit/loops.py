"""The two event loops that the data plane must behave the same on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
import uvloop

T = TypeVar("T")
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
on_both_loops = pytest.mark.parametrize("loop_name", LOOPS)


def run_on(loop_name: str, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a new loop of this kind."""
    with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
        return runner.run(coroutine)
