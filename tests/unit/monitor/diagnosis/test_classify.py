"""From the last step of a path to a verdict that claims no more than was seen."""

import pytest

from monitor.diagnosis.classify import could_be_ours, decisive, judge, judge_step
from monitor.probes.results import HttpAnswer, Operation, PathResult, StepResult, TlsEvidence

RESOLVED = StepResult(Operation.resolve, None, 0.01, addresses=("192.0.2.1", "192.0.2.2"))
GOOD = StepResult(Operation.http_round_trip, None, 0.1, http=HttpAnswer(401, {}, b"{}"))


def failed(operation: Operation, failure: str, **more) -> StepResult:
    return StepResult(operation, failure, 0.1, **more)


def path(step: StepResult, address: str = "192.0.2.1") -> PathResult:
    return PathResult(address, (step,))


@pytest.mark.parametrize(
    ("operation", "failure", "verdict"),
    [
        (Operation.resolve, "dns_nxdomain_error", "dns_down"),
        (Operation.resolve, "generic_timeout_error", "dns_down"),
        (Operation.resolve, "dns_bogon_error", "dns_bogon"),
        (Operation.connect, "connection_refused", "connection_refused"),
        (Operation.connect, "connection_reset", "connection_reset"),
        (Operation.connect, "generic_timeout_error", "ip_unreachable"),
        (Operation.connect, "host_unreachable", "ip_unreachable"),
        (Operation.connect, "unknown_failure", "connect_failed"),
        (Operation.tls_handshake, "connection_reset", "tls_reset"),
        (Operation.tls_handshake, "eof_error", "tls_eof"),
        (Operation.tls_handshake, "generic_timeout_error", "tls_timeout"),
        (Operation.tls_handshake, "ssl_invalid_hostname", "ssl_invalid_hostname"),
        (Operation.tls_handshake, "ssl_unknown_authority", "ssl_unknown_authority"),
        (Operation.tls_handshake, "ssl_failed_handshake", "tls_failed"),
        (Operation.http_round_trip, "connection_reset", "http_reset"),
        (Operation.http_round_trip, "eof_error", "http_eof"),
        (Operation.http_round_trip, "generic_timeout_error", "http_timeout"),
        (Operation.http_round_trip, "http_request_failed", "http_malformed"),
    ],
)
def test_a_failed_step_has_one_verdict(operation, failure, verdict):
    meaning = judge_step(failed(operation, failure))
    assert meaning.verdict == verdict
    assert not meaning.alive
    assert meaning.seen


@pytest.mark.parametrize(
    ("control_passes", "verdict"),
    [(True, "content_block"), (False, "http_timeout"), (None, "http_timeout")],
)
def test_a_request_that_is_lost_is_a_block_only_beside_a_control_that_is_not(
    control_passes, verdict
):
    lost = failed(
        Operation.http_round_trip,
        "generic_timeout_error",
        lost=True,
        control_passes=control_passes,
    )
    meaning = judge_step(lost)
    assert (meaning.verdict, meaning.alive) == (verdict, False)


@pytest.mark.parametrize(
    ("failure", "evidence", "verdict"),
    [
        ("ssl_invalid_certificate", TlsEvidence(verify_code=10), "cert_expired"),
        ("ssl_invalid_certificate", TlsEvidence(verify_code=9), "ssl_invalid_certificate"),
        ("ssl_failed_handshake", TlsEvidence(8, b"HTTP/1.1"), "block_page"),
        ("ssl_failed_handshake", TlsEvidence(8, b"\r\n<html>"), "block_page"),
        ("ssl_failed_handshake", TlsEvidence(7, b"\x15\x03\x03..", alert=112), "tls_alert"),
        ("ssl_failed_handshake", TlsEvidence(7, b"\x15\x03\x01..", alert=70), "tls_failed"),
        ("connection_reset", TlsEvidence(received=0), "tls_reset"),
        ("connection_reset", TlsEvidence(received=90, first_bytes=b"\x16\x03"), "tls_reset_late"),
    ],
)
def test_bytes_received_in_a_handshake_sharpen_the_verdict(failure, evidence, verdict):
    assert judge_step(failed(Operation.tls_handshake, failure, tls=evidence)).verdict == verdict


def test_one_good_path_makes_the_mirror_good():
    bad = path(failed(Operation.connect, "connection_refused"))
    assert judge(RESOLVED, (bad, path(GOOD, "192.0.2.2"))).verdict == "ok"


def test_of_failing_paths_the_one_that_came_furthest_counts():
    refused = path(failed(Operation.connect, "connection_refused"))
    reset = path(failed(Operation.tls_handshake, "connection_reset"), "192.0.2.2")
    assert judge(RESOLVED, (refused, reset)).verdict == "tls_reset"


def test_a_missing_ipv6_route_does_not_hide_that_ipv4_is_refused():
    no_route = path(failed(Operation.connect, "network_unreachable"), "2001:db8::1")
    refused = path(failed(Operation.connect, "connection_refused"))
    assert decisive(RESOLVED, (no_route, refused)).failure == "connection_refused"


@pytest.mark.parametrize(
    ("operation", "failure", "ours"),
    [
        (Operation.connect, "network_unreachable", True),
        (Operation.connect, "host_unreachable", True),
        (Operation.resolve, "dns_temporary_failure", True),
        (Operation.resolve, "generic_timeout_error", True),
        (Operation.resolve, "dns_nxdomain_error", False),
        (Operation.connect, "connection_refused", False),
        (Operation.connect, "generic_timeout_error", False),
        (Operation.tls_handshake, "connection_reset", False),
    ],
)
def test_only_some_failures_may_be_those_of_our_own_network(operation, failure, ours):
    assert could_be_ours(failed(operation, failure)) is ours
