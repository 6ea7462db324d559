"""The two event loops that the data plane must behave the same on."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
import uvloop

T = TypeVar("T")
LoopTest = Callable[..., Coroutine[Any, Any, None]]
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
each_loop = pytest.mark.parametrize("loop_name", LOOPS)


def run_on(loop_name: str, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a new loop of this kind."""
    with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
        return runner.run(coroutine)


def loop_test(work: LoopTest) -> Callable[..., None]:
    """Run the coroutine on either loop; what reaches a loop's exception handler is a failure."""

    def test(loop_name: str, **given: Any) -> None:
        run_on(loop_name, _checked(work, given))

    wanted = inspect.signature(work)
    loop_name = inspect.Parameter("loop_name", inspect.Parameter.KEYWORD_ONLY)
    wanted = wanted.replace(parameters=[*wanted.parameters.values(), loop_name])
    test.__name__, test.__doc__ = work.__name__, work.__doc__
    test.__signature__ = wanted  # type: ignore[attr-defined]
    on_both: Callable[..., None] = each_loop(test)
    return on_both


async def _checked(work: LoopTest, given: dict[str, Any]) -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
    await asyncio.wait_for(work(**given), 30)
    assert reported == []
