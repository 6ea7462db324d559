"""The monitor as a whole: real schedule, board and store; probes real or by script."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.common.audit import Actor
from monitor.common.config import MirrorConfig, MonitorConfig, MonitorTimeouts, SniConfig
from monitor.common.metric_registry import MetricRegistry
from monitor.common.tasks import CRASHES
from monitor.diagnosis.classify import judge
from monitor.engine.metrics import FAMILIES
from monitor.engine.mirror_state import MirrorState
from monitor.engine.monitor import Monitor
from monitor.engine.prober import Asked, Probe, Prober
from monitor.engine.scheduler import probe_budget
from monitor.health.snapshot import HealthBoard, HealthSnapshot, Override, Standing, State
from monitor.probes.opening import Budget
from monitor.probes.results import (
    OUT_OF_RESOURCES,
    TIMED_OUT,
    HttpAnswer,
    Operation,
    PathResult,
    StepResult,
    Way,
)
from monitor.store import queries
from monitor.store.records import Sample, Transition
from monitor.store.store import Store
from tests.testkit.mirror.server import PretendMirror
from tests.testkit.wait import wait_until_async

ADDRESS = "192.0.2.1"
CONFIG = MonitorConfig(interval=0.1)
SLOW = MonitorConfig(interval=10_000)


def result(
    operation: Operation,
    failure: str | None = None,
    status: int = 401,
    headers: Mapping[str, str] | None = None,
) -> Probe:
    """A probe whose only path ended so."""
    answer = HttpAnswer(status, headers or {}, b'{"error": {}}') if failure is None else None
    resolution = StepResult(Operation.resolve, None, 0.001, addresses=(ADDRESS,))
    if operation is Operation.resolve:
        resolution = StepResult(operation, failure, 0.001)
        return Probe(resolution, (), judge(resolution, ()))
    step = StepResult(operation, failure, 0.001, http=answer, first_byte=0.001)
    paths = (PathResult(ADDRESS, (step,)),)
    return Probe(resolution, paths, judge(resolution, paths))


GOOD = result(Operation.http_round_trip)
LIMITED = result(Operation.http_round_trip, status=429)
CHALLENGED = result(Operation.http_round_trip, status=403, headers={"cf-mitigated": "challenge"})
REFUSED = result(Operation.connect, "connection_refused")
NO_ROUTE = result(Operation.connect, "network_unreachable")
NO_RESOLVER = result(Operation.resolve, "dns_temporary_failure")
NO_DESCRIPTOR = result(Operation.connect, OUT_OF_RESOURCES)
RESOLVER_HANGS = result(Operation.resolve, TIMED_OUT)


class ScriptedProber(Prober):
    """Answers as it is told, and counts."""

    def __init__(self, *ids: str) -> None:
        super().__init__()
        self.says = dict.fromkeys(ids, GOOD)
        self.count = dict.fromkeys(ids, 0)
        self.asked_about: list[str] = []
        self.resolves_others = True

    async def resolver_answers(self, hostname: str, timeout: float) -> bool:
        self.asked_about.append(hostname)
        return self.resolves_others

    async def resolve(self, mirror: MirrorConfig, timeout: float, hostname: str = "") -> StepResult:
        self.count[mirror.id] += 1
        return self.says[mirror.id].resolution

    async def ask(
        self, mirror: MirrorConfig, ways: Sequence[Way], timeouts: MonitorTimeouts, budget: Budget
    ) -> Asked:
        paths = self.says[mirror.id].paths if ways else ()
        return Asked(tuple(replace(path, hostname=mirror.host) for path in paths), {})

    async def check_handshake(
        self, mirror: MirrorConfig, way: Way, timeouts: MonitorTimeouts, budget: Budget
    ) -> PathResult:
        return replace(self.says[mirror.id].paths[0], hostname=mirror.host)


class HeldProber(ScriptedProber):
    """A prober whose probes of one mirror can be made to take long."""

    def __init__(self, *ids: str) -> None:
        super().__init__(*ids)
        self.held = ""
        self.holding = asyncio.Event()
        self.released = asyncio.Event()

    async def resolve(self, mirror: MirrorConfig, timeout: float, hostname: str = "") -> StepResult:
        if mirror.id == self.held:
            self.holding.set()
            await self.released.wait()
        return await super().resolve(mirror, timeout, hostname)


class SlowChecker(ScriptedProber):
    """A prober whose handshake checks take until they are released."""

    def __init__(self, *ids: str) -> None:
        super().__init__(*ids)
        self.checking = asyncio.Event()
        self.released = asyncio.Event()

    async def check_handshake(
        self, mirror: MirrorConfig, way: Way, timeouts: MonitorTimeouts, budget: Budget
    ) -> PathResult:
        self.checking.set()
        await self.released.wait()
        return replace(GOOD.paths[0], hostname=way.hostname)


class Setup:
    """A monitor over two mirrors, `hk` and `us`, and all that it needs."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self.prober = ScriptedProber("hk", "us", "jp")
        self.mirrors = tuple(mirror(i) for i in ("hk", "us"))
        self.published: list[HealthSnapshot] = []
        self.probed: set[tuple[str, bool]] = set()
        self.monitors: list[tuple[Monitor, Store]] = []
        self.now = time.time

    async def start(
        self, config: MonitorConfig = CONFIG, prober: Prober | None = None, *, probes: bool = True
    ) -> Monitor:
        self.store = await Store.open(self.url)
        self.board = HealthBoard("here")
        self.totals = MetricRegistry(FAMILIES)
        monitor = Monitor(
            config,
            self.mirrors,
            self.store,
            self.board,
            self.totals,
            self.published.append,
            probed=lambda mirror, ok: self.probed.add((mirror, ok)),
            clock=lambda: self.now(),
            prober=prober or self.prober,
        )
        self.monitors.append((monitor, self.store))
        await monitor.start(probes=probes)
        return monitor

    async def stop(self) -> None:
        while self.monitors:
            monitor, store = self.monitors.pop()
            await monitor.stop()
            await store.close()

    async def transitions(self, mirror_id: str, limit: int) -> list[Transition]:
        return await self.store.read(lambda asked: queries.transitions(asked, mirror_id, limit))

    def state(self, mirror_id: str) -> State:
        return self.board.current.of(mirror_id).state

    async def until(self, mirror_id: str, state: State) -> None:
        await wait_until_async(lambda: self.state(mirror_id) is state, what=f"{mirror_id} {state}")

    async def told(self, mirror_id: str, state: State) -> None:
        """Until whoever listens has been told this state."""
        await wait_until_async(lambda: self.published[-1].of(mirror_id).state is state)

    async def probes_more(self, mirror_id: str, number: int) -> None:
        wanted = self.prober.count[mirror_id] + number
        await wait_until_async(lambda: self.prober.count[mirror_id] >= wanted)


