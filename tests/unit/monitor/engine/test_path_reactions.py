"""Reactions in effect: every row of the table of reactions, on a mirror of two names and two
addresses."""

from __future__ import annotations

import logging
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from monitor.common.config import MirrorConfig, MonitorConfig
from monitor.common.metric_registry import MetricRegistry
from monitor.diagnosis.answer import Meaning
from monitor.diagnosis.clauses import Clause
from monitor.diagnosis.evidence import Code, Evidence
from monitor.diagnosis.finding import Finding, Level
from monitor.diagnosis.interpret import interpret, interpret_spared
from monitor.diagnosis.reactions import Scope
from monitor.diagnosis.timing import NORMAL
from monitor.diagnosis.verdicts import OURS, VERDICTS, reaction_to
from monitor.engine.anchors import Anchors
from monitor.engine.block_tests import SPARED, BlockTests, Case, Conclusion
from monitor.engine.metrics import FAMILIES
from monitor.engine.mirror_state import MirrorState
from monitor.engine.path_reactions import Reactions
from monitor.engine.prober import Probe
from monitor.engine.publisher import SAY_AGAIN, Alerts
from monitor.health import paths
from monitor.health.paths import CERTAIN, SOON, Path, in_order, usable_ones
from monitor.health.quarantine import Quarantine
from monitor.health.snapshot import MirrorHealth, Override, Standing, State, endpoint_of
from monitor.probes.results import HttpAnswer, Operation, PathResult, StepResult, TlsEvidence, Way
from tests.testkit.censor.simulated_endpoint import PretendEndpoint, experiment

OWN, ALT, NEAR, FAR = "own.test", "alt.test", "192.0.2.1", "198.51.100.1"
MIRROR = MirrorConfig("a", f"https://{OWN}", hostnames=(ALT,), addresses=(NEAR, FAR))
NOW = 1000.0
RESOLVED = StepResult(Operation.resolve, None, 0.0)
OF_PATHS = [v for v in VERDICTS if reaction_to(v).scope not in (Scope.none, Scope.mirror)]
OF_MIRRORS = [v for v in VERDICTS if reaction_to(v).scope is Scope.mirror]
BY_SPEED = {"throttled", "byte_cap_freeze"}
KEY_OF_NO_USE = {
    "upstream_key_invalid",
    "upstream_ip_not_allowed",
    "upstream_quota",
    "upstream_region_ban",
}


class Place:
    """A mirror, all paths of which work, and what acts on verdicts about it."""

    def __init__(self, mirror: MirrorConfig = MIRROR) -> None:
        self.watch = MirrorState(mirror, 1, 1, NOW)
        for path in self.watch.paths:
            path.succeeded(NOW, 20.0)
        self.watches = {"a": self.watch}
        self.quarantine = Quarantine(NORMAL)
        self.touched: list[str] = []
        self.now = NOW
        self.reactions = Reactions(
            self.quarantine,
            Anchors(NORMAL, lambda: NOW),
            NORMAL,
            Random(1),
            lambda: self.now,
            self.watches,
            self.touched.append,
            MetricRegistry(FAMILIES),
        )
        self.reactions.configure(MonitorConfig(fall=1))

    def path(self, hostname: str, address: str) -> Path:
        found = self.watch.paths.path(Way(hostname, address))
        assert found is not None
        return found

    def usable(self) -> list[Path]:
        return usable_ones(
            in_order(self.watch.paths),
            lambda path: (
                self.quarantine.until(endpoint_of(path.address, 443), NOW) is not None
                or self.reactions.is_left_out(MIRROR.id, path)
            ),
        )

    def hear(self, verdict: str, headers: dict[str, str] | None = None) -> MirrorHealth:
        """A probe of the mirror, all the way to its response."""
        meaning = Meaning(
            verdict,
            verdict == "ok" or VERDICTS[verdict].alive,
            Evidence.of(Clause.answers, status=403),
        )
        http = HttpAnswer(403, headers or {})
        last = StepResult(Operation.http_round_trip, None, 0.1, NEAR, http=http)
        probe = Probe(RESOLVED, (PathResult(NEAR, (last,), OWN),), meaning)
        self.watch.take(probe, NOW, NOW)
        self.watch.refresh(NOW, "here", self.watch.observe(meaning, NOW))
        self.reactions.rest(self.watch, probe, NOW)
        return self.watch.health()


