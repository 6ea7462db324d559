"""The ordered experiment and what its trials mean, over a pretend endpoint."""

from random import Random

import pytest

from monitor.diagnosis.block_test import Next, next_step
from monitor.diagnosis.classify import judge_step
from monitor.diagnosis.evidence import Code
from monitor.diagnosis.finding import Level
from monitor.diagnosis.interpret import Memory, interpret
from monitor.diagnosis.timing import NORMAL, DiagnosisTiming
from monitor.probes.results import TIMED_OUT, StepResult
from monitor.probes.trial_results import Role
from tests.testkit.censor.simulated_endpoint import (
    NAME,
    PretendEndpoint,
    connected_not,
    experiment,
    hello,
    trial,
)

T, C = Role.target, Role.control


def roles(trials) -> str:
    letters = {Role.target: "T", Role.control: "C", Role.no_sni: "n", Role.not_tls: "b"}
    return "".join(letters[t.role] for t in trials)


@pytest.mark.parametrize(
    ("endpoint", "order", "verdict", "rule"),
    [
        (PretendEndpoint(), "CT", "ok", "B"),
        (PretendEndpoint(name_cut="reset"), "CTCTC", "sni_block_rst", "A"),
        (PretendEndpoint(name_cut="reset", residual=180), "CTCCCCCTCC", "sni_block_rst", "A"),
        (PretendEndpoint(name_cut="eof"), "CTCTC", "sni_block_fin", "A"),
        (PretendEndpoint(name_cut="silence", residual=180), "CTCCCCCTCC", "sni_block_drop", "A"),
        (PretendEndpoint(all_cut="reset", bytes_cut="reset"), "CTnbC", "tls_reset", "D"),
        (PretendEndpoint(all_cut="reset"), "CTnbC", "tls_reset", "D"),
        (PretendEndpoint(all_cut="silence"), "CTC", "tls_timeout", "E"),
        (PretendEndpoint(strangers_cut="reset"), "CT", "ok", "B"),
        (PretendEndpoint(strangers_cut="reset", name_cut="reset"), "CTnCT", "sni_block_rst", "D"),
        (PretendEndpoint(refused="connection_refused"), "CC", "connection_refused", "C"),
        (PretendEndpoint(contaminated_until=1100), "CTnbCT", "ok", "B"),
        (
            PretendEndpoint(contaminated_until=1100, name_cut="reset"),
            "CTnbCTCTC",
            "sni_block_rst",
            "A",
        ),
        (
            PretendEndpoint(target_step=hello("ssl_failed_handshake", received=7, alert=112)),
            "CT",
            "tls_alert",
            "F",
        ),
        (
            PretendEndpoint(target_step=hello("ssl_invalid_hostname", received=9, verify_code=62)),
            "CT",
            "ssl_invalid_hostname",
            "G",
        ),
        (
            PretendEndpoint(target_step=hello("reset", received=8, first_bytes=b"HTTP/1.1")),
            "CT",
            "block_page",
            "H",
        ),
        (
            PretendEndpoint(target_step=hello("reset", received=90, first_bytes=b"\x16\x03")),
            "CT",
            "tls_reset_late",
            "I",
        ),
    ],
)
def test_the_experiment_asks_in_order_and_finds_what_is_there(endpoint, order, verdict, rule):
    trials, _ = experiment(endpoint, NORMAL, Random(1))
    finding = interpret(trials, NORMAL)
    assert roles(trials) == order
    assert (finding.verdict, finding.rule) == (verdict, rule)
    assert finding.evidence


def test_after_a_trigger_the_first_control_waits_until_it_is_forgotten():
    step = next_step((), 1000.0, Random(1), NORMAL, triggered=990.0)
    assert isinstance(step, Next)
    assert step.role is C
    assert 990 + 185 <= step.not_before <= 990 + 185 + 5


def test_the_target_is_repeated_only_after_the_residual_hold():
    trials, _ = experiment(PretendEndpoint(name_cut="reset", residual=180), NORMAL, Random(2))
    first, second = (t.at for t in trials if t.role is T)
    assert second - first >= 185


def test_an_impatient_experiment_ends_where_it_would_wait():
    endpoint = PretendEndpoint(name_cut="reset", residual=180)
    trials, done = experiment(endpoint, NORMAL, Random(1), patient=False)
    assert roles(trials) == "CTCC"
    assert "wait" in done.why
    finding = interpret(trials, NORMAL)
    assert (finding.verdict, finding.level, finding.residual) == (
        "sni_block_rst",
        Level.suspected,
        True,
    )


def test_an_impatient_one_sends_no_name_into_a_residual_that_it_sees():
    endpoint = PretendEndpoint(name_cut="reset", residual=180)
    trials, _ = experiment(endpoint, NORMAL, Random(1), first=True, patient=False)
    assert roles(trials) == "TC"
    assert interpret(trials, NORMAL).verdict == "tls_reset"