def mirror(mirror_id: str, **options) -> MirrorConfig:
    return MirrorConfig(mirror_id, f"https://{mirror_id}.example.com", **options)


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[Setup]:
    made = Setup(tmp_path / "m.db")
    yield made
    await made.stop()


async def test_mirrors_begin_unknown_and_usable_and_are_up_after_one_good_probe(setup):
    await setup.start(SLOW)
    first = setup.published[0]
    assert [m.state for m in first.mirrors.values()] == [State.unknown, State.unknown]
    assert first.of("hk").in_rotation
    await setup.until("hk", State.up)
    await setup.until("us", State.up)
    health = setup.board.current.of("hk")
    assert (health.verdict, [p.address for p in health.paths], health.detail) == (
        "ok",
        [ADDRESS],
        None,
    )
    assert setup.published[-1] is setup.board.current


async def test_a_reload_before_the_first_probes_does_not_begin_them(setup):
    """Workers are about to tell which paths fail."""
    monitor = await setup.start(SLOW, probes=False)
    monitor.configure(SLOW, (*setup.mirrors, mirror("jp")))
    await setup.store.flush()
    for _ in range(10):  # as long as tasks take that are there
        await asyncio.sleep(0)
    assert set(setup.prober.count.values()) == {0}
    monitor.begin()
    await setup.until("jp", State.up)


