"""The store, on a real SQLite file and in a real PostgreSQL, in good times."""

import asyncio
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any

import pytest
import sqlalchemy
from sqlmodel import Session

from monitor.common.audit import Actor
from monitor.common.bans import Ban
from monitor.common.config import MonitorRetention
from monitor.common.metric_registry import MetricRegistry
from monitor.common.tasks import CRASHES, FAMILIES, Tasks
from monitor.diagnosis.clauses import Clause
from monitor.diagnosis.evidence import Code, Evidence
from monitor.health.incidents import Incident, Part
from monitor.health.snapshot import Latency, Override, State
from monitor.health.uptime import FIVE_MINUTES, HOUR, KNOWN_STATES, Credit, of_bucket, total
from monitor.store import queries
from monitor.store import store as store_module
from monitor.store.pruning import Limits
from monitor.store.queries import sums
from monitor.store.records import Sample, Transition
from monitor.store.store import Store, StoreError
from monitor.store.write_queue import HistoryWriter
from tests.testkit.wait import wait_until_async

ME = Actor("operator", "here")


def sample(at: float, mirror: str = "hk", ok: bool = True) -> Sample:
    return Sample(mirror, at, ok, State.up, "ok", Latency(None, 1.5, 2, 3), "here")


def ban(
    name: str, network: str, since: float = 0.0, until: float | None = None, count: int = 2
) -> Ban:
    return Ban(name, network, since, until, "too_many_connections", "limits", "curl/8", count)


async def ask(store: Store, query: str) -> list[Any]:
    def question(session: Session) -> list[Any]:
        return [tuple(row) for row in session.connection().execute(sqlalchemy.text(query))]

    return await store.read(question)


async def count(store: Store, table: str) -> int:
    return int((await ask(store, f"SELECT count(*) FROM {table}"))[0][0])


async def transitions(store: Store, mirror: str | None, limit: int) -> list[Transition]:
    return await store.read(lambda session: queries.transitions(session, mirror, limit))


async def test_samples_are_written_by_and_by(store):
    store.record(sample(1.0015))
    store.record(sample(1.0015))
    store.record(sample(2.0))

    async def both() -> bool:
        return await count(store, "sample") == 2

    await wait_until_async(both)
    row = (
        await ask(store, "SELECT at_ms, vantage, ok, state, connect_us, resolve_us FROM sample")
    )[0]
    assert row == (1002, "here", 1, "up", 1500, None)


async def test_samples_of_several_vantages_stand_side_by_side(store):
    store.record(Sample("hk", 1.0, True, State.up, "ok", vantage="here"))
    store.record(Sample("hk", 1.0, False, State.down, "tls_reset", vantage="there"))
    await store.flush()
    found = await ask(store, "SELECT vantage, state FROM sample ORDER BY vantage")
    assert found == [("here", "up"), ("there", "down")]


async def test_closing_writes_what_is_queued(store_url):
    store = await Store.open(store_url)
    for number in range(2500):
        store.record(sample(number))
    await store.close()
    store = await Store.open(store_url)
    assert await count(store, "sample") == 2500
    assert store.dropped == 0
    await store.close()


async def test_transitions_come_back_newest_first(store):
    changes = [
        Transition("hk", 1.0, State.up, "ok", None, "here"),
        Transition("us", 2.0, State.up, "ok", None, "here"),
        Transition("hk", 3.0, State.down, "tls_reset", Evidence.of(Clause.hello_reset), "here"),
        Transition("hk", 4.0, State.up, "ok", None, "elsewhere"),
    ]
    for change in changes:
        store.record(change)
    assert await store.flush()
    assert await transitions(store, None, 2) == [changes[3], changes[2]]
    assert await transitions(store, "hk", 10) == [changes[3], changes[2], changes[0]]
    known = await store.read(lambda session: queries.last_states(session, "here"))
    assert known == {"hk": changes[2], "us": changes[1]}


async def test_the_last_sample_of_a_mirror_is_known(store):
    for at, mirror in ((1.0, "hk"), (5.0, "hk"), (3.0, "us")):
        store.record(sample(at, mirror))
    await store.flush()
    for mirror, last in (("hk", 5.0), ("us", 3.0), ("jp", None)):
        found = await store.read(lambda s, m=mirror: queries.last_sample(s, m, "here"))
        assert found == last


