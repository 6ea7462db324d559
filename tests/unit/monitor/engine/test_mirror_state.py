"""The shown state of a mirror, as results and overrides come in."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.common.config import MirrorConfig
from monitor.common.metric_registry import Family, MetricRegistry
from monitor.diagnosis.answer import Meaning
from monitor.diagnosis.clauses import Clause
from monitor.diagnosis.evidence import Code, Evidence
from monitor.diagnosis.finding import Finding
from monitor.diagnosis.verdicts import reaction_to
from monitor.engine.mirror_state import REMEMBERED, MirrorState, RequestRecord, identity
from monitor.engine.prober import Probe
from monitor.health.paths import Path
from monitor.health.snapshot import Override, State
from monitor.health.state_machine import we_are_blind
from monitor.probes.results import HttpAnswer, Operation, PathResult, StepResult, TlsEvidence, Way

OK = Meaning("ok", True)
LIMITED = Meaning("upstream_rate_limited", True, Evidence.of(Clause.limits_rate))
REFUSED = Meaning("connection_refused", False, Evidence.of(Clause.refuses))
MIRROR = MirrorConfig("hk", "https://api.example.com")


@pytest.fixture
def watch() -> MirrorState:
    return MirrorState(MIRROR, rise=2, fall=3, now=0.0)


def give(watch: MirrorState, meaning: Meaning, now: float):
    return watch.refresh(now, "here", watch.observe(meaning, now))


def test_nothing_is_known_before_the_first_probe(watch):
    assert watch.health().state is State.unknown
    assert watch.health().in_rotation
    assert watch.health().verdict == "unknown"


def test_down_begins_with_the_first_of_the_bad_probes(watch):
    give(watch, OK, 1)
    assert give(watch, REFUSED, 10) is None
    assert give(watch, REFUSED, 13) is None
    change = give(watch, REFUSED, 16)
    assert (change.state, change.at, change.verdict) == (State.down, 10, "connection_refused")
    assert watch.health().detail == Evidence.of(Clause.refuses)
    assert not watch.health().in_rotation


def test_one_bad_probe_changes_nothing_that_is_shown(watch):
    give(watch, OK, 1)
    before = watch.health()
    give(watch, REFUSED, 10)
    assert watch.health() == before


def test_a_refusal_that_still_shows_life_is_degraded_and_stays_in_rotation(watch):
    give(watch, OK, 1)
    change = give(watch, LIMITED, 10)
    assert (change.state, change.at) == (State.degraded, 10)
    assert watch.health().in_rotation
    assert watch.health().detail == Evidence.of(Clause.limits_rate)
    assert give(watch, OK, 20).state is State.up
    assert watch.health().detail is None


def test_maintenance_hides_the_state_but_does_not_stop_it(watch):
    give(watch, OK, 1)
    watch.set_wish(Override.maintenance, 100.0)
    assert watch.refresh(5, "here").state is State.maintenance
    assert not watch.health().in_rotation
    for now in (10, 11, 12):
        assert give(watch, REFUSED, now) is None
    assert not watch.wish_is_over(99.9)
    assert watch.wish_is_over(100)
    watch.set_wish(Override.use, None)
    change = watch.refresh(100, "here")
    assert (change.state, change.at) == (State.down, 100)


def test_a_drained_mirror_keeps_its_state(watch):
    give(watch, OK, 1)
    watch.set_wish(Override.drain, None)
    assert watch.refresh(2, "here") is None
    assert watch.health().state is State.up
    assert not watch.health().in_rotation


def test_being_blind_is_unknown_and_usable(watch):
    give(watch, OK, 1)
    watch.blind(10)
    assert watch.refresh(10, "here").state is State.unknown
    assert watch.health().in_rotation


def test_the_state_becomes_stale(watch):
    probe = Probe(StepResult(Operation.resolve, None, 0.0), (), OK)
    watch.take(probe, 1_000_000.0, 50.0)
    assert not watch.is_stale(60.0)
    give(watch, OK, 1_000_000.0)
    assert watch.is_stale(60.0)
    assert not watch.is_stale(50.0)


def test_the_facts_of_a_good_probe_are_shown(watch):
    steps = (
        StepResult(Operation.connect, None, 0.031, "192.0.2.2"),
        StepResult(Operation.tls_handshake, None, 0.064, tls=TlsEvidence(not_after=99.0)),
        StepResult(
            Operation.http_round_trip,
            None,
            0.2,
            first_byte=0.18,
            http=HttpAnswer(401, {"cf-ray": "1"}, b"{}"),
        ),
    )
    way = Way(MIRROR.host, "192.0.2.2")
    watch.paths.resolved(MIRROR.host, ("192.0.2.1", "192.0.2.2", "192.0.2.3"), 1.0)
    path = watch.paths.path(way)
    path.probed(4.0, 95.0, TlsEvidence(not_after=99.0))
    resolution = StepResult(Operation.resolve, None, 0.003)
    good = PathResult(way.address, steps, way.hostname)
    watch.take(Probe(resolution, (good,), OK), 5.0, 5.0)
    health = watch.health()
    assert [(p.address, p.usable) for p in health.paths] == [
        ("192.0.2.2", True),
        ("192.0.2.1", False),
        ("192.0.2.3", False),
    ]
    latency = health.latency
    assert (latency.resolve, latency.connect, latency.tls) == (3, 31, 64)
    assert latency.first_byte == 180
    assert health.cdn_detected == "cloudflare"
    assert health.tls_not_after == 99.0


def test_a_mirror_that_is_reached_under_another_name_only_is_degraded(watch):
    watch.configure(replace(MIRROR, hostnames=("alt.example.org",)), 2, 3, 0.0)
    for name in ("api.example.com", "alt.example.org"):
        watch.paths.resolved(name, ("192.0.2.1",), 0.0)
    blocked = watch.paths.path(Way("api.example.com", "192.0.2.1"))
    blocked.judged("sni_block_rst", "confirmed", (Code.passed(),))
    blocked.hold(600.0)
    watch.paths.path(Way("alt.example.org", "192.0.2.1")).succeeded(1.0)
    watch.take(Probe(StepResult(Operation.resolve, None, 0.0), (), OK), 1.0, 1.0)
    change = give(watch, OK, 1)
    assert (change.state, change.verdict) == (State.degraded, "sni_block_rst")
    health = watch.health()
    assert health.in_rotation
    assert health.evidence == (Code.passed(),)
    assert [(p.hostname, p.usable) for p in health.paths] == [
        ("alt.example.org", True),
        ("api.example.com", False),
    ]
    blocked.succeeded(700.0)
    assert give(watch, OK, 701).state is State.up


def test_a_request_that_waited_for_its_main_name_does_not_make_a_mirror_degraded(watch):
    """A packet that is lost shows so, once in a while, at two in a hundred every few seconds."""
    watch.configure(replace(MIRROR, hostnames=("alt.example.org",)), 2, 3, 0.0)
    for name in ("api.example.com", "alt.example.org"):
        watch.paths.resolved(name, ("192.0.2.1",), 0.0)
        watch.paths.path(Way(name, "192.0.2.1")).succeeded(0.0)
    own = watch.paths.path(Way("api.example.com", "192.0.2.1"))
    own.doubted(1.0, "ip_unreachable")
    assert give(watch, OK, 1).state is State.up
    own.failed(2.0, "ip_unreachable")
    change = give(watch, OK, 2)
    assert (change.state, change.verdict) == (State.degraded, "ip_unreachable")


def test_a_mirror_of_one_name_is_not_said_to_be_reached_under_another_one(watch):
    watch.paths.resolved("api.example.com", ("192.0.2.1",), 0.0)
    path = watch.paths.path(Way("api.example.com", "192.0.2.1"))
    path.doubted(1.0, "tls_failed")  # a request failed while the probe was on its way
    assert give(watch, OK, 1).verdict == "ok"


def test_a_refused_key_and_a_slow_mirror_are_degraded_and_say_so(watch):
    watch.key_checked("upstream_key_invalid")
    assert give(watch, OK, 1).verdict == "upstream_key_invalid"
    assert watch.health().key_refused
    watch.key_checked("")
    slow = Finding("throttled", evidence=(Code.speed_constant(),))
    assert watch.weigh(slow, reaction_to("throttled"))
    assert not watch.weigh(slow, reaction_to("throttled"))
    give(watch, OK, 2)
    health = watch.health()
    assert (health.state, health.verdict, health.weight) == (State.degraded, "throttled", 0.2)


def test_a_new_weight_does_not_make_another_mirror_but_a_new_url_does():
    assert identity(MirrorConfig("hk", "https://a", weight=2.0)) == identity(
        MirrorConfig("hk", "https://a")
    )
    assert identity(MirrorConfig("hk", "https://b")) != identity(MirrorConfig("hk", "https://a"))


@pytest.mark.parametrize(
    ("ours", "blind"),
    [([], False), ([True], False), ([True, True], True), ([True, False], False)],
)
def test_we_are_blind_when_several_mirrors_all_fail_for_what_may_be_ours(ours, blind):
    assert we_are_blind(ours) is blind


def test_the_series_of_a_removed_mirror_disappear():
    totals = MetricRegistry(
        [Family("a", "gauge", "", ("mirror",)), Family("b", "histogram", "", ("mirror",), (1.0,))]
    )
    for mirror in ("one", "two"):
        totals.set("a", 1, (mirror,))
        totals.observe("b", 1, (mirror,))
    kept = totals.cells("a", ("two",))
    totals.remove("mirror", "one", ["a"])
    assert totals.removals == 1, "who keeps cells is told"
    assert totals.cells("a", ("two",)) is kept
    rows = sorted(row[:2] for row in totals.to_json())
    assert rows == [["a", ["two"]], ["b", ["one"]], ["b", ["two"]]]
    totals.remove("mirror", "one")
    assert [row[:2] for row in totals.to_json()] == [["a", ["two"]], ["b", ["two"]]]


def _probe(meaning: Meaning) -> Probe:
    return Probe(StepResult(Operation.resolve, None, 0.0), (), meaning)


def test_requests_that_fail_outweigh_probes_that_are_answered(watch):
    watch.observe(OK, 0.0)
    for at in (1.0, 2.0, 3.0):
        watch.traffic.failed(at)
    watch.observe(OK, 4.0)
    assert watch.health().verdict == "ok", "it may have been a short outage"
    watch.observe(OK, 5.0)
    assert watch.health().verdict == "ok", "nothing has failed since"
    watch.traffic.failed(6.0)
    watch.observe(OK, 7.0)
    assert watch.health().verdict == "requests_fail"
    watch.traffic.served(8.0)
    watch.observe(OK, 9.0)
    assert watch.health().verdict == "ok"


def test_a_mirror_that_comes_back_is_not_blamed_for_its_outage(watch):
    for at in range(5):
        watch.traffic.failed(float(at))
    watch.observe(REFUSED, 6.0)
    watch.observe(OK, 7.0)
    watch.observe(OK, 8.0)
    assert watch.health().verdict == "ok"


def test_failures_of_long_ago_are_forgotten():
    record = RequestRecord()
    for at in range(5):
        record.failed(float(at))
        record.probed(True)
    assert record.fails(4.0 + REMEMBERED - 1.0)
    assert not record.fails(4.0 + REMEMBERED)


@given(
    gaps=st.lists(st.floats(0.01, 0.4), min_size=20, max_size=80),
    failures_told=st.floats(0.0, 0.25),
)
def test_a_mirror_that_serves_every_other_request_is_not_said_to_fail(gaps, failures_told):
    """Failures are told within a quarter of a second, successes once a second, as workers do."""
    record, now, told, served = RequestRecord(), 0.0, 1.0, 0.0
    for turn, gap in enumerate(gaps):
        now += gap
        if turn % 2:
            record.failed(now + failures_told)
            record.probed(True)
        else:
            served = now
        while told <= now:
            record.served(served)
            told += 1.0
        assert not record.fails(now + failures_told)


@pytest.mark.parametrize(
    ("verdict", "served", "failed", "alive"),
    [
        ("http_diff", 100.0, 0.0, True),
        ("http_diff", 49.0, 0.0, False),
        ("not_openai_api", 100.0, 0.0, True),
        ("not_openai_api", 49.0, 0.0, False),
        ("http_diff", 100.0, 101.0, False),
        ("upstream_overloaded", 100.0, 99.0, True),
        ("http_timeout", 100.0, 0.0, True),
        ("connection_refused", 100.0, 0.0, False),
        ("ssl_invalid_hostname", 100.0, 0.0, False),
    ],
)
def test_served_requests_outweigh_how_a_probe_was_answered(watch, verdict, served, failed, alive):
    watch.traffic.failed(failed)
    watch.traffic.served(served)
    seen = watch.borne_out(_probe(Meaning(verdict, False)), since=50.0)
    assert (seen.meaning.alive, seen.meaning.verdict) == (alive, verdict)


@pytest.mark.parametrize(
    ("served", "failed", "alive"),
    [(995.5, 0.0, True), (994.0, 0.0, False), (999.0, 999.5, False)],
    ids=["a moment ago", "long ago", "another has failed since"],
)
def test_a_mirror_that_serves_over_open_connections_is_not_down_when_handshakes_are_cut_off(
    watch, served, failed, alive
):
    watch.traffic.failed(failed)
    watch.traffic.served(served)
    watch.still_there(1000.0)
    seen = watch.borne_out(_probe(Meaning("sni_block_rst", False)), since=900.0)
    assert seen.meaning.alive is alive


def _at_one_address(watch: MirrorState) -> tuple[Path, Path]:
    """The paths of two names of it."""
    watch.configure(replace(MIRROR, hostnames=("alt.example.org",)), 1, 1, 0.0)
    for name in (MIRROR.host, "alt.example.org"):
        watch.paths.resolved(name, ("192.0.2.1",), 0.0)
    own, other = watch.paths
    return own, other


def test_where_nothing_may_be_tried_the_blocked_name_is_the_reason_and_not_an_untested_one(watch):
    own, other = _at_one_address(watch)
    own.judged("sni_block_rst", "confirmed", (Code.passed(),))
    own.hold(600.0)
    assert other.verdict == "unknown"
    probe = watch.untouched(_probe(OK))
    assert probe.meaning == Meaning("sni_block_rst", False)
    give(watch, probe.meaning, 1)
    health = watch.health()
    assert (health.state, health.verdict) == (State.down, "sni_block_rst")
    assert health.evidence == (Code.passed(),)


def test_a_fine_mirror_whose_address_is_shut_for_a_name_of_another_one_is_not_called_ok(watch):
    for path in _at_one_address(watch):
        path.succeeded(1.0)
    probe = watch.untouched(_probe(OK))
    assert probe.meaning == Meaning("residual_block", False, Code.left_alone())