async def test_a_failing_mirror_goes_down_and_comes_back(setup):
    await setup.start()
    await setup.until("hk", State.up)
    setup.prober.says["hk"] = REFUSED
    await setup.until("hk", State.down)
    health = setup.board.current.of("hk")
    assert (health.verdict, health.in_rotation) == ("connection_refused", False)
    assert setup.state("us") is State.up
    setup.prober.says["hk"] = GOOD
    await setup.until("hk", State.up)
    await setup.store.flush()
    states = [change.state for change in await setup.transitions("hk", 9)]
    assert states == [State.up, State.down, State.up]


async def test_a_mirror_that_is_down_is_asked_often_and_so_is_back_soon(setup):
    """With an interval that would let nobody wait for it."""
    setup.prober.says["hk"] = REFUSED
    await setup.start(MonitorConfig(interval=3600, fall=1))
    await setup.until("hk", State.down)
    await setup.probes_more("hk", 2)
    setup.prober.says["hk"] = GOOD
    await setup.until("hk", State.up)
    assert setup.prober.count["us"] == 1


async def test_a_name_that_was_cut_off_is_not_shown_more_often_because_it_is_down(setup):
    setup.prober.says["hk"] = result(Operation.tls_handshake, "eof_error")
    await setup.start(MonitorConfig(interval=3600, fall=1, sni=SniConfig(control=())))
    await setup.until("hk", State.down)
    (watch,) = [w for w in setup.monitors[-1][0]._watches.values() if w.mirror.id == "hk"]
    assert not watch.may_return


async def test_a_real_mirror_is_seen_down_within_three_intervals(setup, start_mirror):
    pretend: PretendMirror = await start_mirror()
    setup.mirrors = (MirrorConfig("hk", pretend.base_url.removesuffix("/v1"), allow_private=True),)
    config = MonitorConfig(interval=2.0)
    await setup.start(config, Prober())
    await setup.until("hk", State.up)
    await pretend.behave(listener="refuse")
    began = time.monotonic()
    await setup.until("hk", State.down)
    assert time.monotonic() - began < 3 * config.interval
    await pretend.behave(listener="serve")
    await setup.until("hk", State.up)


async def test_a_limiting_mirror_is_degraded(setup):
    setup.prober.says["hk"] = LIMITED
    await setup.start(SLOW)
    await setup.until("hk", State.degraded)
    assert setup.board.current.of("hk").verdict == "upstream_rate_limited"


async def test_a_doubtful_failure_counts_once_the_others_have_answered(setup):
    prober = setup.prober = HeldProber("hk", "us")
    await setup.start()
    await setup.until("hk", State.up)
    await setup.until("us", State.up)
    prober.held = "us"
    await prober.holding.wait()
    prober.says["hk"] = NO_ROUTE
    await setup.probes_more("hk", 10)
    assert setup.state("hk") is State.up
    prober.released.set()
    await setup.until("hk", State.down)
    assert setup.state("us") is State.up


@pytest.mark.parametrize("failure", [NO_ROUTE, NO_RESOLVER])
async def test_when_our_own_network_is_gone_nobody_is_called_down(setup, failure):
    await setup.start()
    await setup.until("hk", State.up)
    await setup.until("us", State.up)
    setup.prober.says.update(hk=failure, us=failure)
    await setup.until("hk", State.unknown)
    await setup.until("us", State.unknown)
    await setup.probes_more("hk", 10)
    seen = {m.state for snapshot in setup.published for m in snapshot.mirrors.values()}
    assert State.down not in seen
    assert setup.board.current.of("hk").verdict == "local_network_down"
    assert setup.board.current.of("hk").in_rotation
    setup.prober.says.update(hk=GOOD, us=GOOD)
    await setup.until("hk", State.up)


async def test_a_machine_without_a_free_descriptor_calls_nobody_down(setup):
    await setup.start()
    await setup.until("hk", State.up)
    setup.prober.says["hk"] = NO_DESCRIPTOR
    await setup.until("hk", State.unknown)
    await setup.probes_more("hk", 10)
    health = setup.board.current.of("hk")
    assert (health.state, health.verdict) == (State.unknown, "local_network_down")
    assert "no descriptor" in str(health.detail)
    assert health.in_rotation
    setup.prober.says["hk"] = GOOD
    await setup.until("hk", State.up)


