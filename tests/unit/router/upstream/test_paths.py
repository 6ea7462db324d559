"""Paths that a new connection to a mirror may take, in order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.common.config import MirrorConfig
from monitor.health.snapshot import MirrorHealth, PathHealth, Standing, State
from router.upstream.paths import (
    LAST,
    MOST_PATIENCE,
    PATIENCE,
    RESERVE,
    SLOW,
    UNTESTED,
    USABLE,
    Route,
    Trouble,
    next_route,
    routes_of,
    share_one_address,
)

MIRROR = MirrorConfig("a", "https://own.test:8443/x", hostnames=("alt.test",))


def route(host: str, address: str) -> Route:
    return Route(host, address, 443, host.encode())


A1, A2, B1, B2 = (route(host, ip) for host in ("a", "b") for ip in ("192.0.2.1", "192.0.2.2"))


ALL = (A1, A2, B1, B2)


@pytest.mark.parametrize(
    ("operation", "failure", "next_"),
    [
        ("tls_handshake", "connection_reset", B2),
        ("tls_handshake", "eof_error", B2),
        ("tls_handshake", "generic_timeout_error", B2),
        ("tls_handshake", SLOW, B2),
        ("connect", SLOW, B2),
        ("connect", "connection_refused", A2),
        ("connect", "generic_timeout_error", A2),
        ("tls_handshake", "ssl_invalid_hostname", B1),
        ("tls_handshake", "ssl_unknown_authority", B1),
    ],
)
def test_the_next_route_depends_on_the_failure(operation: str, failure: str, next_: Route) -> None:
    assert next_route(ALL[1:], [Trouble(A1, operation, failure)]) == next_


ROUTES = st.sampled_from(ALL)


TROUBLES = st.builds(
    Trouble,
    ROUTES,
    st.sampled_from(("connect", "tls_handshake")),
    st.sampled_from(("connection_reset", "connection_refused", SLOW, "ssl_invalid_hostname")),
)


@given(st.lists(ROUTES, unique=True), st.lists(TROUBLES, max_size=4))
def test_an_address_that_may_be_shut_is_tried_again_only_when_none_is_left_and_by_another_name(
    waiting: list[Route], troubles: list[Trouble]
) -> None:
    chosen = next_route(waiting, troubles)
    shut = {t.route.address for t in troubles if not t.lies_in_the_answer}
    unreached = {t.route.address for t in troubles if t.operation == "connect"}
    shown = {t.route.host for t in troubles if t.operation == "tls_handshake"}
    fresh = [one for one in waiting if one.address not in shut]
    assert chosen is None or chosen in waiting
    if fresh:
        assert chosen in fresh
    elif chosen is not None:
        assert chosen.address not in unreached
        assert chosen.host not in shown


def test_a_name_that_is_cut_off_at_the_only_address_is_left_for_another_one() -> None:
    for failure in ("connection_reset", "eof_error", "generic_timeout_error", SLOW):
        assert next_route([B1], [Trouble(A1, "tls_handshake", failure)]) == B1
    assert next_route([B1], [Trouble(A1, "connect", "generic_timeout_error")]) is None


def test_reserve_and_last_routes_come_after_recommended_ones() -> None:
    spare, blocked = replace(B2, rank=RESERVE), replace(A2, rank=LAST)
    assert next_route([spare, blocked, A1], []) == A1
    assert next_route([blocked, spare], [Trouble(A1, "connect", SLOW)]) == spare
    slow = Trouble(A1, "connect", SLOW)
    assert next_route([blocked], [slow]) is None, "it is shown only when nothing is left"
    assert next_route([blocked], [Trouble(A1, "connect", "connection_refused")]) == blocked


def path(host: str, address: str, latency: float | None = None) -> PathHealth:
    return PathHealth(host, address, Standing.ok, True, "ok", latency=latency)


def test_routes_are_the_usable_paths_with_their_own_names() -> None:
    paths = (
        path("alt.test", "192.0.2.2", latency=10.0),
        replace(path("own.test", "192.0.2.1"), usable=False),
        path("own.test", "2001:db8::1", latency=5000.0),
    )
    held = {"[2001:db8::1]:8443": 99.0}
    refused = replace(path("own.test", "192.0.2.4"), usable=False, verdict="tls_mitm")
    cut = replace(path("own.test", "192.0.2.5"), usable=False, verdict="sni_block_rst")
    untested = PathHealth("alt.test", "192.0.2.6")
    health = MirrorHealth("a", State.up, paths=(cut, *paths, refused, untested))
    near, far, new, spare, last = routes_of(MIRROR, health, held)
    ranks = [one.rank for one in (near, far, new, spare, last)]
    assert ranks == [USABLE, USABLE, UNTESTED, RESERVE, LAST]
    assert (spare.address, last.address) == ("192.0.2.1", "192.0.2.5")
    assert (near.host, near.authority, near.port) == ("alt.test", b"alt.test:8443", 8443)
    assert (near.patience, far.patience) == (PATIENCE, MOST_PATIENCE)
    assert (near.quarantined_until, far.quarantined_until) == (0.0, 99.0)
    pinned = replace(MIRROR, addresses=("192.0.2.9",))
    known, alternate = routes_of(pinned, MirrorHealth("a"), {})
    assert (known.host, known.address) == ("own.test", "192.0.2.9")
    assert alternate.host == "alt.test", "for when the own name is cut off before the first probe"
    assert routes_of(MIRROR, MirrorHealth("a"), {}) == ()


def test_successes_of_paths_count_while_control_has_no_doubt() -> None:
    paths = tuple(
        PathHealth(host, "192.0.2.1", standing, successes=3)
        for host, standing in (("own.test", Standing.ok), ("alt.test", Standing.suspected))
    )
    routes = routes_of(MIRROR, MirrorHealth("a", paths=paths), {})
    assert {route.host: route.successes for route in routes} == {"own.test": 3, "alt.test": 0}


def test_names_share_an_address_if_there_are_several_and_no_other_address() -> None:
    assert share_one_address([A1, B1])
    assert not share_one_address([A1])
    assert not share_one_address([A1, B1, B2])
    assert not share_one_address([A1, replace(B1, port=444)])
