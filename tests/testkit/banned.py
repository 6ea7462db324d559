"""A mirror that bans, as real ones do, whoever has more than ten connections or asks more than
twenty times a second; and far more callers than that, before it alone or beside generous ones.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.testkit.deadly import instance_before
from tests.testkit.instance import Instance
from tests.testkit.mortal import MortalMirror
from tests.testkit.open_load import Ended, OpenLoad

CONNECTIONS, RATE = 10, 20
LIMITS = {"max_connections": CONNECTIONS, "max_requests_per_second": RATE}
OFFERED = 200.0
QUEUE = {"max_wait": "2s"}
Meanwhile = Callable[[Instance], Awaitable[None]]


@dataclass
class Course:
    """Result of the course."""

    ended: list[Ended]
    strict: MortalMirror
    seconds: float

    @property
    def rate(self) -> float:
        """Requests per second that the strict mirror got."""
        return len(self.strict.asked) / self.seconds

    @property
    def lost(self) -> list[Ended]:
        """Neither a whole answer nor a clear error."""
        return [one for one in self.ended if one.outcome not in ("whole", "error")]


async def course(
    directory: Path,
    *,
    generous: int,
    seconds: float,
    meanwhile: Meanwhile | None = None,
    limited: bool = True,
) -> Course:
    """So many callers; `limited`: the operator has told us what the mirror bears."""
    async with AsyncExitStack() as stack:
        strict = MortalMirror("strict", bans_above=(CONNECTIONS, RATE))
        mirrors = [strict, *(MortalMirror(f"generous-{number}") for number in range(generous))]
        for mirror in mirrors:
            await stack.enter_async_context(mirror)
        limits = LIMITS if limited else {}
        instance = await stack.enter_async_context(
            instance_before(mirrors, directory, limits=limits, queue=QUEUE)
        )
        began = time.monotonic()
        async with OpenLoad(instance.base_url, OFFERED) as load:
            if meanwhile is not None:
                await meanwhile(instance)
            await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))
        return Course(load.ended, strict, time.monotonic() - began)