@pytest.mark.parametrize("alone", [True, False], ids=["one mirror", "beside one that is up"])
@pytest.mark.parametrize("failure", [NO_RESOLVER, RESOLVER_HANGS])
async def test_while_the_resolver_answers_about_no_name_its_mirrors_are_unknown(
    setup, caplog, failure, alone
):
    setup.prober.resolves_others = False
    setup.prober.says["hk"] = failure
    if alone:
        setup.mirrors = setup.mirrors[:1]
    async with await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0) as anchor:
        port = anchor.sockets[0].getsockname()[1]
        await setup.start(replace(CONFIG, anchors=(f"127.0.0.1:{port}",)))
        await setup.probes_more("hk", 10)
        health = setup.board.current.of("hk")
        assert (health.state, health.verdict) == (State.unknown, "local_network_down")
        assert str(health.detail) == "the local resolver does not answer"
        assert health.in_rotation
        assert ("hk", False) not in setup.probed
        assert set(setup.prober.asked_about) == {"example.org"}
        said = [r.message for r in caplog.records if "resolver does not answer" in r.message]
        assert len(said) == 1
        if not alone:
            await setup.until("us", State.up)
        setup.prober.resolves_others = True
        await setup.until("hk", State.down)
        assert setup.board.current.of("hk").verdict == "dns_down"
        setup.prober.says["hk"] = GOOD
        await setup.until("hk", State.up)


async def test_a_name_without_an_answer_is_its_mirrors_fault_while_others_have_one(setup):
    setup.mirrors = setup.mirrors[:1]
    setup.prober.says["hk"] = RESOLVER_HANGS
    await setup.start()
    await setup.until("hk", State.down)
    assert setup.board.current.of("hk").verdict == "dns_down"


async def test_the_others_are_asked_before_a_missing_route_counts_against_a_mirror(setup):
    monitor = await setup.start(MonitorConfig(interval=10_000, fall=1))
    await setup.until("hk", State.up)
    await setup.until("us", State.up)
    setup.prober.says.update(hk=NO_ROUTE, us=NO_ROUTE)
    monitor.suspect("hk")
    await setup.until("hk", State.unknown)
    await setup.until("us", State.unknown)
    seen = {m.state for snapshot in setup.published for m in snapshot.mirrors.values()}
    assert State.down not in seen


async def test_when_only_one_mirror_is_out_of_reach_it_is_down(setup):
    await setup.start()
    await setup.until("us", State.up)
    setup.prober.says["hk"] = NO_ROUTE
    await setup.until("hk", State.down)
    assert setup.state("us") is State.up


async def test_while_the_anchors_fail_too_nothing_changes_for_anybody(setup):
    async with await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0) as anchor:
        port = anchor.sockets[0].getsockname()[1]
        await setup.start(replace(CONFIG, anchors=(f"127.0.0.1:{port}",)))
        await setup.until("hk", State.up)
        await setup.until("us", State.up)
    setup.prober.says.update(hk=REFUSED, us=REFUSED)
    await setup.until("hk", State.unknown)
    await setup.until("us", State.unknown)
    await setup.probes_more("hk", 5)
    seen = {m.state for snapshot in setup.published for m in snapshot.mirrors.values()}
    assert State.down not in seen
    health = setup.board.current.of("hk")
    assert (health.verdict, health.in_rotation) == ("local_network_down", True)
    assert [(path.standing, path.usable) for path in health.paths] == [(Standing.ok, True)]
    setup.prober.says.update(hk=GOOD, us=GOOD)
    await setup.until("hk", State.up)


async def test_every_probe_is_told_unless_its_failure_may_be_our_own_networks(setup):
    await setup.start()
    await setup.until("hk", State.up)
    await setup.until("us", State.up)
    assert setup.probed == {("hk", True), ("us", True)}
    setup.prober.says["hk"] = REFUSED
    await setup.until("hk", State.down)
    assert ("hk", False) in setup.probed
    setup.probed.clear()
    setup.prober.says.update(hk=NO_ROUTE, us=NO_ROUTE)
    await setup.until("us", State.unknown)
    await setup.probes_more("us", 2)
    assert ("us", False) not in setup.probed


