"""Failures that workers report, as the monitor takes them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from monitor.common.config import MirrorConfig
from monitor.engine.traffic import TrafficNews
from monitor.health.snapshot import Standing
from monitor.probes.results import Way
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
