"""Rhythm of the measurements of speed."""

import contextlib
from random import Random

import pytest

from monitor.common.config import MirrorConfig, MonitorTimeouts
from monitor.diagnosis.throughput import SAMPLES
from monitor.diagnosis.timing import NORMAL
from monitor.engine import background_checks
from monitor.engine.background_checks import PeriodicChecks
from monitor.engine.prober import Prober
from monitor.probes.opening import Opened
from monitor.probes.results import Operation, StepResult, Transfer, Way

QUICK, SLOW, STOPPED = 5_000_000.0, 15_000.0, -1.0


class Still:
    """A stream that nobody uses."""

    async def write(self, data: bytes) -> None: ...

    async def read(self) -> bytes:
        return b""

    def unacknowledged(self) -> int:
        return 0


class Openable(Prober):
    """Opens every path at once."""

    @contextlib.asynccontextmanager
    async def open(self, *_):
        yield Opened((StepResult(Operation.connect, None, 0.01),), Still())


class Checks:
    """Two mirrors with something long to fetch, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.speeds = {"a": QUICK, "b": QUICK}
        self._periodic = PeriodicChecks(Openable(), NORMAL, Random(1), lambda: self.now)
        monkeypatch.setattr(background_checks, "measure", self._transfer)

    async def _transfer(self, stream, mirror, *_) -> Transfer:
        speed = self.speeds[mirror.id]
        if speed is STOPPED:
            return Transfer(16_000, 1.0, "generic_timeout_error")
        return Transfer(int(speed), 1.0)

    async def measures(self, mirror: str) -> bool:
        """True if it was due."""
        config = MirrorConfig(mirror, f"https://{mirror}.test", bulk_path="/bulk")
        return await self._periodic.measure(
            config, Way(config.host, "192.0.2.1"), MonitorTimeouts()
        )

    def verdict(self, mirror: str) -> str:
        return self._periodic.reaction(mirror)[0].verdict


async def test_throttling_is_told_within_minutes_beside_a_mirror_that_is_quick(monkeypatch):
    checks = Checks(monkeypatch)
    assert await checks.measures("a")
    assert await checks.measures("b")
    checks.now += 1500.0
    checks.speeds["a"] = SLOW
    began = checks.now
    assert await checks.measures("a")
    assert await checks.measures("b"), "what is slow is compared with others in the same minutes"
    while checks.verdict("a") != "throttled":
        checks.now += 5.0
        assert checks.now - began < 600.0
        await checks.measures("a")
        await checks.measures("b")
    assert checks.verdict("b") in ("ok", "unknown")


async def test_transfers_that_stop_are_told_within_minutes(monkeypatch):
    checks = Checks(monkeypatch)
    checks.speeds["a"] = STOPPED
    began = checks.now
    while checks.verdict("a") != "byte_cap_freeze":
        await checks.measures("a")
        checks.now += 5.0
        assert checks.now - began < 600.0


async def test_a_mirror_that_stays_slow_is_measured_rarely(monkeypatch):
    checks = Checks(monkeypatch)
    checks.speeds = {"a": SLOW, "b": SLOW}
    made = 0
    for _ in range(3600):
        checks.now += 1.0
        made += await checks.measures("a")
        await checks.measures("b")
    assert SAMPLES <= made <= SAMPLES + 4
    assert checks.verdict("a") == "unknown", "all are slow: it may be our own line"