async def test_while_an_anchor_answers_the_fault_is_the_mirrors(setup):
    async with await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0) as anchor:
        port = anchor.sockets[0].getsockname()[1]
        await setup.start(replace(CONFIG, anchors=("127.0.0.1:1", f"127.0.0.1:{port}")))
        await setup.until("hk", State.up)
        setup.prober.says.update(hk=NO_ROUTE, us=NO_ROUTE)
        await setup.until("hk", State.down)
        await setup.until("us", State.down)


async def test_a_mirror_that_asks_for_a_challenge_is_asked_seldom_unless_traffic_fails(setup):
    setup.prober.says["hk"] = CHALLENGED
    monitor = await setup.start(replace(CONFIG, fall=1))
    await setup.until("hk", State.down)
    assert setup.board.current.of("hk").verdict == "cdn_challenge"
    count = setup.prober.count["hk"]
    await setup.probes_more("us", 5)
    assert setup.prober.count["hk"] == count
    assert setup.state("hk") is State.down, "not forgotten meanwhile"
    setup.prober.says["hk"] = GOOD
    monitor.suspect("hk")
    await setup.until("hk", State.up)


async def test_refusing_mirrors_are_down_however_many(setup):
    setup.prober.says.update(hk=REFUSED, us=REFUSED)
    await setup.start()
    await setup.until("hk", State.down)
    await setup.until("us", State.down)


async def test_a_wish_is_durable_published_and_survives_restart_and_green_probes(setup):
    monitor = await setup.start()
    await setup.until("hk", State.up)
    await monitor.set_wish("hk", Override.drain, None, Actor("operator"))
    assert setup.published[-1].of("hk").wish is Override.drain
    await setup.probes_more("hk", 2)
    assert not setup.board.current.of("hk").in_rotation
    await setup.stop()
    monitor = await setup.start()
    assert setup.published[-1].of("hk").wish is Override.drain
    await setup.until("hk", State.up)
    assert not setup.board.current.of("hk").in_rotation
    await monitor.set_wish("hk", Override.use, None, Actor("operator"))
    assert setup.board.current.of("hk").in_rotation
    with pytest.raises(KeyError):
        await monitor.set_wish("nobody", Override.use, None, Actor("operator"))


async def test_maintenance_is_shown_until_its_time_is_over(setup, caplog):
    caplog.set_level(logging.INFO)
    monitor = await setup.start()
    await setup.until("hk", State.up)
    setup.now = lambda: 1000.0
    await monitor.set_wish("hk", Override.maintenance, 2000.0, Actor("operator"))
    assert setup.state("hk") is State.maintenance
    setup.now = lambda: 2000.0
    await setup.until("hk", State.up)
    assert setup.board.current.of("hk").wish is Override.use
    assert "the maintenance of hk has ended" in caplog.messages


async def test_a_restart_is_unknown_at_first_and_then_remembers_since_when(setup):
    await setup.start(SLOW)
    await setup.until("hk", State.up)
    since = setup.board.current.of("hk").since
    await setup.stop()
    setup.published.clear()
    await setup.start(SLOW)
    assert setup.published[0].of("hk").state is State.unknown
    await setup.until("hk", State.up)
    assert setup.board.current.of("hk").since == since
    await setup.store.flush()
    assert len(await setup.transitions("hk", 9)) == 1


async def test_a_long_gap_before_a_start_is_unknown_in_history(setup):
    begun = round(time.time()) - 100_000.0
    last = begun + 4000.0
    store = await Store.open(setup.url)
    store.record(Transition("hk", begun, State.up, vantage="here"))
    store.record(Sample("hk", last, True, State.up, "ok", vantage="here"))
    await store.close()
    await setup.start(SLOW)
    await setup.until("hk", State.up)
    assert setup.board.current.of("hk").since > last
    await setup.store.flush()
    changes = (await setup.transitions("hk", 9))[1:]
    assert [(c.state, c.at) for c in changes] == [(State.unknown, last), (State.up, begun)]


