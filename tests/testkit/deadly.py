"""One of three mirrors dies under load, before a real instance with two workers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.testkit.instance import Instance
from tests.testkit.mortal import MortalMirror
from tests.testkit.open_load import ONCE, PLAIN, Ended, OpenLoad, percentile

TIMEOUTS = {
    "connect": "1s",
    "first_byte": "2s",
    "stream_head": "2s",
    "first_content": "3s",
    "idle": "2s",
}
"""Shorter than ours, so that a death is over soon."""
NAMES = ("a", "b", "c")


@asynccontextmanager
async def instance_before(
    mirrors: Sequence[MortalMirror],
    directory: Path,
    *,
    interval: str = "15s",
    limits: Mapping[str, int] | None = None,
    **router: Any,
) -> AsyncIterator[Instance]:
    """A running instance with two workers.

    `interval`: between two probes; `limits`: what the first mirror may be asked at most.
    """
    tables = [mirror.table(allow_private=True) for mirror in mirrors]
    tables[0].update(limits or {})
    config = {
        "router": {"workers": 2, "timeouts": TIMEOUTS, **router},
        "monitor": {"interval": interval},
        "mirrors": tables,
    }
    instance = Instance(config, directory)
    await asyncio.to_thread(instance.start)
    try:
        yield instance
    finally:
        await asyncio.to_thread(instance.__exit__, None, None, None)


@dataclass
class Death:
    """Description of a death."""

    died_at: float
    before: list[Ended]
    after: list[Ended]
    late_share: float
    """Of the traffic from five seconds after the death on, what the dead mirror got, per cent."""
    sent: Mapping[str, int]
    """How often each request reached a mirror."""

    @property
    def lost(self) -> list[Ended]:
        """Requests that should have succeeded and did not."""
        return [one for one in self.after if one.must_succeed and one.outcome != "whole"]

    @property
    def unclear(self) -> list[Ended]:
        """Requests that got neither a whole answer nor one clear error."""
        return [one for one in self.before + self.after if one.outcome not in ("whole", "error")]

    @property
    def errors(self) -> Counter[str]:
        """Errors after the death, by kind of request."""
        return Counter(one.kind for one in self.after if one.outcome == "error")

    @property
    def sent_twice(self) -> list[str]:
        """Requests that must be sent once and were sent more often."""
        once = [one.id for one in self.before + self.after if one.kind == ONCE]
        return [name for name in once if self.sent.get(name, 0) > 1]

    @property
    def rescued(self) -> int:
        """Whole answers that took more than one attempt."""
        return sum(one.attempts > 1 and one.outcome == "whole" for one in self.after)

    @property
    def slowest(self) -> float:
        """Seconds that the slowest whole answer took."""
        return max(one.seconds for one in self.after if one.outcome == "whole")

    @property
    def added_p99(self) -> float:
        """Seconds that the death has added to the 99th percentile of plain chats."""
        return _p99(self.after) - _p99(self.before)


def _p99(ended: Sequence[Ended]) -> float:
    whole = [one.seconds for one in ended if one.kind == PLAIN and one.outcome == "whole"]
    return percentile(whole, 99)


async def death_by(
    way: str, directory: Path, *, rate: float = 200.0, warm: float = 5.0, then: float = 12.0
) -> Death:
    """The second of three mirrors dies."""
    async with AsyncExitStack() as stack:
        mirrors = [await stack.enter_async_context(MortalMirror(name)) for name in NAMES]
        instance = await stack.enter_async_context(instance_before(mirrors, directory))
        async with OpenLoad(instance.base_url, rate) as load:
            await asyncio.sleep(warm)
            await mirrors[1].die(way)
            died_at = time.monotonic()
            await asyncio.sleep(then)
        late = load.between(died_at + 5.0)
        return Death(
            died_at,
            load.between(died_at - warm / 2, died_at),
            load.between(died_at - 0.05),
            100.0 * mirrors[1].since(died_at + 5.0) / max(len(late), 1),
            Counter(name for mirror in mirrors for _, name in mirror.asked),
        )
