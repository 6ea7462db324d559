"""A mirror as a worker sees it: when it may be used, and over which of its paths."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import Mock

import pytest

from monitor.health.snapshot import MirrorHealth, Override, State
from router.upstream.connection import UpstreamConnection
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
from tests.unit.router.upstream.test_paths import MIRROR, path


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


def test_a_young_control_that_knows_no_path_takes_none_away() -> None:
    known = MirrorHealth("a", State.up, paths=(path("alt.test", "192.0.2.2"),))
    upstream = Upstream(MIRROR, known)
    upstream.see(MirrorHealth("a"), {"192.0.2.2:8443": 50.0}, 0.0)
    kept = upstream.routes
    assert [(one.host, one.quarantined_until) for one in kept] == [("alt.test", 50.0)]
    assert upstream.open_routes(49.0) == []


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
