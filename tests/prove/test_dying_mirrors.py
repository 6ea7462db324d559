"""One of three mirrors dies in each way under 200 requests a second, and comes back."""

import asyncio
import itertools
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.prove.conftest import Measure
from tests.scenarios.failing_mirrors import (
    MODES,
    NAMES,
    FailingMirror,
    failure_under_load,
    instance_before,
)
from tests.scenarios.open_loop_load import OpenLoad
from tests.testkit.wait import wait_until_async

pytestmark = pytest.mark.prove

RATE = 200.0
FAST_FAILING = ("refused", "reset", "500", "503", "garbage")


@pytest.mark.parametrize("mode", MODES)
async def test_every_repeatable_request_succeeds_when_a_mirror_dies(
    mode: str, tmp_path: Path, measured: Measure
):
    failure = await failure_under_load(mode, tmp_path / "instance", rate=RATE)
    measured("requests from the death on", len(failure.after))
    measured("succeeded after another attempt", failure.rescued)
    measured("clear errors, by kind", dict(failure.errors))
    measured("added p99, ms", failure.added_p99 * 1000)
    measured("slowest whole answer, s", failure.slowest)
    measured("share of the dead mirror after 5 s, %", failure.late_share)
    assert failure.lost == []
    assert failure.unclear == []
    assert failure.sent_twice == []
    if mode in FAST_FAILING:
        assert failure.late_share < 5.0
    elif mode != "slow":
        assert failure.late_share < 1.0


async def test_a_mirror_with_a_third_of_the_latency_is_preferred_and_not_flooded(
    tmp_path: Path, measured: Measure
):
    latencies = {"a": 0.06, "b": 0.02, "c": 0.06}
    async with AsyncExitStack() as stack:
        mirrors = [
            await stack.enter_async_context(FailingMirror(name, latency=latency))
            for name, latency in latencies.items()
        ]
        instance = await stack.enter_async_context(instance_before(mirrors, tmp_path / "instance"))
        async with OpenLoad(instance.base_url, RATE) as load:
            await asyncio.sleep(5.0)
            known = time.monotonic()
            await asyncio.sleep(10.0)
        got = [mirror.since(known) for mirror in mirrors]
        share = got[1] / sum(got)
        measured("share of the fast one, %", 100 * share)
        measured("most at once on it, and on the others", [m.most_waiting for m in mirrors])
        assert {one.outcome for one in load.ended} == {"whole"}
        assert 0.4 < share < 0.7, "two drawn by chance of three can give one two thirds"


async def test_a_mirror_that_has_recovered_is_not_stampeded(tmp_path: Path, measured: Measure):
    ejection, ramp = {"base": "2s", "max_quick": "2s"}, 10.0
    async with AsyncExitStack() as stack:
        mirrors = [await stack.enter_async_context(FailingMirror(name)) for name in NAMES]
        instance = await stack.enter_async_context(
            instance_before(
                mirrors,
                tmp_path / "instance",
                interval="1s",
                ejection=ejection,
                balance={"ramp": f"{ramp:g}s"},
            )
        )
        async with OpenLoad(instance.base_url, RATE) as load:
            await asyncio.sleep(5.0)
            await mirrors[1].fail("500")
            await asyncio.sleep(3.0)
            recovered = time.monotonic()
            await mirrors[1].recover()
            await asyncio.sleep(ramp + 8.0)
        assert all(one.outcome == "whole" for one in load.between(recovered))
        shares = _shares(mirrors, recovered, time.monotonic())
        back = next((at for at, share in enumerate(shares) if share > 0.02), len(shares))
        ramping = shares[back:][: int(ramp)]
        measured("seconds until it is in use again", back)
        measured("its share second by second, %", [round(100 * share) for share in shares])
        assert back <= 4
        assert max(ramping[:2]) < 0.2, "it begins with little"
        assert max(shares) < 0.45, "and never gets far more than a third"
        assert sum(shares[-4:]) / 4 > 0.25, "which it has in the end"


async def test_with_our_defaults_a_recovered_mirror_is_used_within_ten_seconds(
    tmp_path: Path, measured: Measure
):
    async with AsyncExitStack() as stack:
        mirrors = [await stack.enter_async_context(FailingMirror(name)) for name in NAMES]
        instance = await stack.enter_async_context(instance_before(mirrors, tmp_path / "instance"))
        async with OpenLoad(instance.base_url, RATE / 10) as load:
            await asyncio.sleep(3.0)
            await mirrors[1].fail("503")
            await asyncio.sleep(60.0)
            recovered = time.monotonic()
            await mirrors[1].recover()
            await wait_until_async(lambda: mirrors[1].since(recovered) > 10, 45, "its use")
        first = min(at for at, _ in mirrors[1].asked if at > recovered)
        measured("seconds until it is asked again after 60 s of 503", first - recovered)
        assert [one for one in load.ended if one.must_succeed and one.outcome != "whole"] == []
        assert first - recovered <= 10.0


def _shares(mirrors: Sequence[FailingMirror], begin: float, end: float) -> list[float]:
    """The second mirror's share in each whole second."""
    moments = [begin + second for second in range(int(end - begin) + 1)]
    shares = []
    for one, next_one in itertools.pairwise(moments):
        got = [mirror.since(one) - mirror.since(next_one) for mirror in mirrors]
        shares.append(got[1] / max(sum(got), 1))
    return shares