async def test_samples_and_what_they_add_up_to_are_written_together(store):
    for at, ok in ((10, True), (299, False), (300, True), (3600, True)):
        store.record(sample(at, ok=ok))
    store.record(Credit("hk", "here", 290.0, 20_000, State.up))
    store.record(Credit("hk", "here", 295.0, -10_000, State.up))
    store.record(Credit("hk", "here", 295.0, 10_000, State.down))
    await store.flush()
    store.record(Credit("hk", "here", 310.0, 1_000, State.maintenance))
    await store.flush()
    columns = "start, up_ms, degraded_ms, down_ms, maintenance_ms, samples, failures"
    assert await ask(store, f"SELECT {columns} FROM rollup_5m ORDER BY start") == [
        (0, 5000, 0, 5000, 0, 2, 1),
        (300, 5000, 0, 5000, 1000, 1, 0),
        (3600, 0, 0, 0, 0, 1, 0),
    ]
    assert await ask(store, f"SELECT {columns} FROM rollup_hour ORDER BY start") == [
        (0, 10000, 0, 10000, 1000, 3, 1),
        (3600, 0, 0, 0, 0, 1, 0),
    ]


async def test_time_is_summed_up_between_cuts_and_covered_where_one_vantage_saw(store):
    whole = 3600_000
    store.record(Credit("hk", "here", 0, whole - 3600, State.up))  # a thousandth less: still whole
    store.record(Credit("hk", "there", 1800, whole // 2, State.down))
    store.record(Credit("hk", "here", 3600, whole // 2, State.up))
    store.record(Credit("us", "here", 7200, 60_000, State.degraded))
    await store.flush()
    found = await store.read(lambda s: sums(s, HOUR, [0, 7200, 10_800], 7320))
    early, late = found["hk"]
    assert (early.up, early.down) == (whole - 3600 + whole // 2, whole // 2)
    assert (early.covered, early.total) == (whole + whole // 2, 2 * whole)
    assert (late.covered, late.total, late.uptime) == (0, 120_000, None)
    assert found["us"][1].degraded == found["us"][1].covered == 60_000
    assert found["us"][1].coverage == "50.00"
    five = await store.read(lambda s: sums(s, FIVE_MINUTES, [7200, 7500], 7320))
    assert five["us"] == [found["us"][1]]


@pytest.mark.parametrize("seed", range(4))
async def test_sums_agree_with_putting_every_bucket_together_by_hand(store, seed):
    rng = random.Random(seed)
    known: dict[tuple[str, int], Counter[State]] = defaultdict(Counter)
    places = rng.choice([["here"], ["here", "there"]])
    for hour, mirror, place in product(range(50), ("hk", "us"), places):
        if rng.random() < 0.8:
            share, state = rng.choice([0, 1, 998, 999, 1000, 1200]), rng.choice(KNOWN_STATES)
            store.record(Credit(mirror, place, hour * HOUR, share * 3600, state))
            for start, milliseconds in Credit("", "", hour * HOUR, share * 3600, state).by_bucket(
                HOUR
            ):
                known[mirror, start][state] += milliseconds
    await store.flush()
    now = 40 * HOUR + 700.0
    cuts = sorted(hour * HOUR for hour in {*rng.sample(range(41), 4), 41})
    found = await store.read(lambda session: sums(session, HOUR, cuts, now))
    for mirror, (nth, (a, b)) in product(("hk", "us"), enumerate(pairwise(cuts))):
        lengths = {start: round(1000 * min(HOUR, now - start)) for start in range(a, b, HOUR)}
        expected = total(
            of_bucket([known[mirror, start][state] for state in KNOWN_STATES], length)
            for start, length in lengths.items()
        )
        assert found[mirror][nth] == expected


async def test_incidents_are_kept_as_they_become(store):
    first = Incident(
        "i1", "here", "tls_reset", "cloudflare", "minor", 10.0, None, 10.0,
        (Part("hk", "tls_reset", 10.0),),
    )  # fmt: skip
    parts = (Part("hk", "tls_reset", 10.0, 20.0, 2), Part("us", "tls_reset", 12.0, 21.0))
    ended = Incident("i1", "here", "tls_reset", "cloudflare", "major", 10.0, 21.0, 21.0, parts)
    other = Incident("i2", "there", "ip_down", "", "minor", 5.0, None, 5.0, ())
    for incident in (first, ended, other):
        store.record(incident)
        await store.flush()
    assert await store.read(lambda s: queries.incidents(s, "here", 9)) == [ended]
    assert await store.read(lambda s: queries.incidents(s, "there", 9)) == [other]


async def test_text_that_a_database_refuses_costs_no_history(store):
    detail = Code.as_written(text="a\0b\ud800")
    store.record(Transition("hk", 1.0, State.down, "http_diff", detail, "here"))
    assert await store.flush()
    assert (await transitions(store, "hk", 1))[0].detail == Code.as_written(text="ab?")


async def test_bans_end_by_time_or_by_hand(store):
    bans = [
        ban("a", "192.0.2.1/32", since=1, until=10),
        ban("b", "198.51.100.0/24", since=2),
        ban("c", "2001:db8::/64", since=3, until=20),
    ]
    for each in bans:
        await store.add_ban(each)
    assert await store.active_bans(5) == bans[::-1]
    assert await store.active_bans(10) == [bans[2], bans[1]]
    assert await store.lift_bans("198.51.100.7", ME, 11) == [bans[1]]
    assert await store.lift_bans("198.51.100.7", ME, 11) == []
    assert await store.lift_bans("192.0.2.1", ME, 11) == []
    assert await store.active_bans(11) == [bans[2]]
    with pytest.raises(ValueError):
        await store.lift_bans("nonsense", ME, 11)


async def test_a_ban_takes_the_place_of_the_one_before_it_and_knows_how_many_there_were(store):
    def make(network: str, times: int) -> Ban:
        return ban(f"{network}-{times}", network, since=times, count=times)

    networks = [f"192.0.2.{i}/32" for i in range(3)]
    await store.sentence(networks, make)
    await store.lift_bans("192.0.2.1", ME, 1.5)
    await store.sentence(networks[:2], make)
    again = await store.sentence(networks[:1], make)
    assert [each.count for each in again] == [3]
    counts = {each.network: each.count for each in await store.active_bans(5)}
    assert counts == dict(zip(networks, (3, 2, 1), strict=True))
    assert len(await store.lift_bans(None, ME, 6)) == 3
    assert await store.active_bans(6) == []


async def test_bans_are_remembered_for_a_while_after_their_end(store):
    await store.add_ban(ban("ended", "192.0.2.1/32", since=1, until=10))
    await store.add_ban(ban("lifted", "192.0.2.2/32", since=1))
    await store.lift_bans("192.0.2.2", ME, 12)
    await store.add_ban(ban("for good", "192.0.2.3/32", since=1))
    await store.allow("192.0.2.9", 5.0, ME, 0.0)
    assert await store.forget_bans(before=11, now=20) == 1
    assert await ask(store, "SELECT id FROM ban ORDER BY id") == [("for good",), ("lifted",)]
    assert await count(store, "allowance") == 0
    assert await store.forget_bans(before=13, now=20) == 1
    assert await store.forget_bans(before=1e9, now=1e9) == 0


async def test_allowances_end_and_can_be_renewed(store):
    await store.allow("192.0.2.1", 10.0, ME, 0.0)
    await store.allow("10.0.0.0/8", None, ME, 0.0)
    assert await store.allowances(9.0) == [("10.0.0.0/8", None), ("192.0.2.1/32", 10.0)]
    assert await store.allowances(10.0) == [("10.0.0.0/8", None)]
    await store.allow("192.0.2.1", 30.0, ME, 20.0)
    assert await store.allowances(20.0) == [("10.0.0.0/8", None), ("192.0.2.1/32", 30.0)]


async def test_the_last_wish_counts_and_survives(store_url):
    store = await Store.open(store_url)
    await store.set_wish("hk", Override.drain, None, ME, 1.0)
    await store.set_wish("hk", Override.maintenance, 50.0, ME, 2.0)
    await store.close()
    store = await Store.open(store_url)
    assert await store.wishes() == {"hk": (Override.maintenance, 50.0)}
    await store.close()


async def test_every_decision_is_in_the_audit_log(store):
    await store.add_ban(ban("a", "192.0.2.1/32"))
    await store.lift_bans("192.0.2.1", Actor("alice", "here"), 1.0)
    await store.allow("192.0.2.1", None, Actor("bob", "here"), 2.0)
    await store.set_wish("hk", Override.drain, None, Actor("carol", "here"), 3.0)
    await store.audit(Actor("dave"), "reload", 4.0)
    who = [row[0] for row in await ask(store, "SELECT who FROM audit ORDER BY id")]
    assert who == ["limits", "alice", "bob", "carol", "dave"]


async def test_rows_past_their_retention_are_pruned(store):
    now = 1e9
    limits = Limits.of(now, MonitorRetention(samples=100.0, rollups=7200.0, hours=86400.0))
    for age in (50, 150, 250):
        for mirror in ("hk", "us"):
            store.record(sample(now - age, mirror))
            store.record(Credit(mirror, "here", now - age * 100, 1000, State.up))
            store.record(Transition(mirror, now - age * 400, State.up, vantage="here"))
    for name, ended in (("old", now - 90_000), ("late", now - 80_000), ("open", None)):
        part = Part("hk", "ip_down", now - 95_000, ended)
        store.record(
            Incident(name, "here", "ip_down", "", "minor", now - 95_000, ended, now, (part,))
        )
    await store.flush()
    assert await store.prune(limits) == 4 + 4 + 2 + 1  # samples, roll-ups, changes, an incident
    assert await count(store, "sample") == 2
    assert await count(store, "rollup_5m") == 2 * (1 + 2)
    assert await count(store, "rollup_hour") == 2 * (3 + 1)
    assert await count(store, "transition") == 2 * 2
    assert await ask(store, "SELECT id FROM incident ORDER BY id") == [("late",), ("open",)]
    assert await count(store, "incident_mirror") == 2


async def test_a_decision_that_cannot_be_kept_is_refused(store):
    await store.add_ban(ban("a", "192.0.2.1/32"))
    with pytest.raises(StoreError, match="the store failed"):
        await store.add_ban(ban("a", "192.0.2.2/32"))  # the id is taken
    assert [each.network for each in await store.active_bans(1.0)] == ["192.0.2.1/32"]


async def test_a_full_queue_drops_the_newest_counts_and_says_so_once(caplog):
    written: list[Any] = []

    async def write(items: Sequence[Any]) -> None:
        written.extend(items)

    moment = [0.0]
    writer = HistoryWriter(write, size=3, monotonic=lambda: moment[0])
    for number in range(5):
        writer.put(sample(number))
    assert writer.dropped == 2
    assert writer.dropped_lately() == 2
    moment[0] = 3599.0
    writer.put(sample(5))
    assert writer.dropped_lately() == 3
    moment[0] = 3601.0
    assert writer.dropped_lately() == 1
    assert caplog.messages == ["3 rows of history wait to be written; more are dropped"]
    await writer.stop()
    assert [item.at for item in written] == [0, 1, 2]


async def test_a_batch_that_may_have_been_written_is_tried_again_as_it_was():
    tried: list[list[float]] = []

    async def write(items: Sequence[Any]) -> None:
        tried.append([item.at for item in items])
        if len(tried) == 1:
            raise StoreError("the answer to the commit was lost")

    writer = HistoryWriter(write)
    writer.put(sample(1))
    assert not await writer.write_batch()
    writer.put(sample(2))
    await writer.stop()
    assert tried == [[1], [1], [2]]


@pytest.mark.parametrize("error", [RuntimeError("a fault"), KeyError("a row")])
async def test_rows_that_make_writing_fail_are_dropped_and_those_behind_them_are_written(error):
    written: list[float] = []

    async def write(items: Sequence[Any]) -> None:
        if items[0].at == 1:
            raise error
        written.extend(item.at for item in items)

    totals = MetricRegistry(FAMILIES)
    writer = HistoryWriter(write, every=0.01, tasks=Tasks(totals))
    writer.start()
    writer.put(sample(1))
    await wait_until_async(lambda: writer.dropped == 1)
    writer.put(sample(2))
    await wait_until_async(lambda: written == [2])
    assert totals.get(CRASHES.name, ("history writer",)) == 1
    await writer.stop()


async def test_a_row_that_no_table_takes_costs_no_later_row(store, caplog):
    broken = Sample("hk", 1.0, True, State.up, "ok", Latency(1, 1, 1, 1), vantage=object())  # type: ignore[arg-type]
    store.record(broken)
    assert await store.flush()
    store.record(sample(2.0))
    assert await store.flush()
    assert await count(store, "sample") == 1
    assert store.dropped == 1


async def test_a_question_that_hangs_does_not_hold_up_the_loop_nor_the_end(
    store_url, monkeypatch, caplog
):
    monkeypatch.setattr(store_module, "CLOSE_WITHIN", 0.2)
    opened = await Store.open(store_url)
    asked, release = threading.Event(), threading.Event()

    def question(session: Session) -> None:
        asked.set()
        release.wait(30)

    asking = asyncio.create_task(opened.read(question))
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    try:
        await wait_until_async(asked.is_set)
        turning = asyncio.create_task(turn())
        await opened.close()
        assert turns > 100
        assert "the store did not finish within" in caplog.text
        turning.cancel()
    finally:
        release.set()
    await asyncio.gather(asking, return_exceptions=True)


async def test_a_query_that_runs_while_the_store_closes_is_answered(store_url):
    opened = await Store.open(store_url)
    asked, release = threading.Event(), threading.Event()

    def question(session: Session) -> int:
        asked.set()
        release.wait(30)
        return int(session.connection().execute(sqlalchemy.text("SELECT 7")).scalar_one())

    asking = asyncio.create_task(opened.read(question))
    await wait_until_async(asked.is_set)
    closing = asyncio.create_task(opened.close())
    await asyncio.sleep(0)
    release.set()
    await closing
    assert await asking == 7