async def test_a_reload_keeps_the_health_of_those_unchanged(setup):
    monitor = await setup.start(SLOW)
    await setup.until("hk", State.up)
    await setup.until("us", State.up)
    count = setup.prober.count["us"]
    hk = mirror("hk", addresses=("192.0.2.9",))
    monitor.configure(SLOW, (mirror("jp"), hk, mirror("us", weight=2.0)))
    assert list(setup.board.current.mirrors) == ["jp", "hk", "us"]
    assert setup.state("us") is State.up
    assert setup.state("hk") is State.unknown
    await setup.until("jp", State.up)
    await setup.until("hk", State.up)
    assert setup.prober.count["us"] == count


async def test_a_reload_that_brings_another_name_of_a_mirror_probes_it_at_once(setup):
    monitor = await setup.start(SLOW)
    await setup.until("hk", State.up)
    monitor.configure(SLOW, (mirror("hk", hostnames=("another.test",)), mirror("us")))
    await setup.probes_more("hk", 1)


async def test_settings_that_change_while_the_monitor_starts_lose_no_wish(setup, monkeypatch):
    monitor = await setup.start(SLOW)
    await monitor.set_wish("hk", Override.maintenance, None, Actor("operator", "here"))
    await setup.stop()
    real = Store.wishes

    async def meanwhile(store: Store) -> object:
        wishes = await real(store)
        (starting, _), *_ = made
        starting.configure(SLOW, (*setup.mirrors, mirror("jp")))
        assert setup.prober.count["jp"] == 0
        return wishes

    made = setup.monitors
    monkeypatch.setattr(Store, "wishes", meanwhile)
    await setup.start(SLOW)
    assert setup.state("hk") is State.maintenance
    await setup.until("jp", State.up)


async def test_a_removed_or_disabled_mirror_leaves_board_probes_and_metrics(setup):
    monitor = await setup.start()
    await setup.until("us", State.up)
    monitor.configure(CONFIG, (mirror("hk"), mirror("us", enabled=False)))
    count = setup.prober.count["us"]
    assert list(setup.board.current.mirrors) == ["hk"]
    await setup.probes_more("hk", 3)
    assert setup.prober.count["us"] == count
    assert not [row for row in setup.totals.to_json() if "us" in row[1]]
    await setup.store.flush()
    assert (await setup.transitions("us", 1))[0].state is State.unknown
    monitor.configure(CONFIG, (mirror("hk"), mirror("us")))
    await setup.until("us", State.up)


async def test_suspicion_from_traffic_probes_at_once(setup):
    monitor = await setup.start(SLOW)
    await setup.until("hk", State.up)
    setup.prober.says["hk"] = REFUSED
    monitor.suspect("hk")
    await setup.probes_more("hk", 1)
    monitor.suspect("nobody")


async def test_metrics_follow_state_and_verdict(setup):
    await setup.start()

    def get(name: str, *labels: str) -> float:
        value: float = setup.totals.get(f"mirrorgate_{name}", labels)
        return value

    await setup.until("hk", State.up)
    assert get("mirror_state", "hk", "up") == get("mirror_in_rotation", "hk") == 1
    assert get("verdict", "hk", "ok") == get("mirror_info", "hk", "", "") == 1
    assert get("probes", "hk", "http_round_trip", "ok") >= 1
    setup.prober.says["hk"] = REFUSED
    await setup.until("hk", State.down)
    assert get("mirror_state", "hk", "down") == 1
    assert get("mirror_state", "hk", "up") == get("mirror_in_rotation", "hk") == 0
    assert get("verdict", "hk", "connection_refused") == 1
    assert get("verdict", "hk", "ok") == 0
    assert get("probe_failures", "hk", "connect", "connection_refused") >= 3
    assert get("last_probe_timestamp_seconds", "hk") > 0
    histogram = [r for r in setup.totals.to_json() if r[0].endswith("probe_duration_seconds")]
    assert ["hk", "first_byte"] in [row[1] for row in histogram]