@pytest.mark.parametrize("verdict", OF_PATHS)
def test_paths_within_the_scope_of_a_verdict_are_held_and_others_used(verdict: str) -> None:
    place, reaction = Place(), reaction_to(verdict)
    bad = place.path(OWN, NEAR)
    fellow = {
        Scope.path: None,
        Scope.endpoint: place.path(ALT, NEAR),
        Scope.hostname: place.path(OWN, FAR),
        Scope.cdn: place.path(OWN, FAR),
    }[reaction.scope]
    for path in (bad, fellow) if fellow else (bad,):
        path.led_over("cloudflare" if reaction.scope is Scope.cdn else "")
        path.failed(NOW, verdict)
    place.reactions.react(place.watch, bad, Finding(verdict, Level.suspected))
    held = [path for path in place.watch.paths if path.standing is Standing.held]
    assert held == [path for path in place.watch.paths if path in (bad, fellow)]
    for path in held:
        assert reaction.hold * 0.85 <= path.held_until - NOW <= reaction.hold * 1.15
        assert path.verdict == verdict
    assert (place.quarantine.until(f"{NEAR}:443", NOW) is not None) is reaction.quarantine
    assert place.usable()
    assert bad not in place.usable()
    if reaction.scope is Scope.hostname or reaction.change_hostname:
        assert OWN not in {path.hostname for path in place.usable() if path.address == NEAR}
    if reaction.quarantine or reaction.scope is Scope.endpoint:
        assert NEAR not in {path.address for path in place.usable()}
    assert place.touched


