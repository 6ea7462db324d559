"""Reports of exceptions that nothing expected, from callbacks that must not end what stands behind
them: timers, queues, loops over many connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def report_fault(where: str, error: BaseException) -> None:
    """Pass an unexpected exception to the event loop's handler, which logs and counts it."""
    context = {"message": f"unexpected error in {where}", "exception": error}
    asyncio.get_running_loop().call_exception_handler(context)


def guarded(where: str, step: Callable[[], object], abort: Callable[[], object]) -> None:
    """Run a step; if it raises, report that and `abort` what it was for.

    Each of the two is contained, so that a loop over many objects always comes to its end.
    """
    try:
        step()
    except Exception as error:
        report_fault(where, error)
        contained(where, abort)


def contained(where: str, step: Callable[[], object]) -> None:
    """Run a step of a clean-up; if it raises, report that and go on."""
    try:
        step()
    except Exception as error:
        report_fault(where, error)