def test_one_experiment_alone_suspects_and_what_made_us_look_does_not_count():
    endpoint = PretendEndpoint(name_cut="reset")
    trials, _ = experiment(endpoint, NORMAL, Random(1), first=True)
    finding = interpret(trials, NORMAL)
    assert roles(trials) == "TCTCTC"
    assert (finding.level, finding.residual, finding.blocked) == (Level.suspected, False, 0.5)


def test_a_residual_that_was_seen_confirms_sooner():
    endpoint = PretendEndpoint(name_cut="reset", residual=180)
    trials, _ = experiment(endpoint, NORMAL, Random(1))
    finding = interpret(trials, NORMAL)
    assert (finding.level, finding.residual) == (Level.confirmed, True)
    assert Code.residual_passed() in finding.evidence


@pytest.mark.parametrize(("allowed", "glance"), [(1, 0), (2, 1)])
def test_a_server_that_limits_handshakes_is_not_taken_for_a_residual(allowed, glance):
    endpoint = PretendEndpoint(allowed=allowed, residual=100, seen=glance)
    trials, _ = experiment(endpoint, NORMAL, Random(1))
    finding = interpret(trials, NORMAL)
    assert (finding.verdict, finding.level) == ("tls_reset", Level.none)
    assert Code.counts_connections() in finding.evidence


def test_another_control_is_tried_when_one_is_cut_off_and_kept():
    class Picky(PretendEndpoint):
        def meet(self, role, sni, now):
            return hello("reset") if sni == "one.example" else super().meet(role, sni, now)

    endpoint = Picky(name_cut="reset")
    trials, _ = experiment(endpoint, NORMAL, Random(1), controls=("one.example", "two.example"))
    assert roles(trials) == "CCTCTC"
    assert [t.sni for t in trials if t.role is C] == ["one.example"] + ["two.example"] * 3
    assert interpret(trials, NORMAL).verdict == "sni_block_rst"


def test_a_residual_longer_than_the_wait_is_waited_for_once_more():
    endpoint = PretendEndpoint(name_cut="reset", residual=350)
    trials, _ = experiment(endpoint, NORMAL, Random(1))
    assert roles(trials) == "CTCCCCTCCCCCTCC"


def test_a_residual_that_does_not_end_is_left_alone_and_not_called_more_than_that():
    endpoint = PretendEndpoint(name_cut="reset", residual=9999)
    trials, _ = experiment(endpoint, NORMAL, Random(1))
    finding = interpret(trials, NORMAL)
    assert roles(trials) == "CTCCCC"
    assert (finding.verdict, finding.level) == ("residual_block", Level.suspected)


def test_nothing_is_concluded_while_our_own_network_is_in_doubt():
    trials = [trial(C, hello()), trial(T, hello("reset"), anchors_ok=False)]
    assert interpret(trials, NORMAL).verdict == "local_network_down"


def test_a_failure_before_our_network_was_known_to_work_spoils_no_experiment():
    blind = trial(T, hello("reset"), anchors_ok=False)
    made = [trial(role, hello("reset" if role is T else "")) for role in (C, T, C, C, T)]
    finding = interpret([blind, *made], NORMAL)
    assert (finding.verdict, finding.level) == ("sni_block_rst", Level.suspected)


def test_a_block_that_differs_from_time_to_time_is_no_more_than_suspected():
    trials = [
        trial(T, hello("reset")),
        trial(C, hello()),
        trial(T, hello("silence")),
        trial(C, hello()),
        trial(C, hello()),
        trial(T, hello("reset")),
    ]
    assert interpret(trials, NORMAL).level is Level.suspected


@pytest.mark.parametrize(
    ("step", "more", "verdict"),
    [
        (hello("reset"), {}, "tls_reset"),
        (hello("eof"), {}, "tls_eof"),
        (hello("silence"), {}, "tls_timeout"),
        (hello("reset"), {"in_residual": True}, "residual_block"),
        (hello("ssl_failed_handshake", received=7, alert=112), {}, "tls_alert"),
        (hello("ssl_failed_handshake", received=7, alert=70), {}, "tls_failed"),
        (connected_not("connection_refused"), {}, "connection_refused"),
        (connected_not("connection_reset"), {}, "connection_reset"),
        (connected_not(TIMED_OUT), {}, "ip_unreachable"),
        (connected_not("connection_refused"), {"in_residual": True}, "residual_block"),
    ],
)
def test_a_target_alone_never_says_that_a_name_is_blocked(step, more, verdict):
    assert interpret([trial(T, step, **more)], NORMAL).verdict == verdict


def alerted(after: float, round_trip: float | None) -> StepResult:
    seen = {"since_hello": after, "first_byte": after, "round_trip": round_trip}
    return hello("ssl_failed_handshake", received=7, alert=112, **seen)