@pytest.mark.parametrize(
    ("url", "address", "told"),
    [
        (f"https://{OWN}", NEAR, f"a: {OWN} over {NEAR} works again"),
        (f"https://{NEAR}", NEAR, f"a: {NEAR} works again"),
    ],
)
def test_a_path_that_works_again_is_named_once(
    url: str, address: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    place = Place(MirrorConfig("a", url, addresses=(address,)))
    (path,) = place.watch.paths
    path.failed(NOW, "connect_failed")
    shaken = StepResult(Operation.tls_handshake, None, 0.1, address, tls=TlsEvidence())
    http = HttpAnswer(401, {"content-type": "application/json"}, b'{"error": {"message": "no"}}')
    last = StepResult(Operation.http_round_trip, None, 0.1, address, http=http)
    result = PathResult(address, (shaken, last), path.hostname)
    place.reactions.take(place.watch, result, NOW + 1, True)
    assert caplog.messages == [told]
    for _ in range(3):  # two certificates behind one address
        path.failed(NOW, "cert_expired")
        place.reactions.take(place.watch, result, NOW + 1, True)
    assert caplog.messages == [told]
    path.failed(NOW, "cert_expired")
    place.now += paths.SAY_AGAIN
    place.reactions.take(place.watch, result, place.now, True)
    assert caplog.messages == [told, told]


@pytest.mark.parametrize("verdict", sorted(set(OF_MIRRORS) - BY_SPEED))
def test_a_mirror_is_left_or_gets_less_or_does_not_lend_its_key(verdict: str) -> None:
    place, reaction = Place(), reaction_to(verdict)
    health = place.hear(verdict)
    alive = VERDICTS[verdict].alive
    assert health.state is (State.degraded if alive else State.down)
    assert health.in_rotation is alive
    assert health.weight == reaction.weight
    assert health.key_refused is (verdict in KEY_OF_NO_USE)
    assert {path.standing for path in place.watch.paths} == {Standing.ok}
    rests = place.watch.rest.until - NOW
    if alive or verdict in ("cdn_challenge", "cdn_access_denied"):
        assert reaction.hold * 0.85 <= rests <= reaction.hold * 1.15
    else:
        assert rests < 0, "it may be over soon: it is asked again as usual"


def test_a_confirmed_block_outlives_the_next_cut_handshake() -> None:
    place = Place()
    for path in place.watch.paths:
        path.failed(NOW, "tls_reset")
    place.path(OWN, NEAR).judged("sni_block_rst", "confirmed", (Code.passed(),))
    health = place.hear("tls_reset")
    assert (health.state, health.verdict) == (State.down, "sni_block_rst")
    assert health.evidence == (Code.passed(),)
    assert health.detail is None
    assert health.level == "confirmed"


@pytest.mark.parametrize("verdict", ["upstream_rate_limited", "cdn_rate_limited"])
def test_a_mirror_that_says_when_to_come_back_is_asked_again_then(verdict: str) -> None:
    place = Place()
    place.hear(verdict, {"retry-after": "42"})
    assert place.watch.rest.until == place.watch.health().rests_until == NOW + 42
    place.hear("ok")
    assert place.watch.rest.taken == 0


@pytest.mark.parametrize("verdict", sorted(BY_SPEED))
def test_a_mirror_that_is_slowed_down_gets_less(verdict: str) -> None:
    place, reaction = Place(), reaction_to(verdict)
    assert place.watch.weigh(Finding(verdict), reaction)
    health = place.hear("ok")
    assert (health.state, health.verdict) == (State.degraded, verdict)
    assert (health.weight, health.freezes_streams) == (reaction.weight, reaction.streaming < 1)
    assert min(reaction.weight, reaction.streaming) == 0.2


def test_where_long_answers_stop_dead_another_network_is_taken_if_there_is_one() -> None:
    place, finding = Place(), Finding("byte_cap_freeze", Level.suspected)
    place.reactions.burdened(place.watch, finding)
    assert len(place.usable()) == 4
    for name in (OWN, ALT):
        place.path(name, NEAR).led_over("cloudflare")
    place.reactions.burdened(place.watch, finding)
    assert {path.address for path in place.usable()} == {FAR}


@pytest.mark.parametrize("verdict", [v for v in VERDICTS if reaction_to(v).scope is Scope.none])
def test_a_verdict_on_no_part_of_a_mirror_leaves_it_in_use(verdict: str) -> None:
    place, reaction = Place(), reaction_to(verdict)
    assert (reaction.weight, reaction.streaming, reaction.quarantine) == (1.0, 1.0, False)
    if reaction.hold:  # forged addresses: the one that showed it is dropped
        place.reactions.react(place.watch, place.path(OWN, NEAR), Finding(verdict))
        assert place.path(OWN, NEAR) not in place.usable()
        assert len(place.usable()) == 3
    else:
        assert verdict in OURS or not reaction.alert


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_operator_is_told_once(verdict: str, caplog: pytest.LogCaptureFixture) -> None:
    now = NOW
    alerts, bad = Alerts(lambda: now), MirrorHealth("a", verdict=verdict)
    with caplog.at_level(logging.WARNING):
        assert alerts.see(bad) == alerts.see(bad)
        assert len(caplog.records) == reaction_to(verdict).alert
        for _ in range(3):
            alerts.see(MirrorHealth("a", verdict="ok"))
            alerts.see(bad)
        assert len(caplog.records) == reaction_to(verdict).alert
        now += SAY_AGAIN
        alerts.see(bad)
        assert len(caplog.records) == reaction_to(verdict).alert
        alerts.see(MirrorHealth("a", verdict="ok"))
        alerts.see(bad)
    assert len(caplog.records) == 2 * reaction_to(verdict).alert


def answer(status: int, address: str, hostname: str = OWN, **headers: str) -> PathResult:
    http = HttpAnswer(status, headers, b"{}" if status < 500 else b"")
    last = StepResult(Operation.http_round_trip, None, 0.1, address, http=http)
    return PathResult(address, (last,), hostname)


def test_a_path_that_alone_answers_badly_is_left_for_those_that_answer_well() -> None:
    place = Place()
    bad = answer(502, NEAR)
    place.reactions.take(place.watch, bad, NOW, True)
    assert place.path(OWN, NEAR).standing is Standing.held
    assert place.path(OWN, NEAR) not in place.usable()
    other = Place()
    other.reactions.take(other.watch, bad, NOW, False)
    assert other.path(OWN, NEAR).standing is Standing.ok, "all of the mirror is bad, not a path"


def test_a_result_from_before_a_failure_clears_nothing() -> None:
    place = Place()
    path = place.path(OWN, NEAR)
    path.doubted(NOW, "tls_reset")
    place.reactions.take(place.watch, answer(401, NEAR), NOW - 1.0, True)
    seen = [path.standing]
    place.reactions.take(place.watch, answer(401, NEAR), NOW, True)
    assert [*seen, path.standing] == [Standing.suspected, Standing.ok]


SOLE = MirrorConfig("a", f"https://{OWN}", hostnames=(ALT,), addresses=(NEAR,))
CUT = StepResult(Operation.tls_handshake, "connection_reset", 0.1, NEAR, tls=TlsEvidence())


class Cases(BlockTests):
    """Keeps what is suspected, and examines nothing."""

    def __init__(self) -> None:
        self.suspected: list[Case] = []
        self.told: list[tuple[str, str]] = []

    def suspect(self, case: Case) -> bool:
        self.suspected.append(case)
        return True

    def contradicted(self, endpoint: str, hostname: str) -> None:
        self.told.append((endpoint, hostname))


def cut_off(place: Place, hostname: str = OWN) -> Case:
    """A handshake under this name is cut off: the case that is to be examined."""
    cases = Cases()
    place.reactions.examine_with(cases)
    place.reactions.heard()
    path = place.path(hostname, NEAR)
    path.failed(place.now, "tls_reset")
    place.reactions.cut_off(place.watch, path, CUT, place.now)
    (case,) = cases.suspected
    return case


def test_a_block_that_only_the_time_of_its_resets_tells_is_suspected_until_it_ends() -> None:
    """The server resets every name but its own, and the censor this one, sooner."""
    place, pretend = Place(), PretendEndpoint("reset", cut_after=0.001, strangers_cut="reset")
    case, bad = cut_off(place), place.path(OWN, NEAR)
    trials, done = experiment(pretend, NORMAL, Random(1))
    found = interpret(trials, NORMAL)
    place.reactions.concluded(case, Conclusion(tuple(trials), found, done.why))
    assert (found.rule, bad.verdict, bad.level) == ("D", "sni_block_rst", "suspected")
    bad.failed(NOW, "tls_reset")
    assert (bad.verdict, bad.level) == ("sni_block_rst", "suspected"), "no news"


def other_mirror(*addresses: str) -> MirrorState:
    """One that is up over these addresses."""
    other = MirrorState(MirrorConfig("b", "https://b.test", addresses=addresses), 1, 1, NOW)
    for path in other.paths:
        path.succeeded(NOW, 20.0)
    other.observe(Meaning.of("ok"), NOW)
    return other


def test_an_endpoint_that_nothing_leads_round_is_looked_at_while_it_is_held() -> None:
    assert not cut_off(Place(MIRROR)).alone, "another address works"
    lone = replace(SOLE, hostnames=())
    assert cut_off(Place(lone)).alone
    place = Place(lone)
    place.watches["b"] = other_mirror(FAR)
    assert not cut_off(place).alone, "another mirror works"
    place = Place(replace(lone, models=("gpt-4o",)))
    place.watches["b"] = replaced = other_mirror(FAR)
    replaced.mirror = replace(replaced.mirror, models=("o3",))
    assert cut_off(place).alone, "the other mirror does not serve its callers"
    place = Place(lone)
    place.watches["b"] = other_mirror(NEAR)
    assert cut_off(place).alone, "the other mirror depends on the same address"


def test_a_name_is_spared_where_others_depend_on_its_address_alone() -> None:
    assert cut_off(Place(SOLE)).spared
    assert not cut_off(Place(MIRROR)).spared, "another address works"
    assert not cut_off(Place(replace(SOLE, hostnames=()))).spared, "no other name depends on it"
    place = Place(MIRROR)
    for name in (OWN, ALT):
        place.path(name, FAR).hold(NOW + 100)
    assert cut_off(place).spared, "the other address does not work"
    place = Place(SOLE)
    place.path(ALT, NEAR).hold(NOW + 100)
    assert not cut_off(place).spared, "the other name does not work"


@pytest.mark.parametrize(
    ("address", "wish", "spared"),
    [
        (FAR, Override.use, False),
        (FAR, Override.drain, True),
        (NEAR, Override.use, True),
    ],
    ids=["elsewhere", "not wanted", "at the same endpoint"],
)
def test_a_name_is_not_spared_where_another_mirror_leads_round_it(
    address: str, wish: Override, spared: bool
) -> None:
    place, other = Place(SOLE), other_mirror(address)
    other.set_wish(wish, None)
    place.watches["b"] = other
    assert cut_off(place).spared is spared


def test_a_name_is_left_out_where_it_would_shut_the_address_of_another_mirror() -> None:
    place, other = Place(replace(SOLE, hostnames=())), other_mirror(NEAR)
    place.watches["b"] = other
    case, bad = cut_off(place), place.path(OWN, NEAR)
    assert case.spared
    assert case.subject.fellows == ("b.test",), "names to look with"
    assert place.usable() == [bad], "as long as it is not held"
    found = interpret_spared(case.before, NORMAL)
    place.reactions.concluded(case, Conclusion(case.before, found, SPARED))
    assert place.usable() == [], "not even as the last resort of its mirror"
    (its,) = other.paths
    its.hold(NOW + 100.0)
    assert place.usable() == [bad], "there is nobody left to be shut out"
    its.succeeded(NOW, 20.0)
    other.set_wish(Override.drain, None)
    assert place.usable() == [bad], "nobody uses the other mirror"
    other.set_wish(Override.use, None)
    place.now = bad.held_until
    assert place.usable() == [bad], "it may be looked at again"


def test_a_name_that_is_left_out_is_so_for_every_mirror_that_has_it() -> None:
    place, other = Place(replace(SOLE, hostnames=())), other_mirror(NEAR)
    mirror = MirrorConfig("c", f"https://{OWN}", addresses=(NEAR,))
    place.watches |= {"b": other, "c": MirrorState(mirror, 1, 1, NOW)}
    (same,) = place.watches["c"].paths
    same.succeeded(NOW, 20.0)
    case, bad = cut_off(place), place.path(OWN, NEAR)
    place.reactions.quarantined(case)
    assert place.reactions.is_left_out("c", same)
    found = interpret_spared(case.before, NORMAL)
    place.reactions.concluded(case, Conclusion(case.before, found, SPARED))
    assert same.verdict == bad.verdict
    assert same.held_until == bad.held_until
    assert {path.standing for path in other.paths} == {Standing.ok}


def test_a_name_that_was_blocked_comes_first_once_another_one_is_cut_off_in_its_turn() -> None:
    place, block = Place(SOLE), Finding("sni_block_rst", Level.suspected, residual=True)
    own, alternate = place.path(OWN, NEAR), place.path(ALT, NEAR)
    assert not cut_off(place).by_turns, "no name was blocked before"
    place.reactions.react(place.watch, own, block)
    place.now += NORMAL.residual_hold
    alternate.succeeded(place.now)
    place.now += 1.0
    case = cut_off(place, ALT)
    assert (case.spared, case.by_turns) == (False, True)
    place.reactions.react(place.watch, alternate, block)
    left_out = [place.reactions.is_left_out("a", path) for path in (own, alternate)]
    assert left_out == [False, True]
    own.failed(place.now + 1.0, "tls_reset")
    left_out = [place.reactions.is_left_out("a", path) for path in (own, alternate)]
    assert left_out == [False, False], "both are blocked"


def test_a_name_does_not_shut_out_another_mirror_because_its_own_one_works_elsewhere() -> None:
    place, other = Place(replace(MIRROR, hostnames=())), other_mirror(NEAR)
    place.watches["b"] = other
    assert cut_off(place).spared
    place.watches["b"] = other_mirror(NEAR, FAR)
    assert not cut_off(place).spared, "it works elsewhere too"


@pytest.mark.parametrize(
    ("settings", "spared"),
    [
        ({}, False),
        ({"client_keys": ("sk-other-*",)}, True),
        ({"client_keys": ("sk-other-*", "*")}, False),
        ({"paths": ("/v1/messages",)}, True),
        ({"models": ("one",)}, True),
    ],
)
def test_a_mirror_leads_round_an_address_for_callers_whom_it_serves(
    settings: dict[str, Any], spared: bool
) -> None:
    place = Place(SOLE)
    other = MirrorConfig("c", "https://c.test", addresses=(FAR,), **settings)
    place.watches["c"] = MirrorState(other, 1, 1, NOW)
    for path in place.watches["c"].paths:
        path.succeeded(NOW, 20.0)
    place.watches["c"].observe(Meaning.of("ok"), NOW)
    assert cut_off(place).spared is spared


def test_a_name_waits_for_no_mirror_that_only_answers_with_errors() -> None:
    place, other = Place(replace(SOLE, hostnames=())), other_mirror(NEAR)
    place.watches["b"] = other
    case, bad = cut_off(place), place.path(OWN, NEAR)
    found = interpret_spared(case.before, NORMAL)
    place.reactions.concluded(case, Conclusion(case.before, found, SPARED))
    last = StepResult(Operation.http_round_trip, None, 0.1, NEAR, http=HttpAnswer(503))
    probe = Probe(RESOLVED, (PathResult(NEAR, (last,), "b.test"),), Meaning("http_failed", False))
    other.take(probe, NOW, NOW)
    other.observe(probe.meaning, NOW)
    assert other.is_down
    place.now = NOW + NORMAL.residual_hold - 1.0
    assert place.usable() == [], "it may answer before the address would be open again"
    place.now = NOW + NORMAL.residual_hold
    assert place.usable() == [bad]
    other.observe(Meaning("tls_reset", False), NOW)
    assert place.usable() == [], "that is no fault of its own"


def test_a_name_that_is_spared_is_looked_at_seldom_and_ever_more_so() -> None:
    place = Place(SOLE)
    case, bad = cut_off(place), place.path(OWN, NEAR)
    place.quarantine.trigger(f"{NEAR}:443", NOW)
    place.reactions.quarantined(case)
    place.quarantine.lift(f"{NEAR}:443")
    assert [path.hostname for path in place.usable()] == [ALT], "the first when the time is over"
    holds = []
    for _ in range(5):
        found = interpret_spared(case.before, NORMAL)
        place.reactions.concluded(case, Conclusion(case.before, found, SPARED))
        holds.append(bad.held_until - place.now)
        place.now = bad.held_until
    assert holds == [1800.0, 3600.0, 7200.0, 14400.0, 14400.0]
    assert (bad.verdict, bad.level) == ("sni_block_rst", "suspected")
    assert place.quarantine.until(f"{NEAR}:443", NOW) is None


def test_a_name_that_shut_one_address_is_not_shown_at_once_at_another_one() -> None:
    place = Place()
    for name in (OWN, ALT):
        place.path(name, FAR).doubted(NOW, "tls_timeout")
    case, elsewhere = cut_off(place), place.path(OWN, FAR)
    assert case.spared
    place.path(ALT, FAR).succeeded(NOW, 20.0)
    found = interpret_spared(case.before, NORMAL)
    place.reactions.concluded(case, Conclusion(case.before, found, SPARED))
    assert elsewhere.held_until == NOW + NORMAL.residual_hold


def test_a_name_that_was_spared_is_looked_at_soon_once_another_address_works() -> None:
    place = Place()
    for name in (OWN, ALT):
        place.path(name, FAR).failed(NOW, "tls_timeout")
    case, bad = cut_off(place), place.path(OWN, NEAR)
    found = interpret_spared(case.before, NORMAL)
    place.reactions.concluded(case, Conclusion(case.before, found, SPARED))
    assert bad.held_until == NOW + NORMAL.costly_look
    place.now = NOW + 50
    place.reactions.take(place.watch, answer(401, NEAR, ALT), place.now, True)
    assert bad.held_until == NOW + NORMAL.costly_look, "all depends on its address"
    for seconds in (60, 75):
        place.now = NOW + seconds
        place.reactions.take(place.watch, answer(401, FAR, ALT), place.now, True)
    assert bad.held_until == NOW + 60 + NORMAL.residual_hold


def test_an_endpoint_that_answers_a_request_is_left_alone_no_longer() -> None:
    place = Place(SOLE)
    case, alt = cut_off(place), place.path(ALT, NEAR)
    cases = Cases()
    place.reactions.examine_with(cases)
    place.quarantine.trigger(case.endpoint, NOW)
    place.reactions.answered(place.watch, alt, NOW + CERTAIN)
    assert place.quarantine.until(case.endpoint, NOW) is not None, "it may have begun before"
    assert not place.reactions.answered_since(case.endpoint, NOW)
    place.reactions.answered(place.watch, alt, NOW + CERTAIN + 0.1)
    assert place.quarantine.until(case.endpoint, NOW) is None
    assert place.reactions.answered_since(case.endpoint, NOW) == {ALT}
    assert cases.told == [(case.endpoint, ALT)]


def test_a_path_that_is_cut_off_and_answered_by_turns_is_erratic_for_a_while() -> None:
    place = Place(SOLE)
    path = place.path(OWN, NEAR)
    erratic = [cut_off(place).erratic]
    path.was_answered(NOW + 5.0)
    place.now = NOW + 10.0
    erratic.append(cut_off(place).erratic)
    path.was_answered(place.now + SOON + 1.0)
    place.now += 60.0
    erratic.append(cut_off(place).erratic)
    assert erratic == [False, True, False]
