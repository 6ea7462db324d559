"""History of a monitor, written and read again: real store, clocks by hand."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy
from sqlmodel import select

from monitor.common.metric_registry import MetricRegistry
from monitor.engine.metrics import COVERAGE, FAMILIES, INCIDENTS_OPEN, UPTIME
from monitor.engine.recorder import History
from monitor.health.past import Past
from monitor.health.snapshot import HealthSnapshot, Latency, MirrorHealth, State
from monitor.health.uptime import LONGEST_SILENCE, Known
from monitor.store import queries
from monitor.store.errors import StoreError
from monitor.store.queries import read_windows
from monitor.store.records import Sample, Transition
from monitor.store.store import Store
from monitor.store.tables import ViewRow
from tests.testkit.wait import wait_until_async

BEGIN = 1_795_251_600.0


class Place:
    """A vantage that can be started and stopped, with both clocks."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.wall, self.monotonic = BEGIN, 0.0
        self.version = 0
        self.shown: dict[str, MirrorHealth] = {}
        self.store: Store | None = None

    async def start(self) -> History:
        self.store = await Store.open(self.url)
        self.totals = MetricRegistry(FAMILIES)
        self.history = History(
            self.store, "here", self.totals, lambda: self.wall, lambda: self.monotonic
        )
        self.before = await self.history.start()
        return self.history

    async def stop(self) -> None:
        await self.history.stop()
        await self.leave()

    async def leave(self) -> None:
        """As a kill does, apart from what is queued already."""
        for task in self.history._tasks:
            task.cancel()
        if self.store is not None:
            await self.store.close()
            self.store = None

    def is_now(self, mirror: str, state: State, since: float | None = None, **more: Any) -> None:
        self.shown[mirror] = MirrorHealth(
            mirror, state, self.wall if since is None else since, **{"verdict": "ok", **more}
        )
        self.publish()

    def publish(self) -> None:
        self.version += 1
        self.history.see(HealthSnapshot(self.version, self.wall, "here", dict(self.shown)))

    def passes(self, seconds: float, step: float = 1.0) -> None:
        left = seconds
        while left > 0:
            self.wall += min(step, left)
            self.monotonic += min(step, left)
            left -= step
            self.history.keep()

    async def day(self, mirror: str = "hk") -> Known:
        assert self.store is not None
        await self.store.flush()
        found = await self.store.read(lambda session: read_windows(session, self.wall))
        return found.get(mirror, {}).get("24h", Known())


@pytest.fixture
async def place(store_url: str) -> AsyncIterator[Place]:
    made = Place(store_url)
    await made.start()
    yield made
    if made.store is not None:
        await made.stop()


async def test_time_is_what_was_shown(place):
    place.is_now("hk", State.up)
    place.passes(100)
    place.is_now("hk", State.degraded)
    place.passes(50)
    place.is_now("hk", State.maintenance)
    place.passes(30)
    place.is_now("hk", State.unknown)
    place.passes(70)
    place.is_now("hk", State.up)
    await place.history.stop()
    day = await place.day()
    assert (day.up, day.degraded, day.maintenance, day.down) == (100_000, 50_000, 30_000, 0)
    assert day.uptime == "100"


async def test_a_failure_counts_from_its_first_bad_probe(place):
    place.is_now("hk", State.up)
    place.passes(100)
    place.is_now("hk", State.down, since=place.wall - 45, verdict="tls_reset")
    place.passes(20)
    place.is_now("hk", State.up, since=place.wall - 5)
    await place.history.stop()
    day = await place.day()
    assert (day.up, day.down) == (55_000 + 5_000, 60_000)


async def test_a_restart_is_unknown_neither_up_nor_down(place):
    place.is_now("hk", State.up)
    place.passes(100)
    await place.stop()
    place.wall += 40
    place.monotonic = 5.0
    await place.start()
    place.is_now("hk", State.unknown)
    place.passes(3)
    place.is_now("hk", State.up, since=BEGIN)  # the monitor says that it goes on
    place.passes(100)
    await place.history.stop()
    day = await place.day()
    assert (day.up, day.down, day.covered) == (100_000 + 103_000, 0, 203_000)


