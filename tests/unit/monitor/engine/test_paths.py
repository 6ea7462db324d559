"""Which names and addresses of a mirror are tried, and when."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from monitor.common.config import MirrorConfig
from monitor.diagnosis.finding import Finding
from monitor.diagnosis.timing import NORMAL
from monitor.engine.paths import (
    FORGET,
    MAX_NAMES,
    MAX_PER_NAME,
    REMEMBER,
    MirrorPaths,
    diverse,
    one_of_each_cut_name,
)
from monitor.health.paths import Path, is_cut
from monitor.health.snapshot import Standing
from monitor.probes.results import DnsObservation, DnsReply, Way

OWN, ALT = "own.test", "alt.test"
MIRROR = MirrorConfig("a", f"https://{OWN}", hostnames=(ALT,))
SPACING = 30.0


def paths_of(mirror: MirrorConfig = MIRROR, addresses: int = 2) -> MirrorPaths:
    paths = MirrorPaths(mirror, NORMAL, 0.0)
    for name in list(paths.names):
        paths.resolved(name, [f"192.0.{n}.1" for n in range(addresses)], 0.0)
    return paths


def path(paths: MirrorPaths, hostname: str, number: int = 0) -> Path:
    found = paths.path(Way(hostname, f"192.0.{number}.1"))
    assert found is not None
    return found


def all_good(paths: MirrorPaths, now: float = 0.0) -> MirrorPaths:
    for one in paths:
        one.succeeded(now)
    return paths


def free(_: Path) -> bool:
    return False


def plan(
    paths: MirrorPaths, now: float, shut: set[str] | None = None
) -> tuple[list[Way], list[Way]]:
    found = paths.plan(now, lambda p: p.address in (shut or ()), free, SPACING)
    return list(found.ask), list(found.check)


def tried(paths: MirrorPaths, now: float) -> list[Way]:
    ask, check = plan(paths, now)
    return [*ask, *check]


def test_the_best_path_is_asked_and_what_was_quiet_is_checked() -> None:
    paths = all_good(paths_of())
    path(paths, ALT, 1).succeeded(20.0)
    ask, check = plan(paths, 40.0)
    assert ask == [Way(OWN, "192.0.0.1"), Way(ALT, "192.0.1.1")]
    assert check == [Way(OWN, "192.0.1.1"), Way(ALT, "192.0.0.1")]
    assert plan(paths, 10.0)[1] == []


def test_nothing_touches_what_is_shut_and_what_is_held_waits_for_its_time() -> None:
    paths = all_good(paths_of())
    path(paths, OWN).hold(100.0)
    assert Way(OWN, "192.0.0.1") not in tried(paths, 99.0)
    assert Way(OWN, "192.0.0.1") in plan(paths, 100.0)[1]
    assert plan(paths, 100.0, {"192.0.0.1", "192.0.1.1"}) == ([], [])
    for one in paths:
        one.hold(200.0)
    assert len(plan(paths, 150.0)[0]) == 2, "a mirror that is down is asked all the same"


def test_a_name_that_was_cut_off_is_shown_at_one_address_at_a_time() -> None:
    paths = all_good(paths_of())
    for number in (0, 1):
        path(paths, OWN, number).failed(10.0, "tls_reset")
    ask, check = plan(paths, 20.0)
    assert ask[0].hostname == ALT
    shown = {way for way in (*ask, *check) if way.hostname == OWN}
    assert shown == {Way(OWN, "192.0.0.1")}
    path(paths, OWN, 0).succeeded(30.0)
    assert Way(OWN, "192.0.1.1") in tried(paths, 31.0)


def test_a_name_is_shown_nowhere_while_the_address_that_it_may_have_shut_is_left_alone() -> None:
    paths = all_good(paths_of())
    path(paths, OWN, 1).handshake_failed(10.0, "tls_timeout")
    path(paths, OWN, 0).doubted(10.0, "tls_timeout")
    assert Way(OWN, "192.0.1.1") in tried(paths, 20.0)
    assert Way(OWN, "192.0.0.1") not in tried(paths, 20.0)
    assert {way.hostname for way in tried(paths, 20.0)} == {OWN, ALT}
    left_alone = {"192.0.1.1"}
    assert {way.hostname for way in plan(paths, 20.0, left_alone)[0]} == {ALT}
    assert {way.hostname for way in plan(paths, 20.0, left_alone)[1]} <= {ALT}
    path(paths, OWN, 1).judged("ip_port_block", "suspected", ())
    path(paths, OWN, 1).hold(200.0)
    assert Way(OWN, "192.0.0.1") in tried(paths, 20.0), "it is not the name that shuts"


PATHS = st.lists(
    st.builds(
        Path,
        hostname=st.sampled_from((OWN, ALT)),
        address=st.sampled_from(("192.0.0.1", "192.0.1.1", "192.0.2.1")),
        standing=st.sampled_from(Standing),
        verdict=st.sampled_from(("tls_reset", "connection_refused", "ok")),
    )
)


@given(PATHS)
def test_after_a_fault_no_address_is_asked_twice(paths: list[Path]) -> None:
    chosen = diverse(paths)
    addresses = [one.address for one in chosen]
    assert len(addresses) == len(set(addresses))
    assert set(addresses) == {one.address for one in paths}
    assert chosen[:1] == paths[:1]


@given(PATHS)
def test_paths_that_work_are_never_left_out(paths: list[Path]) -> None:
    kept = one_of_each_cut_name(paths, paths)
    assert all(one in kept for one in paths if one.standing is Standing.ok)
    assert {one.hostname for one in kept} == {one.hostname for one in paths}


def test_addresses_that_no_resolver_gives_any_more_are_forgotten_in_time() -> None:
    paths = all_good(paths_of(addresses=1))
    path(paths, ALT).hold(10_000.0)
    for name in (OWN, ALT):
        paths.resolved(name, ["198.51.100.1"], FORGET + 1)
    assert paths.path(Way(OWN, "192.0.0.1")) is None
    assert paths.path(Way(ALT, "192.0.0.1")) is not None
    paths.resolved(ALT, ["198.51.100.1"], REMEMBER + 1)
    assert paths.path(Way(ALT, "192.0.0.1")) is None


def test_of_many_addresses_a_few_are_watched() -> None:
    paths = paths_of(addresses=3 * MAX_PER_NAME)
    assert len(paths.under(OWN)) == MAX_PER_NAME
    paths.resolved(OWN, [f"198.51.100.{n}" for n in range(3)], 1.0)
    assert len(paths.under(OWN)) == MAX_PER_NAME
    assert paths.path(Way(OWN, "198.51.100.2")) is not None


def test_alternates_are_resolved_now_and_then() -> None:
    paths = paths_of()
    assert paths.to_resolve(1.0, 300.0) == [OWN]
    assert paths.to_resolve(300.0, 300.0) == [OWN, ALT]


def test_alternates_are_resolved_at_once_while_a_name_is_cut_off() -> None:
    paths = all_good(paths_of())
    path(paths, OWN).failed(1.0, "connection_refused")
    assert paths.to_resolve(1.0, 300.0) == [OWN]
    path(paths, OWN).failed(1.0, "tls_reset")
    assert paths.to_resolve(1.0, 300.0) == [OWN, ALT]


def test_a_name_that_is_cut_off_is_not_shown_at_an_address_that_it_gets_meanwhile() -> None:
    paths = all_good(paths_of(addresses=1))
    path(paths, OWN).failed(1.0, "tls_reset")
    paths.resolved(OWN, ["192.0.1.1"], 2.0)
    assert is_cut(path(paths, OWN, 1)), "so that it waits while the name is examined"
    path(paths, OWN).hold(100.0)
    paths.resolved(OWN, ["192.0.2.1"], 3.0)
    assert path(paths, OWN, 2).is_held(99.0)
    assert not path(paths, OWN, 2).is_held(100.0)
    path(paths, OWN).hold(9000.0)
    paths.resolved(OWN, ["192.0.3.1"], 3.0)
    assert not path(paths, OWN, 3).is_held(3.0 + NORMAL.residual_hold), "it may be free there"
    paths.resolved(ALT, ["192.0.1.1"], 3.0)
    assert path(paths, ALT, 1).standing is Standing.untested


def test_the_only_name_of_a_mirror_is_tried_at_once_at_an_address_that_it_gets() -> None:
    paths = all_good(paths_of(MirrorConfig("a", f"https://{OWN}"), addresses=1))
    path(paths, OWN).failed(1.0, "tls_reset")
    paths.resolved(OWN, ["192.0.1.1"], 2.0)
    assert path(paths, OWN, 1).standing is Standing.untested


def test_names_of_a_wildcard_come_into_use_one_by_one_when_nothing_else_works() -> None:
    mirror = replace(MIRROR, wildcard="{n}.w.example.org", wildcard_count=20)
    paths = all_good(paths_of(mirror))
    assert paths.draw(0.0) is None
    for one in paths:
        one.failed(1.0, "connection_refused")
    assert paths.draw(1.0) == "1.w.example.org"
    assert paths.draw(2.0) is None, "one in ten minutes"
    paths.resolved("1.w.example.org", ["192.0.9.1"], 3.0)
    assert paths.draw(700.0) is None, "it has not been tried yet"
    for one in paths:
        one.failed(700.0, "connection_refused")
    assert paths.draw(700.0) == "2.w.example.org"
    assert len(paths.names) == 4


def test_a_domain_whose_names_are_all_blocked_is_not_drawn_from_any_further() -> None:
    mirror = replace(MIRROR, wildcard="{n}.w.example.org", wildcard_count=20)
    paths = paths_of(mirror)
    now = 1.0
    drawn = []
    while (now := now + 700.0) < 20 * 700.0:
        for one in paths:
            one.judged("sni_block_rst", "confirmed", ())
            one.hold(now + 60.0)
        if (name := paths.draw(now)) is not None:
            drawn.append(name)
            paths.resolved(name, ["192.0.9.1"], now)
    assert drawn == ["1.w.example.org", "2.w.example.org"]
    assert len(paths.names) <= MAX_NAMES


def test_new_settings_keep_what_is_known_of_the_paths_that_stay() -> None:
    paths = all_good(paths_of())
    kept = path(paths, OWN)
    paths.configure(replace(MIRROR, hostnames=("new.test",)), 5.0)
    assert list(paths.names) == [OWN, "new.test"]
    assert path(paths, OWN) is kept
    assert paths.under(ALT) == []


def test_findings_on_resolvers_and_trusted_addresses_are_kept() -> None:
    paths = paths_of()
    seen = DnsObservation(
        "system", OWN, None, 0.1, (DnsReply("A", 0.1, chain=("x.cdn.example.net",)),)
    )
    paths.judged(OWN, Finding("dns_poisoned"), (seen,))
    assert paths.names[OWN].finding.verdict == "dns_poisoned"
    assert paths.names[OWN].chain == ("x.cdn.example.net",)
    paths.resolved(OWN, ["192.0.0.1", "192.0.1.1"], 1.0, trusted={"192.0.0.1"})
    assert path(paths, OWN, 0).memory.trusted_address
    assert not path(paths, OWN, 1).memory.trusted_address
