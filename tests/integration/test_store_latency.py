"""Curves of latency, from samples written to real stores."""

from monitor.health.snapshot import Latency, State
from monitor.health.uptime import Credit
from monitor.store.latencies import Curves, first_bytes
from monitor.store.records import Sample
from monitor.store.store import Store

NOW = 1_795_251_600.0


def sample(at: float, first_byte: float | None, mirror: str = "hk", ok: bool = True) -> Sample:
    latency = Latency(None, 20.0, 60.0, first_byte)
    return Sample(mirror, at, ok, State.up, "ok", latency, "here")


async def test_good_probes_become_a_point_of_every_window(store: Store):
    for seconds, first_byte, ok in ((10, 100.0, True), (400, 300.0, True), (30, 900.0, False)):
        store.record(sample(NOW - 900 + seconds, first_byte, ok=ok))
    store.record(sample(NOW - 5 * 86400, 500.0))
    store.record(sample(NOW - 5 * 86400, None, "us"))
    assert await store.flush()
    found = await store.read(lambda session: Curves().read(session, NOW - 1))
    assert not any(found["us"]["7d"].points)
    drawn = found["hk"]
    assert drawn["24h"].points[-1] == (0, 20, 60, 200)
    assert [p for p in drawn["7d"].points if p] == [(0, 20, 60, 500), (0, 20, 60, 200)]
    assert [p for p in drawn["30d"].points if p] == [(0, 20, 60, 500), (0, 20, 60, 200)]


async def test_the_states_of_a_curve_are_in_its_scale(store: Store):
    for start, state in ((NOW - 600, State.up), (NOW - 700, State.down), (NOW - 1000, State.up)):
        store.record(Credit("hk", "here", start, 100_000, state))
    assert await store.flush()
    found = await store.read(lambda session: Curves().read(session, NOW - 1))
    assert found["hk"]["24h"].times[-2:] == [(100_000, 0, 0, 0), (100_000, 0, 100_000, 0)]
    assert found["hk"]["30d"].times[-1] == (200_000, 0, 100_000, 0)


async def test_a_later_look_knows_what_is_new_and_what_has_changed(store: Store):
    curves = Curves()
    store.record(sample(NOW - 10_000, 100.0))
    store.record(sample(NOW - 100, 100.0))
    assert await store.flush()
    first = await store.read(lambda session: curves.read(session, NOW))
    store.record(sample(NOW - 90, 300.0))
    store.record(sample(NOW + 900, 50.0))
    assert await store.flush()
    second = await store.read(lambda session: curves.read(session, NOW + 950))
    assert [p[3] for p in first["hk"]["24h"].points if p] == [100, 100]
    assert [p[3] for p in second["hk"]["24h"].points if p] == [100, 200, 50]
    assert second == await store.read(lambda session: Curves().read(session, NOW + 950))
    later = await store.read(lambda session: curves.read(session, NOW + 40 * 86400))
    assert later == {}


async def test_first_bytes_of_a_day_are_told_in_their_order(store: Store):
    for at, first_byte in ((NOW - 50, 2.0), (NOW - 60, 1.0), (NOW, 9.0), (NOW - 90_000, 9.0)):
        store.record(sample(at, first_byte))
    store.record(sample(NOW - 40, None))
    assert await store.flush()
    told = await store.read(lambda session: first_bytes(session, "hk", "here", NOW))
    assert told == [(NOW - 60, 1.0), (NOW - 50, 2.0)]
