"""Confidence: observations that count, are added, or are discarded."""

import pytest

from monitor.diagnosis.confidence import Confidence
from monitor.diagnosis.finding import Finding, Level
from monitor.diagnosis.timing import NORMAL
from monitor.probes.trial_results import Role
from tests.testkit.censor.simulated_endpoint import hello, trial

OK = trial(Role.target, hello())
CONTROL = trial(Role.control, hello())
LOST = trial(Role.control, hello("reset"))


def cut(ending: str = "reset", **more):
    return trial(Role.target, hello(ending), **more)


def failures(count: int, ending: str = "reset", early: bool = False, **more) -> Confidence:
    """`early`: sooner than the server can have sent it."""
    failed = trial(Role.target, hello(ending, since_hello=0.01 if early else 0.06))
    sure = Confidence()
    for _ in range(count):
        sure = sure.after([CONTROL, failed], NORMAL, **more)
    return sure


@pytest.mark.parametrize(
    ("count", "odds", "level"),
    [
        (0, -2.9, Level.none),
        (1, 2.0, Level.suspected),
        (2, 5.0, Level.confirmed),
        (3, 7.9, Level.confirmed),
        (9, 7.9, Level.confirmed),
    ],
)
def test_two_net_failures_that_no_server_causes_confirm(count, odds, level):
    sure = failures(count, early=True)
    assert sure.log_odds == pytest.approx(odds, abs=0.1)
    assert sure.level is level


@pytest.mark.parametrize("count", [1, 3, 9])
@pytest.mark.parametrize("more", [{}, {"second_address": True}])
def test_failures_that_a_server_may_cause_are_at_most_suspected(count, more):
    sure = failures(count, **more)
    assert (sure.level, sure.probability) == (Level.suspected, 0.5)


def test_on_a_lossy_link_five_are_required():
    assert failures(4, early=True, anchor_failures=0.07).level is Level.suspected
    assert failures(5, early=True, anchor_failures=0.07).level is Level.confirmed


def test_with_failing_anchors_nothing_counts():
    assert failures(9, anchor_failures=0.11) == Confidence()
    assert Confidence().after([CONTROL, cut(anchors_ok=False)], NORMAL) == Confidence()


@pytest.mark.parametrize(
    "trials",
    [
        [cut()],
        [LOST, cut()],
        [cut(), LOST],
        [CONTROL, trial(Role.target, hello("ssl_invalid_hostname", received=9, verify_code=62))],
        [CONTROL, trial(Role.target, hello("reset", received=90))],
        [cut(in_residual=True), CONTROL],
    ],
)
def test_a_failure_counts_only_beside_a_control_that_succeeded(trials):
    assert Confidence().after(trials, NORMAL) == Confidence()


def test_the_failure_that_made_us_look_does_not_count():
    assert Confidence().after([cut(), CONTROL], NORMAL) == Confidence()
    assert Confidence().after([cut(), CONTROL, cut()], NORMAL).net == 1


def test_a_success_takes_back_a_failure_and_one_from_the_start_clears():
    assert failures(3).after([OK], NORMAL).net == 2
    cleared = Confidence().after([OK], NORMAL)
    assert cleared.level is Level.cleared
    assert cleared.after([OK], NORMAL) == cleared


def test_a_cleared_path_that_fails_begins_anew():
    cleared = Confidence().after([OK], NORMAL)
    assert cleared.after([CONTROL, cut()], NORMAL).net == 1


def test_two_failures_and_a_residual_that_was_seen_confirm():
    sure = Confidence().after([CONTROL, cut(), LOST, LOST, *[CONTROL] * 3, cut()], NORMAL)
    assert (sure.net, sure.residual, sure.level) == (2, True, Level.confirmed)


def test_an_address_that_only_some_failures_shut_is_shut_by_something_that_counts_them():
    once = Confidence().after([CONTROL, cut(), CONTROL], NORMAL)
    shut = [CONTROL, cut(), LOST, LOST, *[CONTROL] * 3, cut()]
    assert once.after(shut, NORMAL).level is Level.suspected
    assert Confidence().after(shut, NORMAL).after([CONTROL, cut(), CONTROL], NORMAL).level is (
        Level.suspected
    )
    assert once.after([OK, OK], NORMAL).after(shut, NORMAL).level is Level.confirmed


def test_one_control_that_is_lost_is_no_residual():
    sure = Confidence().after([CONTROL, cut(), LOST, CONTROL, CONTROL, cut()], NORMAL)
    assert (sure.net, sure.residual, sure.level) == (2, False, Level.suspected)


def test_additional_evidence_counts_at_most_two():
    sure = Confidence(net=2, injected=True, second_address=True, residual=True)
    assert sure.extra == 2
    assert Confidence(net=2, silent=True, akamai=True).extra == -2


def test_a_reset_that_the_server_cannot_have_sent_is_noted():
    quick = trial(Role.target, hello("reset", since_hello=0.01), rtt=0.05)
    assert Confidence().after([CONTROL, quick], NORMAL).injected
    assert not Confidence().after([CONTROL, cut(rtt=None)], NORMAL).injected


def test_silence_decides_only_where_the_hello_was_not_even_acknowledged():
    lost = trial(Role.target, hello("silence", unacknowledged=True))
    sure = Confidence().after([CONTROL, lost, CONTROL, lost], NORMAL)
    assert (sure.net, sure.lost, sure.level) == (2, True, Level.confirmed)
    assert failures(9, "silence").level is Level.suspected
    assert failures(3, "silence").log_odds < failures(3).log_odds


def test_an_akamai_edge_needs_more():
    assert failures(2, early=True, akamai=True).level is Level.suspected
    assert failures(3, early=True, akamai=True).level is Level.confirmed


def test_additional_evidence_is_forgotten_with_the_failures():
    sure = Confidence(net=1, injected=True, residual=True).after([OK], NORMAL)
    assert sure == Confidence()


def test_a_finding_gets_the_level_and_the_weights():
    graded = failures(2, early=True).grade(Finding("sni_block_rst"))
    assert graded.level is Level.confirmed
    assert graded.blocked == pytest.approx(0.993, abs=0.001)
    assert graded.blocked + graded.down == pytest.approx(1.0)


def test_a_finding_that_is_not_about_a_name_keeps_its_level():
    finding = Finding("ip_port_block", Level.suspected, 0.75, 0.25)
    assert failures(3).grade(finding) is finding