async def test_a_kill_costs_seconds_that_are_unknown_then(place):
    place.is_now("hk", State.up)
    place.passes(109)
    await place.leave()
    await place.start()
    day = await place.day()
    assert 99_000 <= day.up <= 109_000
    assert day.down == 0


async def test_a_hung_or_stopped_process_knows_nothing_of_the_time(place):
    place.is_now("hk", State.up)
    place.passes(100)
    place.passes(3600, step=3600)
    place.passes(100)
    await place.history.stop()
    day = await place.day()
    assert day.up == (200 + LONGEST_SILENCE) * 1000
    assert day.coverage is not None
    assert day.unknown == day.total - day.up


@pytest.mark.parametrize("jump", [-100_000, -3_000, -61, 61, 3_000, 100_000])
async def test_a_jump_of_the_clock_makes_no_time_and_loses_none(place, jump):
    place.is_now("hk", State.up)
    place.passes(300)
    place.wall += jump
    place.passes(300)
    place.is_now("hk", State.down, since=place.wall - 30)
    place.passes(60)
    await place.history.stop()
    await place.store.flush()
    sums = await place.store.read(
        lambda session: (
            session.connection()
            .execute(
                sqlalchemy.text("SELECT sum(up_ms), sum(down_ms), min(up_ms) FROM rollup_hour")
            )
            .one()
        )
    )
    assert (int(sums[0]), int(sums[1])) == (570_000, 90_000)
    assert sums[2] >= 0
    day = await place.day()
    assert 0 <= day.covered <= day.total


async def test_uptime_is_published_to_metrics_and_pages(place):
    place.is_now("hk", State.up)
    place.is_now("us", State.unknown)
    place.passes(300)
    place.is_now("hk", State.down)
    place.passes(100)
    await place.history._read()
    await place.store.flush()
    place.history.zone = "Asia/Shanghai"
    await place.history._read()
    assert place.totals.get(UPTIME, ("hk", "24h")) == 0.75
    assert 0 < place.totals.get(COVERAGE, ("hk", "90d")) < 0.01
    names = {tuple(row[1]) for row in place.totals.to_json() if row[0] == UPTIME}
    assert names == {("hk", window) for window in ("24h", "7d", "30d", "90d")}
    assert place.history.past.window("hk", "7d").uptime == "75.00"
    assert place.history.past.window("us", "7d").uptime is None
    assert place.history.past.zone == "Asia/Shanghai"
    assert place.history.past.days["hk"][-1].known.down == 100_000
    assert len(place.history.past.days["hk"]) == 90


async def test_an_incident_is_drafted_kept_and_closed(place):
    place.is_now("hk", State.up)
    place.is_now("us", State.up)
    place.passes(60)
    first_bad = place.wall - 30
    place.is_now("hk", State.down, first_bad, verdict="tls_reset", cdn_detected="cloudflare")
    place.passes(20)
    place.is_now("us", State.down, verdict="tls_reset")
    (incident,) = place.history.past.incidents
    assert (incident.started_at, incident.is_open, incident.impact) == (first_bad, True, "critical")
    assert place.totals.get(INCIDENTS_OPEN) == 1
    place.passes(30)
    place.is_now("hk", State.unknown)  # blindness is no recovery
    assert [part.until for part in place.history.past.incidents[0].parts] == [None, None]
    place.is_now("hk", State.up)
    place.is_now("us", State.maintenance)
    ended = place.history.past.incidents[0]
    assert (ended.id, ended.resolved_at) == (incident.id, place.wall)
    assert place.totals.get(INCIDENTS_OPEN) == 0
    await place.store.flush()
    assert await place.store.read(lambda s: queries.incidents(s, "here", 9)) == [ended]


async def test_an_incident_says_what_the_diagnosis_finds_out_later(place):
    place.is_now("hk", State.down, verdict="tls_reset")
    since = place.wall
    place.passes(5)
    place.is_now("hk", State.down, since, verdict="sni_block_rst")
    place.passes(5)
    place.is_now("hk", State.down, since, verdict="residual_block")
    (incident,) = place.history.past.incidents
    assert (incident.verdict, incident.parts[0].verdict) == ("sni_block_rst", "sni_block_rst")
    assert incident.updated_at == since + 5
    await place.store.flush()
    assert await place.store.read(lambda s: queries.incidents(s, "here", 9)) == [incident]