async def test_health_that_is_too_old_is_unknown(setup, monkeypatch):
    monkeypatch.setattr("monitor.engine.scheduler.SHORTEST_BUDGET", 0.2)
    await setup.start()
    await setup.until("hk", State.up)
    release = asyncio.Event()

    async def stuck(*_: object, **__: object) -> StepResult:
        await release.wait()
        return GOOD.resolution

    setup.prober.resolve = stuck
    await setup.until("hk", State.unknown)
    assert setup.board.current.of("hk").in_rotation
    release.set()
    await setup.until("hk", State.up)


def test_three_bad_probes_fit_into_three_intervals():
    interval = MonitorConfig().interval
    assert 1.2 * interval + 3 * probe_budget(interval) <= 3 * interval
    assert probe_budget(1.0) == 5.0


async def test_workers_get_a_snapshot_whatever_history_makes_of_it(setup, monkeypatch):
    """Once inside of history, and once where it is handed to it."""
    monitor = await setup.start()
    await setup.until("hk", State.up)
    faults = [RuntimeError("a fault"), RuntimeError("a fault")]

    def fails(*_: object) -> None:
        if faults:
            raise faults.pop()

    for name, says, wanted in (("_draft", REFUSED, State.down), ("see", GOOD, State.up)):
        monkeypatch.setattr(monitor.history, name, fails)
        setup.prober.says["hk"] = says
        await setup.until("hk", wanted)
        await setup.told("hk", wanted)
    assert faults == []
    crashes = [setup.totals.get(CRASHES.name, (name,)) for name in ("history", "snapshot")]
    assert crashes == [1, 1]


async def test_history_is_kept_whatever_the_workers_feed_makes_of_a_snapshot(setup):
    monitor = await setup.start()
    await setup.until("hk", State.up)

    def fails(snapshot: HealthSnapshot) -> None:
        raise RuntimeError("a fault")

    monitor._on_change = fails
    setup.prober.says["hk"] = REFUSED
    await setup.until("hk", State.down)
    await wait_until_async(lambda: monitor.history.past.incidents)
    assert setup.totals.get(CRASHES.name, ("snapshot",)) >= 1


async def test_one_mirror_that_cannot_be_kept_up_does_not_keep_the_others_from_it(
    setup, monkeypatch
):
    monitor = await setup.start()
    await setup.until("us", State.up)
    expired, real = set[str](), monitor._evaluation.expire

    def expire(watch: MirrorState, now: float) -> bool:
        if watch.mirror.id == "hk":
            raise RuntimeError("a fault")
        expired.add(watch.mirror.id)
        return bool(real(watch, now))

    monkeypatch.setattr(monitor._evaluation, "expire", expire)
    await wait_until_async(lambda: setup.totals.get(CRASHES.name, ("monitor",)) >= 2)
    assert expired == {"us"}


async def test_the_end_of_one_part_of_the_monitor_does_not_keep_the_others_from_theirs(
    setup, monkeypatch
):
    monitor = await setup.start()
    ended: list[str] = []

    async def fails() -> None:
        raise RuntimeError("a fault")

    async def ends() -> None:
        ended.append("history")

    monkeypatch.setattr(monitor._schedule, "stop", fails)
    monkeypatch.setattr(monitor.history, "stop", ends)
    with pytest.raises(RuntimeError, match="a fault"):
        await monitor.stop()
    assert ended == ["history"]
    monkeypatch.undo()


async def test_a_verdict_waits_for_no_check_of_another_path(setup):
    setup.mirrors = (mirror("hk", hostnames=("alt.example.com",)),)
    prober = SlowChecker("hk")
    await setup.start(SLOW, prober)
    await setup.until("hk", State.up)
    await setup.told("hk", State.up)
    await asyncio.wait_for(prober.checking.wait(), 10)

    def standings() -> dict[str, Standing]:
        return {p.hostname: p.standing for p in setup.published[-1].of("hk").paths}

    assert standings()["alt.example.com"] is Standing.untested
    prober.released.set()
    await wait_until_async(lambda: standings()["alt.example.com"] is Standing.ok)
