"""Statistics of paths from traffic: which are tried last, which left out, and for how long."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from router.upstream.endpoint_stats import AT_ONCE, LATELY, MOST_ASIDE, OPEN_FOR
from router.upstream.path_stats import HOLD, MOST, TOLD_FOR, PathStats
from router.upstream.paths import LAST, SLOW, UNTESTED, Trouble, next_route, once_more
from tests.testkit.clock import ManualClock
from tests.unit.router.upstream.test_paths import A1, A2, ALL, B1, B2, route


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
    for failed in (A1, B2):
        traffic.failed("m", Trouble(failed, "tls_handshake", SLOW))
    told = traffic.take_failed()
    traffic.opened("m", B2, 0.1)
    traffic.tell_again()
    assert traffic.take_failed() == told[:1] == [["m", A1.host, A1.address, "tls_handshake", SLOW]]
    clock.now += HOLD
    traffic.tell_again()
    assert traffic.take_failed() == [], "this worker does not go by it any more"


def test_a_name_that_was_slow_is_shown_before_one_that_was_cut_off() -> None:
    traffic = PathStats(ManualClock(100.0))
    traffic.failed("m", Trouble(B2, "tls_handshake", SLOW))
    traffic.failed("m", Trouble(A2, "tls_handshake", "connection_reset"))
    traffic.opened("m", A2, 0.1)  # the address is not shut
    traffic.failed("m", Trouble(A2, "tls_handshake", "connection_reset"))
    assert traffic.in_order(ALL)[:2] == [B1, A1]


def test_a_new_control_is_told_of_a_cut_that_the_one_before_may_not_have_stored() -> None:
    clock = ManualClock(100.0)
    traffic = PathStats(clock)
    traffic.failed("m", Trouble(A1, "tls_handshake", "connection_reset"))
    told = traffic.take_failed()
    traffic.in_order([replace(A1, rank=LAST), B2])  # it has left the path out
    clock.now += TOLD_FOR - 1
    traffic.tell_again()
    assert traffic.take_failed() == told
    clock.now += 1
    traffic.tell_again()
    assert traffic.take_failed() == []


def test_a_name_that_another_has_shut_the_address_for_comes_before_that_one() -> None:
    traffic = PathStats(ManualClock(100.0))
    traffic.failed("m", Trouble(A1, "tls_handshake", "connection_reset"))
    traffic.failed("m", Trouble(B1, "tls_handshake", "connection_reset"))
    assert traffic.in_order([A1, B1]) == [B1, A1]


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
