"""Measures transfers through a scene's censor, and judges their speed."""

import asyncio

from monitor.common.config import MirrorConfig, MonitorTimeouts
from monitor.diagnosis.throughput import SAMPLES, Sample, judge_throughput
from monitor.probes.opening import Budget, open_path
from monitor.probes.results import Way
from monitor.probes.throughput import BulkLimits, measure
from tests.testkit.censor.scene import Scene
from tests.testkit.censor.watching import Diagnosed

USUAL = 250_000.0
"""Bytes per second that the mirror is taken to have had in the past; little, because all mirrors
and clients of a test share one event loop."""
SLOW = 16_000
"""Less than a tenth of that."""
AT_ONCE = 100
LIMITS = BulkLimits(whole=30.0, stall=3.0)
TIMEOUTS = MonitorTimeouts(connect=5.0, handshake=5.0)
_WHOLE = 60.0


async def judge_transfers(scene: Scene, probes: int) -> list[Diagnosed]:
    """Fetch the same over each path several times; one finding for each path."""
    return list(await asyncio.gather(*(_judge(scene, address) for address in scene.addresses)))


async def _judge(scene: Scene, address: str) -> Diagnosed:
    samples = await asyncio.gather(*(_transfer(scene, address) for _ in range(SAMPLES)))
    return Diagnosed(judge_throughput(samples, USUAL, others_normal=True))


async def _transfer(scene: Scene, address: str) -> Sample:
    mirror = MirrorConfig(
        id="mirror",
        url=f"https://{scene.hostname}:{scene.port}",
        bulk_path="/bulk",
        ca_file=str(scene.world.ca_file),
    )
    way, contexts = Way(scene.hostname, address), scene.world.contexts
    async with (
        scene.world.transfers,
        open_path(mirror, way, contexts, TIMEOUTS, Budget.of(_WHOLE)) as found,
    ):
        assert found.stream is not None, found.failure
        transfer = await measure(found.stream, mirror, scene.hostname, "tests", LIMITS)
    return Sample(transfer.received, transfer.goodput, transfer.failure is not None)
