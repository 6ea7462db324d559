"""Sentences of the diagnosis in Chinese."""

from __future__ import annotations

import re

import pytest

from dashboard.common.evidence import evidence_in
from monitor.diagnosis.certificates import Memory, judge_certificate
from monitor.diagnosis.interpret import interpret
from monitor.diagnosis.throughput import Sample, judge_throughput
from monitor.diagnosis.timing import NORMAL
from monitor.probes.results import TIMED_OUT, Operation, StepResult, TlsEvidence
from monitor.probes.trial_results import Role, Trial

NAME, CONTROL = "api.example.com", "example.org"


def trial(role: Role, failure: str | None, at: float) -> Trial:
    tls = TlsEvidence(since_hello=0.012)
    step = StepResult(Operation.tls_handshake, failure, 0.02, "192.0.2.1", tls=tls)
    sni = {Role.target: NAME, Role.control: CONTROL}.get(role, "")
    return Trial(role, NAME, "192.0.2.1", 443, sni, step, at, rtt=0.04)


def _experiments() -> list[tuple[str, ...]]:
    t, c = Role.target, Role.control
    scripts: list[list[tuple[Role, str | None]]] = [
        [(t, "connection_reset"), (c, None), (t, "connection_reset"), (c, "connection_reset")],
        [(t, TIMED_OUT), (c, None), (t, None)],
        [(t, "eof_error"), (c, "eof_error"), (t, "eof_error"), (Role.no_sni, "eof_error")],
        [(t, "connection_reset"), (c, None), (t, "connection_reset"), (c, None)],
        [(t, "connection_reset"), (c, "connection_reset")],
        [(t, "eof_error")],
    ]
    found = []
    for script in scripts:
        trials = [trial(role, failure, 1.0 * n) for n, (role, failure) in enumerate(script)]
        found.append(interpret(trials, NORMAL).evidence)
        found.append(
            interpret(
                [*trials, trial(c, None, 300.0), trial(t, "connection_reset", 301.0)], NORMAL
            ).evidence
        )
    return found


def refused(code: int) -> TlsEvidence:
    return TlsEvidence(verify_code=code, issuer="Evil CA", subject_names=("else.test",))


def _certificates() -> list[tuple[str, ...]]:
    known = Memory("Some CA", "ab")
    return [
        judge_certificate(refused(code), NAME, memory).evidence
        for code in (9, 10, 18, 62)
        for memory in (known, Memory(), Memory(trusted_address=False))
    ]


def _speeds() -> list[tuple[str, ...]]:
    slow = [Sample(70_000, 2000.0)] * 5
    frozen = [Sample(16_000, 5000.0, True)] * 4
    return [
        judge_throughput(slow, 100_000.0, True).evidence,
        judge_throughput(slow, None, False).evidence,
        judge_throughput(frozen, None, True).evidence,
    ]


SENTENCES = sorted({s for found in (*_experiments(), *_certificates(), *_speeds()) for s in found})


@pytest.mark.parametrize("sentence", SENTENCES)
def test_every_sentence_of_the_diagnosis_is_said_in_chinese(sentence: str) -> None:
    said = evidence_in(sentence, "zh")
    for name in (NAME, CONTROL, "else.test", "Evil CA", "Some CA"):
        assert (name in said) == (name in sentence), "names stay"
        said = said.replace(name, "")
    words = set(re.findall(r"[A-Za-z]{2,}", said)) - {"TLS", "OpenSSL", "KB"}
    assert not words, said
    assert evidence_in(sentence, "en") == sentence


def test_what_is_not_known_is_shown_as_it_is() -> None:
    assert evidence_in("Something new.", "zh") == "Something new."
