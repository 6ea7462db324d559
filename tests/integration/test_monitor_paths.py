"""Paths, with real TLS over several addresses and a censor on the way."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from monitor.common.config import DnsConfig, MirrorConfig, MonitorConfig, MonitorTimeouts, SniConfig
from monitor.common.metric_registry import MetricRegistry
from monitor.diagnosis.timing import NORMAL, DiagnosisTiming
from monitor.engine.metrics import FAMILIES
from monitor.engine.monitor import Monitor
from monitor.engine.naming import NameService
from monitor.engine.prober import Prober
from monitor.health.snapshot import HealthBoard, HealthSnapshot, PathHealth, Standing, State
from monitor.probes.resolvers import Resolvers
from monitor.store.store import Store
from tests.testkit.censor.dns import DnsServer, DohServer, Script, reply
from tests.testkit.censor.relay import Censor
from tests.testkit.censor.rules import RST, Residual, Rule, divert, exactly
from tests.testkit.certs import Authority
from tests.testkit.listener import TlsServer
from tests.testkit.wait import wait_until_async

OWN, ALT, CONTROL = "own.mirror.test", "alt.mirror.test", "control.test"
NEAR, FAR, LIE = "127.0.1.2", "127.0.2.3", "127.0.3.4"
BODY = b'{"error": {"code": null}}'
ANSWER = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (
    len(BODY),
    BODY,
)
RESIDUAL = 1.5


def hurried(residual: float) -> DiagnosisTiming:
    """The usual pace, with everything that is waited for made short."""
    short = NORMAL.shortened(residual)
    return replace(
        short, wait_jitter=0.2, gap=0.05, start_jitter=0.05, target_interval=0.5, suspicious_most=99
    )


class Scenario:
    """A mirror of two names and two addresses behind a censor, and its monitor."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.snapshots: list[tuple[float, HealthSnapshot]] = []
        self.censor = Censor()
        self.prober: Prober | None = None

    async def start(self, config: MonitorConfig, **mirror: Any) -> None:
        leaf = self.authority.issue(OWN, ALT)
        self.server = TlsServer(leaf.server_context(), ANSWER)
        await self.server.__aenter__()
        self.port = await self.censor.listen((NEAR, FAR, LIE), self.server.address)
        self.mirror = MirrorConfig(
            "hk",
            f"https://{OWN}:{self.port}",
            ca_file=str(self.authority.ca_file),
            **({"hostnames": (ALT,), "addresses": (NEAR, FAR)} | mirror),
        )
        self.store = await Store.open(f"sqlite:///{self.folder / 'm.db'}")
        self.board = HealthBoard("here")
        self.totals = MetricRegistry(FAMILIES)
        self.monitor = Monitor(
            config,
            (self.mirror,),
            self.store,
            self.board,
            self.totals,
            lambda snapshot: self.snapshots.append((time.monotonic(), snapshot)),
            rng=Random(1),
            pace=hurried(RESIDUAL),
            prober=self.prober,
        )
        await self.monitor.start()

    async def stop(self) -> None:
        await self.monitor.stop()
        await self.store.close()
        await self.censor.close()
        await self.server.__aexit__(None, None, None)

    def path(self, hostname: str, address: str) -> PathHealth:
        paths = self.board.current.of("hk").paths
        return next(p for p in paths if (p.hostname, p.address) == (hostname, address))

    def standings(self, hostname: str, address: str) -> list[str]:
        """Standings of a path so far."""
        return [
            path.standing.value
            for _, snapshot in self.snapshots
            for path in snapshot.of("hk").paths
            if (path.hostname, path.address) == (hostname, address)
        ]

    @property
    def usable(self) -> set[tuple[str, str]]:
        paths = self.board.current.of("hk").paths
        return {(p.hostname, p.address) for p in paths if p.usable}

    async def until_usable(self, *paths: tuple[str, str], seconds: float = 20.0) -> None:
        await wait_until_async(lambda: self.usable == set(paths), seconds, f"{paths} usable")

    def improper(self) -> list[str]:
        """Handshakes under the own name to endpoints that were quarantined then."""
        found = []
        for (at, snapshot), (later, _) in zip(
            self.snapshots, [*self.snapshots[1:], (time.monotonic(), None)], strict=True
        ):
            for endpoint in snapshot.quarantine:
                address = endpoint.rpartition(":")[0]
                seen = self.censor.handshakes(OWN, address, since=at + 0.05, until=later)
                found += [f"{endpoint} at {one.at - at:.3f}" for one in seen]
        return found


ALL = ((OWN, NEAR), (OWN, FAR), (ALT, NEAR), (ALT, FAR))
TIMEOUTS = MonitorTimeouts(resolve=1.0, connect=1.0, handshake=1.0, request=2.0)
CONFIG = MonitorConfig(interval=0.3, timeouts=TIMEOUTS, sni=SniConfig(control=(CONTROL,)))


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    made = Scenario(tmp_path)
    yield made
    await made.stop()


async def test_all_paths_are_tried_and_the_own_name_comes_first(scenario: Scenario) -> None:
    await scenario.start(CONFIG)
    await scenario.until_usable(*ALL)
    paths = scenario.board.current.of("hk").paths
    assert [path.hostname for path in paths] == [OWN, OWN, ALT, ALT]
    assert all(path.latency and path.not_after for path in paths)
    assert scenario.board.current.of("hk").tls_not_after == paths[0].not_after
    assert scenario.totals.get("mirrorgate_mirror_paths", ("hk", "ok")) == 4


