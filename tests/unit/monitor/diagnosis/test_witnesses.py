"""Faults of our own surroundings, told by what others show."""

from dataclasses import replace

import pytest

from monitor.diagnosis.finding import Level
from monitor.diagnosis.witnesses import Surroundings, doubtful, meaning_of
from monitor.probes.results import Operation, StepResult, TlsEvidence, Witness
from monitor.probes.verify_codes import EXPIRED, NOT_YET_VALID

NOW, YEAR, DAY = 1_800_000_000.0, 365 * 86400.0, 86400.0
MINE, THEIRS = TlsEvidence(sha256="a"), TlsEvidence(sha256="b")
PORTAL = TlsEvidence(sha256="p", verify_code=18, subject_names=("login.example",))
PAGE = TlsEvidence(first_bytes=b"HTTP/1.1 302 Found\r\n")


def refused(tls: TlsEvidence) -> StepResult:
    return StepResult(Operation.tls_handshake, "ssl_invalid_certificate", 0.1, tls=tls)


def expired(ago: float) -> StepResult:
    return refused(TlsEvidence(sha256="a", verify_code=EXPIRED, not_after=NOW - ago))


def clocks(*ahead: float | None) -> Surroundings:
    return Surroundings.of([Witness(each, replace(MINE, sha256=str(each))) for each in ahead])


def test_a_certificate_that_is_good_by_the_clocks_of_others_has_not_expired():
    found = clocks(YEAR, YEAR + 2.0).explain(expired(300 * DAY), NOW)
    assert found is not None
    assert (found.verdict, found.level) == ("local_clock_wrong", Level.confirmed)
    assert "8760 hours ahead of those of 2 servers" in str(meaning_of(found).seen)


def test_a_clock_that_is_behind_makes_certificates_not_valid_yet():
    early = refused(TlsEvidence(verify_code=NOT_YET_VALID, not_after=NOW + YEAR))
    found = clocks(-YEAR, -YEAR).explain(early, NOW)
    assert found is not None
    assert found.verdict == "local_clock_wrong"


@pytest.mark.parametrize(
    ("heard", "ago"),
    [
        ((0.5, 1.0), 300 * DAY),
        ((YEAR,), 300 * DAY),
        ((YEAR, None), 300 * DAY),
        ((YEAR, 0.0), 300 * DAY),
        ((YEAR, YEAR), 400 * DAY),
        ((-YEAR, -YEAR), 300 * DAY),
        ((600.0, 600.0), 300.0),
        ((), 300 * DAY),
    ],
    ids=[
        "others agree with us",
        "only one says so",
        "only one has a clock",
        "others disagree",
        "expired by their clocks too",
        "we are behind",
        "hardly wrong",
        "nobody heard",
    ],
)
def test_else_the_certificate_has_expired(heard, ago: float):
    assert clocks(*heard).explain(expired(ago), NOW) is None


def test_one_certificate_for_everybody_is_a_portals():
    found = Surroundings.of([Witness(0.0, PORTAL)] * 2).explain(refused(PORTAL), NOW)
    assert found is not None
    assert (found.verdict, found.level) == ("captive_portal", Level.suspected)
    assert "login.example" in str(found.evidence[0])


def test_one_page_for_everybody_is_a_portals():
    found = Surroundings.of([Witness(None, PAGE)] * 2).explain(refused(PAGE), NOW)
    assert found is not None
    assert found.verdict == "captive_portal"


@pytest.mark.parametrize(
    ("heard", "step"),
    [
        ([PORTAL], refused(PORTAL)),
        ([PORTAL, THEIRS], refused(PORTAL)),
        ([THEIRS, THEIRS], refused(PORTAL)),
        ([PAGE, THEIRS], refused(PAGE)),
    ],
    ids=["nobody else heard", "others show their own", "another one", "others answer TLS"],
)
def test_a_failure_of_the_mirror_alone_is_the_mirrors_own(heard, step: StepResult):
    seen = Surroundings.of([Witness(None, tls) for tls in heard])
    assert seen.explain(step, NOW) is None


def test_nobody_is_asked_for_what_they_cannot_tell():
    assert doubtful(expired(DAY))
    assert doubtful(refused(PAGE))
    assert not doubtful(replace(refused(MINE), failure=None))
    assert not doubtful(StepResult(Operation.connect, "connection_refused", 0.1))
    reset = StepResult(Operation.tls_handshake, "connection_reset", 0.1, tls=TlsEvidence())
    assert not doubtful(reset)
