"""One of three mirrors dies and returns while 100 streams a second begin; our default settings."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.prove.conftest import Measure
from tests.scenarios.failing_mirrors import NAMES, FailingMirror, instance_before
from tests.scenarios.open_loop_load import STREAM, Ended, OpenLoad, percentile
from tests.testkit.wait import wait_until_async

pytestmark = pytest.mark.prove

RATE, GAP = 100.0, 0.25
"""Streams that begin in a second; each has four words, so far apart."""
DEAD = 20.0
SLOW_MACHINE = 3.0
"""Seconds that a slow machine may add."""


@pytest.mark.parametrize(
    ("way", "back_within"),
    [
        ("refused", 3.0),
        # A reset while connecting may be a firewall's, which is not asked more often.
        ("reset", 40.0),
    ],
)
async def test_only_streams_that_had_begun_on_it_are_lost_when_a_mirror_dies(
    way: str, back_within: float, tmp_path: Path, measured: Measure
) -> None:
    async with AsyncExitStack() as stack:
        mirrors = [await stack.enter_async_context(FailingMirror(name, gap=GAP)) for name in NAMES]
        dying = mirrors[1]
        instance = await stack.enter_async_context(
            instance_before(mirrors, tmp_path / "instance", timeouts={})
        )
        async with OpenLoad(instance.base_url, RATE, [STREAM]) as load:
            await asyncio.sleep(6.0)
            died, streaming = time.monotonic(), dying.waiting
            await dying.fail(way)
            await asyncio.sleep(DEAD)
            returned = time.monotonic()
            await dying.recover()
            await wait_until_async(lambda: _uses(dying, returned) > 0, 60, "its use")
            await asyncio.sleep(10.0)
        back = min(at for at, _ in dying.asked if at >= returned) - returned
        lost = [one for one in load.ended if one.outcome != "whole"]
        rescued = sum(one.attempts > 1 and one.outcome == "whole" for one in load.ended)
        before, after = load.between(died - 5.0, died - 1.0), load.between(died, died + 5.0)
        measured("streams", len(load.ended))
        measured("on the mirror when it died", streaming)
        measured("lost, all of them begun on it", len(lost))
        measured("rescued by another attempt", rescued)
        measured("p99 before, s", percentile((one.seconds for one in before), 99))
        measured("p99 of the five seconds after the death, s",
                 percentile((one.seconds for one in after), 99))  # fmt: skip
        measured("asked again after it could be reached, s", back)
        shares = _shares(mirrors, returned + back, time.monotonic())
        measured("its share second by second, %", [round(100 * share) for share in shares])
        measured("of the promised time", back / back_within)
        assert len(load.ended) > 0.5 * RATE * DEAD
        assert [one for one in lost if not _was_on(one, dying.name, died)] == []
        assert len(lost) <= streaming
        assert streaming > 0
        assert back <= back_within + SLOW_MACHINE


def _shares(mirrors: Sequence[FailingMirror], begin: float, end: float) -> list[float]:
    """The second mirror's share of the requests in each whole second."""
    shares = []
    for second in range(int(end - begin)):
        edges = begin + second, begin + second + 1
        got = [sum(edges[0] <= at < edges[1] for at, _ in mirror.asked) for mirror in mirrors]
        shares.append(got[1] / max(sum(got), 1))
    return shares


def _was_on(one: Ended, mirror: str, died: float) -> bool:
    """True if content had come from this mirror, of a stream that began before it died."""
    return one.outcome == "error" and one.begun and one.mirror == mirror and one.began < died


def _uses(mirror: FailingMirror, since: float) -> int:
    return sum(at >= since for at, _ in mirror.asked)