async def test_an_incident_goes_on_over_a_restart(place):
    place.is_now("hk", State.down, verdict="tls_reset")
    (incident,) = place.history.past.incidents
    await place.stop()
    place.wall += 600
    await place.start()
    assert place.history.past == Past(incidents=(incident,), read_at=place.wall)
    place.is_now("hk", State.unknown)
    place.is_now("hk", State.down, since=place.wall, verdict="tls_reset")
    assert place.history.past.incidents == (incident,)
    place.is_now("hk", State.up)
    assert place.history.past.incidents[0].resolved_at == place.wall


async def test_the_incident_of_a_mirror_that_is_removed_ends(place):
    place.is_now("hk", State.down)
    place.is_now("us", State.down)
    await place.stop()
    place.wall += 600
    del place.shown["hk"]
    await place.start()
    place.publish()
    (incident,) = place.history.past.incidents
    assert [part.until for part in incident.parts] == [place.wall, None]
    place.shown.clear()
    place.publish()
    assert place.history.past.incidents[0].resolved_at == place.wall


async def test_the_long_gap_before_a_start_is_recorded_as_unknown(place):
    place.history.changed(Transition("hk", BEGIN, State.up, vantage="here"))
    place.history.changed(Transition("us", BEGIN, State.unknown, vantage="here"))
    await place.stop()
    place.wall += 3600
    await place.start()
    assert place.before["hk"] == Transition("hk", BEGIN, State.unknown, vantage="here")
    await place.store.flush()
    newest = await place.store.read(lambda session: queries.transitions(session, None, 9))
    assert [change.mirror_id for change in newest] == ["hk", "us", "hk"]


async def test_a_store_that_fails_stops_nothing_and_is_told_once(place, monkeypatch, caplog):
    failures = 0

    async def fail(*arguments: object) -> None:
        nonlocal failures
        failures += 1
        raise StoreError("the store failed: no disk")

    place.is_now("hk", State.up)
    monkeypatch.setattr(Store, "read", fail)
    monkeypatch.setattr(Store, "renew", fail)
    monkeypatch.setattr("monitor.engine.recorder.RENEW_EVERY", 0.01)
    history = History(place.store, "here", place.totals, lambda: 0.0, lambda: 0.0)
    with pytest.raises(StoreError):
        await history.start()
    monkeypatch.undo()
    monkeypatch.setattr("monitor.engine.recorder.RENEW_EVERY", 0.01)
    await history.start()
    monkeypatch.setattr(Store, "renew", fail)
    await wait_until_async(lambda: failures > 5)
    assert caplog.text.count("the store failed: no disk") == 1
    await history.stop()


async def test_first_bytes_before_a_restart_count_with_those_since(place):
    place.is_now("hk", State.up)
    for at, ms in ((place.wall - 5, 100.0), (place.wall - 4, 100.0)):
        place.history.sample(Sample("hk", at, True, State.up, "ok", Latency(first_byte=ms), "here"))
    await place.stop()
    await place.start()
    place.is_now("hk", State.up)
    late = Sample("hk", place.wall + 1, True, State.up, "ok", Latency(first_byte=900.0), "here")
    place.history.sample(late)
    await place.history._read()
    median, worst = place.history.past.first_bytes["hk"]
    assert 97 <= median <= 103
    assert 870 <= worst <= 930
    assert "hk" in place.history.past.curves


async def test_views_that_found_the_queue_full_are_told_once_there_is_room(place, monkeypatch):
    place.history.shares = True
    place.is_now("hk", State.up)
    place.is_now("sg", State.up)
    await place.store.flush()
    with monkeypatch.context() as full:
        full.setattr(place.store._writer, "_size", 0)
        place.is_now("hk", State.down, verdict="connect_timeout")
        del place.shown["sg"]
        place.publish()
    place.history.keep()
    assert place.totals.get("mirrorgate_store_dropped_writes") > 0
    place.publish()
    await place.store.flush()
    rows = await place.store.read(lambda session: session.exec(select(ViewRow)).all())
    told = {row.mirror: row.text for row in rows}
    assert json.loads(told["hk"])["state"] == "down"
    assert told["sg"] == "", "it is not watched any more"
