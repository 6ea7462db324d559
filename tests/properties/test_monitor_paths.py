"""Quarantine and paths, whatever comes."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from monitor.diagnosis.cdn import neighbourhood
from monitor.diagnosis.evidence import Code
from monitor.diagnosis.timing import NORMAL
from monitor.diagnosis.verdicts import SNI_BLOCKS
from monitor.health.paths import CERTAIN, Path, in_order, shown, usable_ones
from monitor.health.quarantine import Quarantine
from monitor.health.snapshot import Standing

ENDPOINTS = ("192.0.2.1:443", "[2001:db8::1]:443")


class QuarantineWalk(RuleBasedStateMachine):
    """Compares the quarantine with a plain list of all triggers."""

    def __init__(self) -> None:
        super().__init__()
        self.quarantine = Quarantine(NORMAL)
        self.now = 0.0
        self.free: dict[str, float] = {}
        """Until when each endpoint must be held."""
        self.since: dict[str, float] = {}
        """When each was last shut."""
        self.length: dict[str, float] = {}

    @rule(endpoint=st.sampled_from(ENDPOINTS), later=st.floats(0, 5000))
    def trigger(self, endpoint: str, later: float) -> None:
        self.now += later
        usual = self._before(endpoint)
        until = self.quarantine.trigger(endpoint, self.now)
        assert math.isclose(until - self.now, usual, abs_tol=1e-6)
        self.free[endpoint], self.length[endpoint] = until, usual
        self.since[endpoint] = self.now

    @rule(endpoint=st.sampled_from(ENDPOINTS), later=st.floats(0, 5000))
    def still_shut(self, endpoint: str, later: float) -> None:
        self.now += later
        before, held = self._before(endpoint), self.now < self.free.get(endpoint, -1.0)
        until = self.quarantine.still_shut(endpoint, self.now)
        if held:
            assert until == self.free[endpoint]
            return
        seconds = until - self.now
        assert seconds > before or math.isclose(seconds, 1800.0, abs_tol=1e-6)
        self.free[endpoint], self.length[endpoint] = until, seconds
        self.since[endpoint] = self.now

    def _before(self, endpoint: str) -> float:
        """The seconds that it was held the last time, unless it has been quiet since."""
        calm = self.now >= self.free.get(endpoint, -math.inf) + NORMAL.stop_growing
        return 185.0 if calm else self.length.get(endpoint, 185.0)

    @rule(later=st.floats(0, 2000))
    def wait(self, later: float) -> None:
        self.now += later

    @rule(endpoint=st.sampled_from(ENDPOINTS), ahead=st.floats(1, 2000))
    def prolong(self, endpoint: str, ahead: float) -> None:
        until = self.now + ahead
        self.quarantine.prolong(endpoint, self.now, until)
        if until > max(self.free.get(endpoint, self.now), self.now):
            self.length[endpoint] = self._before(endpoint)
            self.free[endpoint], self.since[endpoint] = until, self.now

    @rule(endpoint=st.sampled_from(ENDPOINTS), before=st.floats(0, 500))
    def contradicted(self, endpoint: str, before: float) -> None:
        """A handshake that began so long ago was answered."""
        began, until = self.now - before, self.free.get(endpoint, -math.inf)
        later = began > self.since.get(endpoint, 0.0) + CERTAIN
        lifted = self.quarantine.contradicted(endpoint, began, self.now)
        assert lifted is (self.now < until and later)
        if lifted:
            self.lift(endpoint)

    @rule(endpoint=st.sampled_from(ENDPOINTS))
    def lift(self, endpoint: str) -> None:
        self.quarantine.lift(endpoint)
        self.free.pop(endpoint, None)
        self.length.pop(endpoint, None)

    @invariant()
    def it_holds_exactly_those_whose_time_is_not_over(self) -> None:
        running = {e: until for e, until in self.free.items() if self.now < until}
        assert dict(self.quarantine.running(self.now)) == running
        for endpoint in ENDPOINTS:
            assert self.quarantine.until(endpoint, self.now) == running.get(endpoint)

    @invariant()
    def no_hold_is_shorter_than_the_residual_or_longer_than_the_limit(self) -> None:
        assert all(185.0 - 1e-6 <= s <= 1800.0 + 1e-6 for s in self.length.values())


TestQuarantine = QuarantineWalk.TestCase
TestQuarantine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_the_holds_of_one_endpoint_grow_as_documented() -> None:
    quarantine, now, seconds = Quarantine(NORMAL), 0.0, []
    for still_shut in (False, False, True, True, True, True, True, True, False):
        hold = quarantine.still_shut if still_shut else quarantine.trigger
        until = hold(ENDPOINTS[0], now)
        seconds.append(until - now)
        now = until
    assert seconds == [185.0, 185.0, 200.0, 400.0, 800.0, 1600.0, 1800.0, 1800.0, 1800.0]


class PathWalk(RuleBasedStateMachine):
    """One path, whatever probes, traffic and block tests say of it."""

    def __init__(self) -> None:
        super().__init__()
        self.path, self.now = Path("own.test", "192.0.2.1"), 0.0
        self.known = ""
        """The block that was found and that nothing has contradicted."""
        self.sure = False

    @precondition(lambda self: self.path.standing is not Standing.ok)
    @rule(verdict=st.sampled_from(sorted(SNI_BLOCKS)), sure=st.booleans())
    def found(self, verdict: str, sure: bool) -> None:
        self.sure = sure or (self.sure and verdict == self.known)
        self.known = verdict
        self.path.judged(verdict, "confirmed" if sure else "suspected", (Code.passed(),))

    @precondition(lambda self: self.path.standing is not Standing.ok)
    @rule(verdict=st.sampled_from(("tls_reset", "tls_eof", "tls_timeout", "residual_block")))
    def inconclusive(self, verdict: str) -> None:
        self.path.judged(verdict, "none", ())

    @rule(verdict=st.sampled_from(("tls_reset", "tls_eof", "tls_timeout", "connection_reset")))
    def cut(self, verdict: str) -> None:
        self._later()
        self.path.failed(self.now, verdict)

    @rule(verdict=st.sampled_from(("connection_refused", "ssl_invalid_hostname", "http_timeout")))
    def failed_otherwise(self, verdict: str) -> None:
        self._later()
        self.path.failed(self.now, verdict)
        self.known = ""
        assert (self.path.verdict, self.path.level) == (verdict, "none")

    @rule()
    def doubted(self) -> None:
        self._later()
        self.path.doubted(self.now, "tls_timeout")

    @rule(seconds=st.floats(1.0, 400.0))
    def held(self, seconds: float) -> None:
        self.path.hold(self.now + seconds)

    @rule()
    def worked(self) -> None:
        self._later()
        self.path.succeeded(self.now)
        self.known = "" if self.path.standing is Standing.ok else self.known

    def _later(self) -> None:
        self.now += 1.0

    @invariant()
    def what_is_known_stays_known(self) -> None:
        if self.known:
            assert self.path.verdict == self.known
            assert self.path.level == ("confirmed" if self.sure else "suspected")
            assert self.path.evidence
        else:
            self.sure = False

    @invariant()
    def a_path_that_works_is_not_blamed(self) -> None:
        if self.path.standing is Standing.ok and not self.known:
            assert self.path.verdict == "ok"


TestPathWalk = PathWalk.TestCase
TestPathWalk.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


PATHS = st.lists(
    st.builds(
        Path,
        hostname=st.sampled_from(("a.test", "b.test")),
        address=st.sampled_from(("192.0.2.1", "192.0.2.2", "198.51.100.1", "2001:db8::1")),
        place=st.integers(0, 2),
        standing=st.sampled_from(Standing),
        latency=st.none() | st.floats(0.1, 5000),
        failures=st.integers(0, 5),
    ),
    max_size=10,
)


@given(PATHS)
def test_no_path_is_lost_and_a_good_one_never_stands_behind_a_bad_one(paths: list[Path]) -> None:
    ordered = in_order(paths)
    assert len(ordered) == len(paths)
    assert set(map(id, ordered)) == set(map(id, paths))
    standings = [path.standing is Standing.ok for path in ordered]
    assert standings == sorted(standings, reverse=True)


@given(PATHS, st.sets(st.sampled_from(("192.0.2.1", "192.0.2.2", "198.51.100.1"))))
def test_usable_paths_are_good_or_the_least_bad_and_never_quarantined(
    paths: list[Path], held: set[str]
) -> None:
    ordered = in_order(paths)
    usable = usable_ones(ordered, lambda path: path.address in held)
    assert not any(path.address in held for path in usable)
    good = [p for p in ordered if p.standing is Standing.ok and p.address not in held]
    if good:
        assert usable == good
    else:
        assert len(usable) <= 1
    assert all(p.standing is not Standing.untested or p.place == 0 for p in usable)
    told = shown(paths, lambda path: path.address in held, lambda moment: moment)
    assert [p.usable for p in told] == [path in usable for path in ordered]


@given(PATHS)
def test_the_order_does_not_depend_on_the_order_in_which_paths_were_found(
    paths: list[Path],
) -> None:
    unique = list({path.way: path for path in paths}.values())
    ways = [path.way for path in in_order(unique)]
    assert ways == [path.way for path in in_order(reversed(unique))]


def _path(address: str, latency: float | None = 20.0, place: int = 0) -> Path:
    return Path("a.test", address, place, Standing.ok, latency=latency)


def test_the_own_name_comes_first_then_speed_then_another_network() -> None:
    near, neighbour = _path("192.0.2.1"), _path("192.0.2.2", 21.0)
    elsewhere, slow = _path("198.51.100.1", 22.0), _path("203.0.113.1", 300.0)
    alternate = _path("192.0.2.9", 1.0, place=1)
    ordered = in_order([slow, alternate, neighbour, elsewhere, near])
    assert ordered == [near, elsewhere, neighbour, slow, alternate]
    assert neighbourhood("2001:db8:1:2::3") == "2001:db8:1::/48"


def test_paths_that_are_about_equally_fast_do_not_change_places() -> None:
    first, second = _path("192.0.2.1", 100.0), _path("192.0.2.2", 100.0)
    for number in range(200):
        first.succeeded(number, 70.0 if number % 2 else 160.0)
        second.succeeded(number, 160.0 if number % 2 else 70.0)
        assert in_order([second, first]) == [first, second]
    for number in range(200, 220):
        second.succeeded(number, 30.0)
    assert in_order([first, second]) == [second, first]


def test_when_a_name_was_cut_off_another_one_at_another_address_is_used_even_if_untested() -> None:
    cut = _path("192.0.2.1")
    cut.failed(1.0, "tls_reset")
    cut.cut_off(1.0)
    elsewhere = _path("192.0.2.2")
    elsewhere.doubted(1.0, "tls_reset")
    beside, other = (Path("b.test", address, 1) for address in ("192.0.2.1", "192.0.2.2"))
    paths = in_order([cut, elsewhere, beside, other])
    assert usable_ones(paths, lambda path: False) == [other]
    assert usable_ones(paths, lambda path: path.address == "192.0.2.2") == [beside]
    other.hold(9.0)
    beside.hold(9.0)
    assert usable_ones(paths, lambda path: False) == [elsewhere]


def test_a_path_comes_back_with_one_good_probe_and_is_held_longer_each_time() -> None:
    path = _path("192.0.2.1")
    path.failed(1.0, "tls_reset")
    assert (path.standing, path.verdict, path.failures) == (Standing.suspected, "tls_reset", 1)
    path.judged("sni_block_rst", "confirmed", (Code.passed(),))
    path.hold(601.0)
    assert path.is_held(600.0)
    assert not path.is_held(601.0)
    path.failed(602.0, "tls_reset")
    assert (path.standing, path.verdict) == (Standing.held, "sni_block_rst")
    path.hold(1802.0)
    assert path.repeats == 2
    assert path.succeeded(1803.0, 40.0)
    assert (path.standing, path.verdict, path.level, path.evidence) == (
        Standing.ok,
        "ok",
        "none",
        (),
    )
    assert path.repeats == 2
    assert not path.succeeded(1803.0 + 3600.0, 40.0)
    assert path.repeats == 0
    assert path.latency is not None
    assert 20.0 < path.latency < 40.0


def test_traffic_can_put_a_good_path_in_doubt_but_counts_as_no_probe() -> None:
    path = _path("192.0.2.1")
    path.doubted(1.0, "tls_reset")
    assert (path.standing, path.failures) == (Standing.suspected, 0)
    held = _path("192.0.2.2")
    held.hold(10.0)
    held.doubted(1.0, "tls_reset")
    assert held.standing is Standing.held
