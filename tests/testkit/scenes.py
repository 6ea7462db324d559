"""A coroutine as a test on both event loops, in which nothing may go wrong unseen."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from tests.testkit.loops import on_both_loops, run_on

Scene = Callable[..., Coroutine[Any, Any, None]]


def scene(play: Scene) -> Callable[..., None]:
    """Run the coroutine on either loop; what reaches a loop's exception handler is a failure."""

    def test(loop_name: str, **given: Any) -> None:
        run_on(loop_name, _heeded(play, given))

    wanted = inspect.signature(play)
    loop_name = inspect.Parameter("loop_name", inspect.Parameter.KEYWORD_ONLY)
    wanted = wanted.replace(parameters=[*wanted.parameters.values(), loop_name])
    test.__name__, test.__doc__ = play.__name__, play.__doc__
    test.__signature__ = wanted  # type: ignore[attr-defined]
    on_both: Callable[..., None] = on_both_loops(test)
    return on_both


async def _heeded(play: Scene, given: dict[str, Any]) -> None:
    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: heard.append(context))
    await asyncio.wait_for(play(**given), 30)
    assert heard == []