@pytest.mark.parametrize(
    ("after", "connected", "known", "verdict", "level"),
    [
        (0.001, 0.04, 0.04, "sni_block_fin", Level.confirmed),
        (0.027, 0.04, None, "sni_block_fin", Level.suspected),
        (0.029, 0.04, 0.04, "tls_alert", Level.confirmed),
        (0.041, 0.3, 0.04, "tls_alert", Level.confirmed),
        (0.001, None, None, "tls_alert", Level.confirmed),
        (0.001, 0.009, 0.009, "tls_alert", Level.confirmed),
    ],
)
def test_an_alert_sooner_than_a_round_trip_was_not_sent_by_the_server(
    after, connected, known, verdict, level
):
    shown = [
        trial(role, hello() if role is C else alerted(after, connected), rtt=known)
        for role in (C, T, C, T, C)
    ]
    finding = interpret(shown, NORMAL)
    assert (finding.verdict, finding.level) == (verdict, level)
    assert judge_step(alerted(after, connected)).verdict == (
        "tls_eof" if connected and after < 0.7 * connected and connected > 0.01 else "tls_alert"
    )


def test_a_cut_within_a_hold_is_a_residual_block_not_a_block_of_the_port():
    trials = [trial(C, hello("reset")), trial(T, hello("reset"), in_residual=True)]
    assert interpret(trials, NORMAL).verdict == "residual_block"


@pytest.mark.parametrize("vouched", [True, False])
def test_a_control_that_was_never_answered_here_is_said_to_be_a_weak_one(vouched):
    trials = [trial(C, hello("silence"), baseline=vouched), trial(T, hello("silence"))]
    finding = interpret(trials, NORMAL)
    assert finding.verdict == "tls_timeout"
    assert (Code.control_unproven(name=trials[0].sni) in finding.evidence) is not vouched


@pytest.mark.parametrize(
    ("after", "rtt", "said"),
    [
        (0.010, 0.050, "too_soon"),
        (0.034, 0.050, "too_soon"),
        (0.036, 0.050, ""),
        (0.001, 0.009, ""),
        (0.050, 0.050, "not_too_soon"),
        (0.040, 0.001, "not_too_soon"),
        (0.040, None, ""),
    ],
)
def test_a_reset_sooner_than_a_round_trip_was_not_sent_by_the_server(after, rtt, said):
    trials = [trial(C, hello()), trial(T, hello("reset", since_hello=after), rtt=rtt)]
    evidence = interpret(trials, NORMAL).evidence
    assert {each.code for each in evidence} & {"too_soon", "not_too_soon"} == {said} - {""}


def test_the_wait_begins_with_the_last_hello_that_was_cut_off():
    """Some networks begin a block anew with each hello, and silence takes its time."""
    shown = [trial(C, hello(), 1.0), trial(T, hello("silence"), 5.0)]
    cut = [trial(C, hello("silence"), 8.0), trial(C, hello("silence"), 11.0)]
    step = next_step([*shown, *cut], 11.0, Random(1), NORMAL, controls=("control.test",))
    assert isinstance(step, Next)
    assert step.role is C
    assert 185.0 <= step.not_before - 11.0 <= 190.0


def test_only_where_every_failure_was_followed_by_an_answer_is_that_said():
    cut, failed = hello("reset", since_hello=0.06), hello("reset")
    each = [trial(C, hello()), trial(T, cut), trial(C, hello()), trial(T, cut), trial(C, hello())]
    assert Code.no_residual() in interpret(each, NORMAL).evidence
    shut = [trial(C, hello()), trial(T, cut), trial(C, failed), trial(C, failed)]
    waited = [*shut, trial(C, hello()), trial(T, cut)]
    assert Code.no_residual() not in interpret([*waited, *each], NORMAL).evidence


def test_a_certificate_that_was_good_before_and_is_unknown_now_is_a_man_in_the_middle():
    step = hello("ssl_unknown_authority", received=900, verify_code=19, issuer="Nobody")
    trials = [trial(C, hello()), trial(T, step)]
    assert interpret(trials, NORMAL).verdict == "ssl_unknown_authority"
    assert interpret(trials, NORMAL, Memory("R11", "ab")).verdict == "tls_mitm"
    assert interpret(trials, NORMAL, Memory(trusted_address=False)).verdict == "dns_poisoned"


@pytest.mark.parametrize(
    ("code", "issuer", "verdict"),
    [
        (20, "Let's Encrypt", "ssl_unknown_authority"),
        (21, "Let's Encrypt", "ssl_unknown_authority"),
        (20, "Nobody", "tls_mitm"),
        (20, "", "tls_mitm"),
        (18, "Let's Encrypt", "tls_mitm"),
        (19, "Let's Encrypt", "tls_mitm"),
    ],
)
def test_a_renewed_certificate_without_its_intermediate_is_no_man_in_the_middle(
    code, issuer, verdict
):
    step = hello("ssl_unknown_authority", received=900, verify_code=code, issuer=issuer)
    trials = [trial(C, hello()), trial(T, step)]
    assert interpret(trials, NORMAL, Memory("Let's Encrypt", "ab")).verdict == verdict


def test_a_shortened_pace_keeps_its_proportions():
    pace = DiagnosisTiming().shortened(1.85)
    assert pace.residual_hold == 1.85
    assert pace.wait_jitter == pytest.approx(0.05)
    trials, _ = experiment(PretendEndpoint(name_cut="reset"), pace, Random(1))
    assert trials[-1].at - trials[0].at < 5
    assert trials[-1].hostname == NAME
