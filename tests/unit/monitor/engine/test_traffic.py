"""Failures that workers report, as the monitor takes them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from monitor.common.config import MirrorConfig
from monitor.diagnosis.answer import Meaning
from monitor.engine.traffic import MOST_LAG, TrafficNews
from monitor.health.paths import is_cut
from monitor.health.snapshot import Standing
from monitor.probes.results import Way
from router.upstream.paths import CUT
from tests.unit.monitor.engine.test_path_reactions import ALT, FAR, NEAR, NOW, OWN, Place


@pytest.mark.parametrize(
    ("names", "operation", "elsewhere"),
    [
        ((ALT,), "tls_handshake", Standing.suspected),
        ((), "tls_handshake", Standing.ok),
        ((ALT,), "connect", Standing.ok),
    ],
    ids=["another name is there", "the only name", "no name was shown"],
)
def test_a_name_whose_handshake_was_overtaken_is_not_taken_to_another_address(
    names: tuple[str, ...], operation: str, elsewhere: Standing
) -> None:
    """It may have been dropped there, and be dropped, and remembered, at the next one."""
    place = Place(MirrorConfig("a", f"https://{OWN}", hostnames=names, addresses=(NEAR, FAR)))
    watches = {"a": place.watch}
    checks = cast(Any, SimpleNamespace())
    news = TrafficNews(
        watches, place.reactions, checks, lambda _: None, lambda _: None, lambda: NOW
    )
    news.hear({"paths": [["a", OWN, NEAR, operation, "slow"]]})
    assert place.path(OWN, NEAR).standing is Standing.suspected
    assert place.path(OWN, FAR).standing is elsewhere
    if names:
        assert place.watch.paths.path(Way(ALT, FAR)) in place.usable()


@pytest.mark.parametrize(
    ("more", "free"),
    [
        ({"sent": NOW + 5.0}, True),
        ({"sent": NOW + 0.5}, False),
        ({"sent": NOW + 5.0 - MOST_LAG}, True),
        ({}, True),
    ],
    ids=["just sent", "long on its way", "by another clock", "by an earlier release"],
)
def test_a_request_that_came_through_counts_from_when_it_began(
    more: dict[str, float], free: bool
) -> None:
    """The address was shut at `NOW`, and this is heard five seconds later."""
    place = Place()
    place.now = NOW + 5.0
    path, endpoint = place.path(OWN, NEAR), f"{NEAR}:443"
    place.quarantine.trigger(endpoint, NOW)
    path.failed(NOW, "tls_reset")
    path.hold(NOW + 185.0)
    checks, suspected = cast(Any, SimpleNamespace()), list[str]()
    news = TrafficNews(
        {"a": place.watch},
        place.reactions,
        checks,
        suspected.append,
        lambda _: None,
        lambda: place.now,
    )
    place.watch.observe(Meaning("tls_reset", False), NOW)
    news.hear({"opened": [["a", OWN, NEAR, 0.1, 0.3]], **more})
    assert (place.quarantine.until(endpoint, place.now) is None) is free
    assert path.standing is Standing.ok, "it is held because it was cut off, and was answered"
    assert suspected == ["a"]


@pytest.mark.parametrize("failure", sorted(CUT))
def test_a_cut_that_is_told_before_the_address_is_known_counts_once_it_is(failure: str) -> None:
    """As workers tell a new control process, which has asked no resolver yet."""
    place = Place(MirrorConfig("a", f"https://{OWN}", hostnames=(ALT,)))
    checks = cast(Any, SimpleNamespace())
    news = TrafficNews(
        {"a": place.watch}, place.reactions, checks, lambda _: None, lambda _: None, lambda: NOW
    )
    news.hear({"paths": [["a", OWN, NEAR, "tls_handshake", failure]]})
    for name in (ALT, OWN):
        place.watch.paths.resolved(name, [NEAR, FAR], NOW)
    assert all(is_cut(place.path(OWN, address)) for address in (NEAR, FAR))
    assert [path.way for path in place.usable()] == [Way(ALT, FAR)]


def test_a_name_that_was_slow_leads_round_one_that_was_cut_off() -> None:
    """Else the one that was cut off is probed at the second address, and shuts that as well."""
    place = Place(MirrorConfig("a", f"https://{OWN}", hostnames=(ALT,), addresses=(NEAR, FAR)))
    checks = cast(Any, SimpleNamespace())
    news = TrafficNews(
        {"a": place.watch}, place.reactions, checks, lambda _: None, lambda _: None, lambda: NOW
    )
    news.hear({"paths": [["a", ALT, NEAR, "tls_handshake", "slow"]]})
    assert place.path(ALT, FAR).standing is Standing.suspected
    news.hear({"paths": [["a", OWN, NEAR, "tls_handshake", "connection_reset"]]})
    assert place.path(OWN, FAR).standing is Standing.suspected
    assert place.watch.paths.path(Way(ALT, FAR)) in place.usable()
