"""A path as its events change it; its order is in tests/properties/test_monitor_paths.py."""

from __future__ import annotations

import math

from monitor.diagnosis.confidence import Confidence
from monitor.health.paths import Path
from monitor.health.snapshot import Standing
from monitor.probes.results import TlsEvidence


def path(confidence: Confidence | None = None) -> Path:
    return Path("a.test", "192.0.2.1", confidence=confidence or Confidence())


def test_a_good_probe_speaks_against_a_block_and_its_certificate_is_remembered() -> None:
    blocked = path(Confidence(net=2, residual=True))
    assert blocked.probed(5.0, 40.0, TlsEvidence(not_after=99.0, issuer="R11", sha256="ab"))
    assert (blocked.standing, blocked.confidence.net) == (Standing.ok, 1)
    assert (blocked.not_after, blocked.memory.issuer, blocked.memory.sha256) == (99.0, "R11", "ab")
    assert not blocked.probed(6.0, 40.0, None), "it was ok before"
    assert blocked.memory.sha256 == "ab", "a mirror without TLS shows none"


def test_good_probes_are_not_saved_up_for_a_block_to_come() -> None:
    good = path()
    for now in range(9):
        good.probed(float(now), 40.0, None)
    assert good.confidence == Confidence()


def test_an_address_is_believed_as_long_as_nobody_can_have_forged_it() -> None:
    given = path()
    given.given(1.0, trusted=False)
    assert (given.seen, given.memory.trusted_address) == (1.0, False)
    given.given(2.0, trusted=True)
    assert given.memory.trusted_address


def test_a_network_that_was_seen_stays_known_when_nothing_shows() -> None:
    seen = path()
    seen.led_over("fastly")
    seen.led_over("")
    assert seen.network == "fastly"


def test_a_path_that_is_due_was_tried_never() -> None:
    tried = path()
    tried.tried(5.0)
    assert (tried.last_try, tried.failures) == (5.0, 0)
    tried.due()
    assert tried.last_try == -math.inf