async def test_a_blocked_name_is_left_for_another_and_comes_back(scenario: Scenario) -> None:
    await scenario.start(CONFIG)
    await scenario.until_usable(*ALL)
    began = time.monotonic()
    scenario.censor.rules = (Rule(exactly(OWN), RST, residual=Residual(1.0)),)
    await wait_until_async(
        lambda: (
            scenario.path(OWN, NEAR).verdict == "sni_block_rst"
            or scenario.path(OWN, FAR).verdict == "sni_block_rst"
        ),
        30,
        "the block is found",
    )
    health = scenario.board.current.of("hk")
    assert health.state in (State.up, State.degraded)
    assert scenario.totals.get("mirrorgate_verdict", ("hk", "sni_block_rst")) == 1
    down = [s for at, s in scenario.snapshots if at > began and s.of("hk").state is State.down]
    assert not down
    scenario.censor.rules = ()
    ended = time.monotonic()
    await scenario.until_usable(*ALL, seconds=30)
    assert scenario.board.current.of("hk").verdict == "ok"
    assert scenario.improper() == []
    assert time.monotonic() - ended < 30


async def test_a_name_that_is_blocked_from_the_start_is_shown_at_one_address_only(
    scenario: Scenario,
) -> None:
    scenario.censor.rules = (Rule(exactly(OWN), RST, residual=Residual(60.0)),)
    await scenario.start(CONFIG)
    await wait_until_async(lambda: (ALT, FAR) in scenario.usable or (ALT, NEAR) in scenario.usable)
    assert len({seen.address for seen in scenario.censor.handshakes(OWN)}) == 1
    assert scenario.board.current.of("hk").state in (State.up, State.degraded)


async def test_an_address_that_refuses_is_left_for_the_other(scenario: Scenario) -> None:
    await scenario.start(CONFIG)
    await scenario.until_usable(*ALL)
    await scenario.censor.become("refuse", NEAR)
    await scenario.until_usable((OWN, FAR), (ALT, FAR))
    await wait_until_async(lambda: scenario.path(OWN, NEAR).standing is Standing.held)
    assert scenario.path(OWN, NEAR).verdict == "connection_refused"
    assert scenario.board.current.of("hk").state is State.up
    assert scenario.board.current.quarantine == {}
    await scenario.censor.become("serve", NEAR)
    await scenario.until_usable(*ALL)


async def test_a_single_stray_reset_does_not_cost_a_mirror_its_only_address(
    scenario: Scenario,
) -> None:
    await scenario.start(CONFIG, hostnames=(), addresses=(NEAR,))
    await scenario.until_usable((OWN, NEAR))
    strays = iter((True,))
    scenario.censor.rules = (Rule(lambda read: next(strays, False), RST),)
    await wait_until_async(lambda: "suspected" in scenario.standings(OWN, NEAR))
    await wait_until_async(lambda: scenario.path(OWN, NEAR).standing is Standing.ok, 5)
    assert not any(s.quarantine or s.of("hk").state is State.down for _, s in scenario.snapshots)


async def test_failures_of_traffic_take_a_path_out_of_use(scenario: Scenario) -> None:
    await scenario.start(replace(CONFIG, interval=1000.0))
    await scenario.until_usable(*ALL)
    await scenario.censor.become("refuse", NEAR)
    scenario.monitor.hear(
        {
            "paths": [["hk", OWN, NEAR, "connect", "connection_refused"]],
            "opened": [["hk", OWN, FAR, 0.5, 0.0], ["nobody", OWN, FAR, 0.5, 0.0]],
            "transfers": [["nobody", 1, True]],
        }
    )
    await wait_until_async(lambda: (OWN, NEAR) not in scenario.usable, 5)
    assert (scenario.path(OWN, FAR).latency or 0.0) > 100


async def test_an_address_that_a_resolver_forges_is_never_used(scenario: Scenario) -> None:
    stranger = scenario.authority.stranger().issue(OWN)
    liar = DnsServer(Script({OWN: (reply(LIE),)}))
    honest = DohServer(scenario.authority.issue("dns.test"), Script({OWN: (reply(NEAR),)}))
    async with TlsServer(stranger.server_context()) as impostor, liar, honest:
        scenario.censor.rules = (Rule(exactly(OWN), divert(*impostor.address), addresses=(LIE,)),)
        specs = (f"udp://{liar.address}", honest.url)
        trust = scenario.authority.client_context()
        names = NameService(
            specs, hurried(RESIDUAL), resolvers=lambda wanted: Resolvers(wanted, trust=trust)
        )
        scenario.prober = Prober(names)
        config = replace(CONFIG, dns=DnsConfig(specs))
        await scenario.start(config, hostnames=(), addresses=(), allow_private=True)
        await scenario.until_usable((OWN, NEAR))
        await wait_until_async(lambda: scenario.board.current.of("hk").dns == "dns_poisoned", 20)
        await scenario.monitor.stop()
        health = scenario.board.current.of("hk")
        assert (health.state, health.verdict) == (State.up, "ok")
        assert scenario.totals.get("mirrorgate_verdict", ("hk", "dns_poisoned")) == 1
        shown = [s.of("hk").paths for _, s in scenario.snapshots]
        assert not any(p.usable and p.address == LIE for paths in shown for p in paths)
        assert scenario.path(OWN, LIE).verdict == "dns_poisoned"
        assert impostor.heard == b""
