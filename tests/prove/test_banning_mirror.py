"""A mirror that bans never bans us, through a worker's death and a reload under load."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.prove.conftest import Measure
from tests.scenarios.failing_mirrors import CONNECTIONS, RATE, overload
from tests.testkit.instance import Instance

pytestmark = pytest.mark.prove


async def _upheavals(instance: Instance) -> None:
    """Both workers die, control dies, and the configuration is read again, five seconds apart."""
    workers = await asyncio.to_thread(instance.workers)
    control = await asyncio.to_thread(instance.control)
    for child in (*workers, control):
        await asyncio.sleep(5.0)
        os.kill(child.pid, signal.SIGKILL)
    await asyncio.sleep(5.0)
    await asyncio.to_thread(instance.reload, instance.config)


@pytest.mark.parametrize("generous", [2, 0], ids=["beside others", "alone"])
async def test_a_mirror_that_bans_never_bans_us(generous: int, tmp_path: Path, measured: Measure):
    seen = await overload(
        tmp_path / "instance", generous=generous, seconds=60.0, meanwhile=_upheavals
    )
    measured("connections at most, of 10", seen.strict.most_connections)
    measured("requests within a second at most, of 20", seen.strict.most_in_a_second)
    measured("requests per second", seen.rate)
    measured("judged by their time, of those", seen.strict.judged)
    measured("requests in all", len(seen.ended))
    measured("clear errors", sum(one.outcome == "error" for one in seen.ended))
    measured("lost with a killed worker", len(seen.lost))
    assert seen.strict.banned == ""
    assert seen.strict.most_connections <= CONNECTIONS
    assert seen.strict.most_in_a_second <= RATE
    assert seen.rate > RATE / 2
