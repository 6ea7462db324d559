"""Which path of a mirror a new connection takes, and what a worker remembers of those that fail."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.common.config import MirrorConfig
from monitor.health.snapshot import MirrorHealth, Override, PathHealth, Standing, State
from router.upstream.connection import UpstreamConnection
from router.upstream.endpoint_stats import AT_ONCE, LATELY, MOST_ASIDE, OPEN_FOR
from router.upstream.path_stats import HOLD, MOST, PathStats
from router.upstream.paths import (
    LAST,
    MOST_PATIENCE,
    PATIENCE,
    RESERVE,
    SLOW,
    UNTESTED,
    USABLE,
    Route,
    Trouble,
    next_route,
    once_more,
    routes_of,
    share_one_address,
)
from router.upstream.upstream import (
    FREEZING,
    IDLE_SECONDS,
    LEFT_ALONE_SECONDS,
    NO_FALLBACK,
    ON_TRIAL,
    Upstream,
    fallback_rank,
)
from router.wire.fields import response_rules
from router.wire.write_batch import WriteBatch
from tests.testkit.clock import ManualClock

MIRROR = MirrorConfig("a", "https://own.test:8443/x", hostnames=("alt.test",))


def route(host: str, address: str) -> Route:
    return Route(host, address, 443, host.encode())


A1, A2, B1, B2 = (route(host, ip) for host in ("a", "b") for ip in ("192.0.2.1", "192.0.2.2"))
ALL = (A1, A2, B1, B2)


@pytest.mark.parametrize(
    ("operation", "failure", "next_"),
    [
        ("tls_handshake", "connection_reset", B2),
        ("tls_handshake", "eof_error", B2),
        ("tls_handshake", "generic_timeout_error", B2),
        ("tls_handshake", SLOW, B2),
        ("connect", SLOW, B2),
        ("connect", "connection_refused", A2),
        ("connect", "generic_timeout_error", A2),
        ("tls_handshake", "ssl_invalid_hostname", B1),
        ("tls_handshake", "ssl_unknown_authority", B1),
    ],
)
def test_the_next_route_depends_on_the_failure(operation: str, failure: str, next_: Route) -> None:
    assert next_route(ALL[1:], [Trouble(A1, operation, failure)]) == next_


ROUTES = st.sampled_from(ALL)
TROUBLES = st.builds(
    Trouble,
    ROUTES,
    st.sampled_from(("connect", "tls_handshake")),
    st.sampled_from(("connection_reset", "connection_refused", SLOW, "ssl_invalid_hostname")),
)


@given(st.lists(ROUTES, unique=True), st.lists(TROUBLES, max_size=4))
def test_an_address_that_may_be_shut_is_tried_again_only_when_none_is_left_and_by_another_name(
    waiting: list[Route], troubles: list[Trouble]
) -> None:
    chosen = next_route(waiting, troubles)
    shut = {t.route.address for t in troubles if not t.lies_in_the_answer}
    unreached = {t.route.address for t in troubles if t.operation == "connect"}
    shown = {t.route.host for t in troubles if t.operation == "tls_handshake"}
    fresh = [one for one in waiting if one.address not in shut]
    assert chosen is None or chosen in waiting
    if fresh:
        assert chosen in fresh
    elif chosen is not None:
        assert chosen.address not in unreached
        assert chosen.host not in shown


def test_a_name_that_is_cut_off_at_the_only_address_is_left_for_another_one() -> None:
    for failure in ("connection_reset", "eof_error", "generic_timeout_error", SLOW):
        assert next_route([B1], [Trouble(A1, "tls_handshake", failure)]) == B1
    assert next_route([B1], [Trouble(A1, "connect", "generic_timeout_error")]) is None


def test_reserve_and_last_routes_come_after_recommended_ones() -> None:
    spare, blocked = replace(B2, rank=RESERVE), replace(A2, rank=LAST)
    assert next_route([spare, blocked, A1], []) == A1
    assert next_route([blocked, spare], [Trouble(A1, "connect", SLOW)]) == spare
    slow = Trouble(A1, "connect", SLOW)
    assert next_route([blocked], [slow]) is None, "it is shown only when nothing is left"
    assert next_route([blocked], [Trouble(A1, "connect", "connection_refused")]) == blocked


def test_a_name_that_is_cut_off_is_not_shown_at_a_second_address_where_another_is_untested() -> (
    None
):
    spare = replace(B2, rank=UNTESTED)
    cut = Trouble(A1, "tls_handshake", "connection_reset")
    assert next_route([A2, spare], [cut]) == spare
    assert next_route([A2, spare], [Trouble(A1, "connect", "connection_refused")]) == A2
    assert next_route([A2, spare], []) == A2
    traffic = PathStats(ManualClock(100.0))
    doubtful = [A1, A2, replace(B1, rank=UNTESTED), spare]
    assert traffic.in_order(doubtful) == doubtful
    traffic.failed("m", cut)
    assert traffic.in_order(doubtful)[0] == spare
    assert traffic.in_order(doubtful)[-1] == A1, "a name that nothing is known of releases nothing"


def test_a_name_whose_handshake_was_overtaken_is_not_shown_at_a_second_address() -> None:
    traffic = PathStats(ManualClock(100.0))
    traffic.failed("m", Trouble(A1, "tls_handshake", SLOW))
    assert traffic.in_order(ALL) == [B2, A2, B1, A1]
    assert not traffic.noticed.is_set(), "it may just be slow"
    traffic.opened("m", A1, 0.7)
    assert traffic.in_order(ALL) == list(ALL)
    traffic.failed("m", Trouble(A1, "connect", SLOW))
    assert traffic.in_order(ALL) == [A2, B1, B2, A1], "no name was shown"


def test_a_new_control_is_told_of_what_fails_and_of_nothing_that_has_worked_since() -> None:
    clock = ManualClock(100.0)
    traffic = PathStats(clock)
    for route in (A1, B2):
        traffic.failed("m", Trouble(route, "tls_handshake", SLOW))
    told = traffic.take_failed()
    traffic.opened("m", B2, 0.1)
    traffic.tell_again()
    assert traffic.take_failed() == told[:1] == [["m", A1.host, A1.address, "tls_handshake", SLOW]]
    clock.now += HOLD
    traffic.tell_again()
    assert traffic.take_failed() == [], "this worker does not go by it any more"


def test_a_name_that_another_has_shut_the_address_for_comes_before_that_one() -> None:
    traffic = PathStats(ManualClock(100.0))
    traffic.failed("m", Trouble(A1, "tls_handshake", "connection_reset"))
    traffic.failed("m", Trouble(B1, "tls_handshake", "connection_reset"))
    assert traffic.in_order([A1, B1]) == [B1, A1]


def path(host: str, address: str, latency: float | None = None) -> PathHealth:
    return PathHealth(host, address, Standing.ok, True, "ok", latency=latency)


def test_routes_are_the_usable_paths_with_their_own_names() -> None:
    paths = (
        path("alt.test", "192.0.2.2", latency=10.0),
        replace(path("own.test", "192.0.2.1"), usable=False),
        path("own.test", "2001:db8::1", latency=5000.0),
    )
    held = {"[2001:db8::1]:8443": 99.0}
    refused = replace(path("own.test", "192.0.2.4"), usable=False, verdict="tls_mitm")
    cut = replace(path("own.test", "192.0.2.5"), usable=False, verdict="sni_block_rst")
    untested = PathHealth("alt.test", "192.0.2.6")
    health = MirrorHealth("a", State.up, paths=(cut, *paths, refused, untested))
    near, far, new, spare, last = routes_of(MIRROR, health, held)
    ranks = [one.rank for one in (near, far, new, spare, last)]
    assert ranks == [USABLE, USABLE, UNTESTED, RESERVE, LAST]
    assert (spare.address, last.address) == ("192.0.2.1", "192.0.2.5")
    assert (near.host, near.authority, near.port) == ("alt.test", b"alt.test:8443", 8443)
    assert (near.patience, far.patience) == (PATIENCE, MOST_PATIENCE)
    assert (near.quarantined_until, far.quarantined_until) == (0.0, 99.0)
    pinned = replace(MIRROR, addresses=("192.0.2.9",))
    known, alternate = routes_of(pinned, MirrorHealth("a"), {})
    assert (known.host, known.address) == ("own.test", "192.0.2.9")
    assert alternate.host == "alt.test", "for when the own name is cut off before the first probe"
    assert routes_of(MIRROR, MirrorHealth("a"), {}) == ()


def test_a_mirror_whose_paths_are_all_held_is_available_again_in_time() -> None:
    health = MirrorHealth("a", State.up, paths=(path("own.test", "192.0.2.1"),))
    upstream = Upstream(MIRROR, health)
    seen = [upstream.available]
    upstream.see(health, {"192.0.2.1:8443": 50.0}, 0.0)
    seen.append(upstream.available)
    for now in (49.0, 50.0):
        upstream.settle(now)
        seen.append(upstream.available)
    assert seen == [True, False, False, True]
    assert upstream.open_routes(49.0) == []
    assert len(upstream.open_routes(50.0)) == 1


def test_a_mirror_that_refuses_its_own_key_lends_it_no_more_but_takes_others() -> None:
    mirror = replace(MIRROR, api_key="sk-own")
    upstream = Upstream(mirror, MirrorHealth("a", State.up))
    lent = [upstream.lends_key]
    upstream.see(MirrorHealth("a", State.up, key_refused=True, weight=0.2), {}, 0.0)
    lent.append(upstream.lends_key)
    assert lent == [True, False]
    assert upstream.takes_key(b"sk-caller")
    assert upstream.load.weight == 0.2
    upstream.see(MirrorHealth("a", State.up, weight=0.5, freezes_streams=True), {}, 0.0)
    assert upstream.load.weight == 0.5 * FREEZING


@pytest.mark.parametrize(
    ("before", "share"), [(State.down, 0.1), (State.unknown, 1.0), (State.degraded, 1.0)]
)
def test_a_mirror_that_was_down_begins_with_a_small_share(before: State, share: float) -> None:
    upstream = Upstream(MIRROR, MirrorHealth("a", before))
    upstream.see(MirrorHealth("a", State.up), {}, 100.0)
    assert upstream.load.share(100.0) == share
    assert upstream.load.share(130.0) == 1.0


def test_a_cut_holds_its_endpoint_and_its_name_for_a_moment() -> None:
    clock = ManualClock(100.0)
    traffic = PathStats(clock)
    assert traffic.in_order(ALL) == list(ALL)
    traffic.failed("m", Trouble(A1, "tls_handshake", "connection_reset"))
    assert traffic.in_order(ALL) == [B2, A2, B1, A1]
    clock.now += HOLD
    assert traffic.in_order(ALL) == list(ALL)
    told = [["m", "a", "192.0.2.1", "tls_handshake", "connection_reset"]]
    assert traffic.take_failed() == told
    assert traffic.take_failed() == []


def test_a_path_that_fails_again_is_held_for_longer_until_it_works_or_control_has_left_it_out():
    clock = ManualClock(100.0)
    traffic = PathStats(clock)
    held = []
    for _ in range(7):
        traffic.failed("m", Trouble(A1, "tls_handshake", "connection_reset"))
        traffic.failed("m", Trouble(A1, "tls_handshake", "connection_reset"))
        began = clock.now
        while traffic.in_order(ALL) != list(ALL):
            clock.now += 1.0
        held.append(clock.now - began)
    assert held == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 160.0]
    traffic.failed("m", Trouble(A1, "tls_handshake", "connection_reset"))
    assert traffic.in_order([replace(A1, rank=LAST), B2])[0] == B2
    assert traffic.in_order(ALL) == list(ALL), "control has taken over, and takes it in again"
    traffic.failed("m", Trouble(A1, "tls_handshake", "connection_reset"))
    clock.now += HOLD
    assert traffic.in_order(ALL) == list(ALL)


def test_a_young_control_that_knows_no_path_takes_none_away() -> None:
    known = MirrorHealth("a", State.up, paths=(path("alt.test", "192.0.2.2"),))
    upstream = Upstream(MIRROR, known)
    upstream.see(MirrorHealth("a"), {"192.0.2.2:8443": 50.0}, 0.0)
    kept = upstream.routes
    assert [(one.host, one.quarantined_until) for one in kept] == [("alt.test", 50.0)]
    assert upstream.open_routes(49.0) == []


def test_that_a_name_is_cut_off_is_urgent_once() -> None:
    clock = ManualClock(100.0)
    traffic = PathStats(clock)
    urgent = []
    for trouble in (
        Trouble(A1, "connect", "connection_refused"),
        Trouble(A2, "tls_handshake", "connection_reset"),
        Trouble(A2, "tls_handshake", "connection_reset"),
        Trouble(B2, "tls_handshake", "eof_error"),
    ):
        traffic.failed("m", trouble)
        urgent.append(traffic.noticed.is_set())
        traffic.take_failed()
    assert urgent == [False, True, False, True]
    clock.now += HOLD
    traffic.failed("m", Trouble(A2, "tls_handshake", "connection_reset"))
    assert traffic.noticed.is_set()


def test_a_refusal_holds_its_path_only_and_a_success_ends_it() -> None:
    clock = ManualClock(100.0)
    traffic = PathStats(clock)
    traffic.failed("m", Trouble(A1, "connect", "connection_refused"))
    assert traffic.in_order(ALL) == [A2, B1, B2, A1]
    traffic.opened("m", A1, 0.25)
    assert traffic.in_order(ALL) == list(ALL)
    clock.now += 2.0
    assert traffic.take_opened() == [["m", "a", "192.0.2.1", 0.25, 2.0]]


def test_path_stats_are_bounded() -> None:
    traffic = PathStats(ManualClock(100.0))
    for number in range(3 * MOST):
        one = route("a", f"2001:db8::{number:x}")
        traffic.failed("m", Trouble(one, "connect", "connection_refused"))
        traffic.opened("m", one, 0.1)
        traffic.stalled("m", number)
    assert len(traffic.take_failed()) == MOST
    assert len(traffic.take_opened()) == MOST
    assert len(traffic.take_transfers()) == MOST


A, B = A1, B1
CUT_A = Trouble(A, "tls_handshake", "connection_reset")
CUT_B = Trouble(B, "tls_handshake", "connection_reset")


def test_at_the_only_address_a_name_that_was_cut_off_is_left_out_while_another_one_is_hopeful() -> (
    None
):
    clock = ManualClock(100.0)
    traffic = PathStats(clock)
    traffic.failed("m", CUT_A)
    assert traffic.in_order([A, B], one_address=True) == [B], "not tried yet"
    assert traffic.in_order([A, B]) == [B, A], "another address leads round it"
    traffic.failed("m", CUT_B)
    assert traffic.in_order([A, B], one_address=True) == [B], "it may fail once"
    clock.now += HOLD
    traffic.failed("m", CUT_B)
    last = replace(A, rank=LAST)
    orders = []
    for _ in range(200):
        orders.append((clock.now, traffic.in_order([A, B], one_address=True)))
        clock.now += 1.0
    tried = [at for at, order in orders if order != [B]]
    assert {tuple(order) for _, order in orders} == {(B,), (B, last)}
    assert [later - at for at, later in pairwise(tried)] == [10.0, 20.0, 40.0, 80.0]
    traffic.opened("m", B, 0.1)
    assert traffic.in_order([A, B], one_address=True) == [B]
    clock.now += MOST_ASIDE
    assert traffic.in_order([A, B], one_address=True) == [A, B]


def test_a_name_is_left_out_while_there_is_hope_for_another_mirror_at_its_only_address() -> None:
    clock = ManualClock(100.0)
    traffic = PathStats(clock)
    assert traffic.in_order([A], one_address=True, beside=[B]) == [A], "nothing was cut off"
    traffic.failed("m", CUT_A)
    assert traffic.in_order([A], one_address=True, beside=[B]) == []
    assert traffic.in_order([B], one_address=True, beside=[A]) == [B]
    last = replace(A, rank=LAST)
    assert traffic.in_order([A], one_address=True, beside=[replace(B, rank=LAST)]) == [last]
    traffic.failed("n", CUT_B)
    clock.now += HOLD
    traffic.failed("n", CUT_B)
    assert traffic.in_order([A], one_address=True, beside=[B]) == [last], "no hope: a trial"
    assert traffic.in_order([A], one_address=True, beside=[B]) == [], "the next one is later"


def test_a_name_is_left_out_no_longer_once_control_has_connected_under_it() -> None:
    clock = ManualClock(100.0)
    traffic = PathStats(clock)
    before, after = replace(A, successes=7), replace(A, successes=8)
    traffic.failed("m", Trouble(before, "tls_handshake", "connection_reset"))
    assert traffic.in_order([after], one_address=True, beside=[B]) == [], "perhaps it was earlier"
    clock.now += AT_ONCE
    for doubtful in (before, A):
        assert traffic.in_order([doubtful], one_address=True, beside=[B]) == []
    assert traffic.in_order([after], one_address=True, beside=[B]) == [A]
    assert traffic.in_order([before], one_address=True, beside=[B]) == [A]


def test_successes_of_paths_count_while_control_has_no_doubt() -> None:
    paths = tuple(
        PathHealth(host, "192.0.2.1", standing, successes=3)
        for host, standing in (("own.test", Standing.ok), ("alt.test", Standing.suspected))
    )
    routes = routes_of(MIRROR, MirrorHealth("a", paths=paths), {})
    assert {route.host: route.successes for route in routes} == {"own.test": 3, "alt.test": 0}


def test_the_name_that_was_cut_off_first_is_reported_first_as_long_as_its_address_is_shut() -> None:
    clock = ManualClock(100.0)
    traffic = PathStats(clock)
    first = ["m", "a", "192.0.2.1", "tls_handshake", "connection_reset"]
    for _ in range(2):
        traffic.failed("m", CUT_A)
        assert traffic.take_failed() == [first]
        traffic.failed("m", CUT_B)
        assert traffic.take_failed() == [first, ["m", "b", *first[2:]]]
    traffic.failed("m", Trouble(B, "connect", "connection_refused"))
    assert [told[1] for told in traffic.take_failed()] == ["b"]
    clock.now += AT_ONCE
    for seconds, told in ((2 * AT_ONCE, ["a", "b"]), (0.1, ["b"])):  # before the cut, and after it
        traffic.opened("m", B, seconds)
        assert traffic.in_order([B, replace(A, rank=LAST)], one_address=True) == [B]
        traffic.failed("m", CUT_B)
        assert [host for _, host, *_ in traffic.take_failed()] == told


def test_control_has_the_word_on_what_is_left_out_at_the_only_address() -> None:
    clock = ManualClock(100.0)
    traffic = PathStats(clock)
    last = replace(A, rank=LAST)
    assert traffic.in_order([B, last], one_address=True) == [B]
    assert traffic.in_order([last], one_address=True) == [last], "there is no other one"
    traffic.failed("m", CUT_A)
    assert traffic.in_order([B, last], one_address=True) == [B]
    traffic.failed("m", CUT_B)
    assert traffic.in_order([B, last], one_address=True) == [B], "it had been shown before"
    traffic.opened("m", B, 0.1)
    assert traffic.in_order([A, B], one_address=True) == [A, B], "it has taken it in again"


def test_a_name_is_not_left_out_where_another_one_is_answered_at_once_after_it() -> None:
    clock = ManualClock(100.0)
    traffic = PathStats(clock)
    traffic.failed("m", CUT_A)
    clock.now += 0.2
    traffic.opened("m", B, 0.3)
    assert traffic.in_order([A, B], one_address=True) == [B], "that one had begun before"
    clock.now += 0.2
    traffic.opened("m", B, 0.1)
    assert traffic.in_order([A, B], one_address=True) == [B, A]
    traffic.failed("m", CUT_B)
    assert set(traffic.in_order([A, B], one_address=True)) == {A, B}
    clock.now += OPEN_FOR
    traffic.failed("m", CUT_A)
    assert traffic.in_order([A, B], one_address=True) == [B]
    clock.now += 2 * AT_ONCE
    traffic.opened("m", B, 0.1)
    assert traffic.in_order([A, B], one_address=True) == [B], "it may have been shut until then"


def test_a_path_that_worked_a_moment_ago_is_tried_once_more_when_it_is_cut_off() -> None:
    clock = ManualClock(100.0)
    traffic = PathStats(clock)
    assert not traffic.worked_lately(A)
    traffic.opened("m", A, 0.1)
    assert traffic.worked_lately(A)
    clock.now += LATELY
    assert not traffic.worked_lately(A)
    proven = replace(A, proven=True)
    assert once_more([CUT_A]) is None
    assert once_more([Trouble(proven, "tls_handshake", "connection_reset"), CUT_B]) == proven
    for operation, failure in (
        ("connect", "connection_reset"),
        ("tls_handshake", "generic_timeout_error"),
        ("tls_handshake", "ssl_invalid_hostname"),
    ):
        assert once_more([Trouble(proven, operation, failure)]) is None


HELD = {"192.0.2.1:8443": 50.0}


def connection(authority: bytes = b"own.test:8443") -> UpstreamConnection:
    """One that is open; compiled code takes no stand-in."""
    idle = UpstreamConnection(memoryview(bytearray(1)), response_rules(), WriteBatch())
    transport = Mock()
    transport.get_extra_info.return_value = None
    transport.is_closing.return_value = False
    idle.connection_made(transport)
    idle.authority = authority
    return idle


@pytest.mark.parametrize("verdict", ["unknown", "tls_reset", "tls_timeout", "ip_unreachable"])
def test_open_connections_are_used_while_all_addresses_are_left_alone(verdict: str) -> None:
    paths = (path("own.test", "192.0.2.1"), path("alt.test", "192.0.2.1"))
    upstream = Upstream(MIRROR, MirrorHealth("a", State.up, paths=paths))
    kept, strange = connection(), connection(b"alt.test:8443")
    upstream.keep(kept, 1000.0)
    down = MirrorHealth("a", State.down, verdict=verdict, paths=paths)
    upstream.see(down, HELD, 0.0)
    assert (upstream.available, upstream.fallback_rank, upstream.left_alone) == (False, 1, True)
    assert upstream.can_take(0.0, pooled=True)
    assert not upstream.can_take(0.0, pooled=False), "it would need a new one"
    upstream.keep(strange, 1000.0)
    assert upstream.take_idle(1000.0 + LEFT_ALONE_SECONDS - 1) is strange
    assert upstream.take_idle(1000.0 + LEFT_ALONE_SECONDS - 1) is kept
    assert not upstream.can_take(0.0, pooled=True)
    upstream.settle(49.0)
    assert upstream.fallback_rank == NO_FALLBACK
    upstream.keep(kept, 1000.0)
    assert upstream.fallback_rank == 1, "one has become free again"
    upstream.see(replace(down, state=State.up), HELD, 0.0)
    assert upstream.available
    upstream.settle(50.0)
    assert (upstream.left_alone, upstream.idle_seconds) == (False, IDLE_SECONDS)


def test_a_mirror_that_is_not_wanted_is_not_used_over_open_connections_either() -> None:
    paths = (path("own.test", "192.0.2.1"),)
    health = MirrorHealth("a", State.down, wish=Override.drain, verdict="tls_reset", paths=paths)
    upstream = Upstream(MIRROR, health, HELD)
    upstream.keep(connection(), 1000.0)
    upstream.settle(0.0)
    assert (upstream.available, upstream.fallback_rank) == (False, NO_FALLBACK)


def test_a_mirror_all_names_of_which_are_cut_off_is_tried_now_and_then() -> None:
    paths = (replace(path("own.test", "192.0.2.1"), verdict="sni_block_rst"),)
    down = MirrorHealth("a", State.down, verdict="sni_block_rst", paths=paths)
    upstream = Upstream(MIRROR, replace(down, state=State.up))
    assert not upstream.few_ways
    upstream.trials.succeeded()
    upstream.see(down, {}, 0.0)
    assert upstream.fallback_rank == ON_TRIAL
    assert upstream.can_take(5.0, pooled=False)
    upstream.trials.began(5.0)
    assert not upstream.can_take(5.0, pooled=False)
    upstream.keep(connection(), 1000.0)
    assert upstream.can_take(5.0, pooled=True)
    refused = MirrorHealth("a", State.down, verdict="ssl_invalid_hostname", paths=paths)
    assert fallback_rank(refused) == fallback_rank(replace(down, state=State.up)) == NO_FALLBACK


def test_names_share_an_address_if_there_are_several_and_no_other_address() -> None:
    assert share_one_address([A1, B1])
    assert not share_one_address([A1])
    assert not share_one_address([A1, B1, B2])
    assert not share_one_address([A1, replace(B1, port=444)])
