"""The bans of a worker, held to a naive model."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.common.bans import Ban, client_network
from router.admission.ban_list import BanList, Held, pieces, rows_of
from router.admission.client_address import LOCAL, Client, parse

NOW = 1000.0


def _ban(network: str, until: float | None = None, ban_id: str = "b" * 12) -> Ban:
    return Ban(ban_id, network, 0.0, until, "noise", "operator")


def _client(text: str) -> Client:
    return parse(text) or LOCAL


def _list(*bans: Ban, at_once: bool = False) -> BanList:
    made = BanList()
    if at_once:
        made.extend(rows_of(bans))
    else:
        made.add(rows_of(bans))
    return made


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    ("network", "client", "found"),
    [
        ("10.0.0.1/32", "10.0.0.1", True),
        ("10.0.0.1/32", "::ffff:10.0.0.1", True),
        ("::ffff:10.0.0.0/120", "10.0.0.1", True),
        ("10.0.0.1/32", "10.0.0.2", False),
        ("10.0.0.0/8", "10.255.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("2001:db8::/64", "2001:db8::1234", True),
        ("2001:db8::/64", "2001:db8:0:1::1", False),
        ("2001:db8::/48", "2001:db8:0:ffff::1", True),
        ("2001:db8::7/128", "2001:db8::7", True),
        ("2001:db8::7/128", "2001:db8::8", False),
        ("0.0.0.0/0", "1.2.3.4", True),
        ("0.0.0.0/0", "::1", False),
        ("::/0", "1.2.3.4", False),
        ("10.0.0.0/8", "local", False),
        ("fe80::/64", "fe80::1%eth0", True),
    ],
)
def test_a_ban_holds_for_its_network(network: str, client: str, found: bool, at_once: bool) -> None:
    bans = _list(_ban(network), at_once=at_once)
    assert (bans.find(_client(client), NOW) is not None) == found


@pytest.mark.parametrize("at_once", [True, False])
def test_a_ban_tells_what_the_refusal_says_and_ends_at_its_time(at_once: bool) -> None:
    bans = _list(_ban("10.0.0.1/32", until=NOW), at_once=at_once)
    assert bans.find(_client("10.0.0.1"), NOW - 1) == Held("b" * 12, NOW, "noise")
    assert bans.find(_client("10.0.0.1"), NOW) is None
    for_good = _list(_ban("10.0.0.1/32"), at_once=at_once)
    assert for_good.find(_client("10.0.0.1"), 1e12) == Held("b" * 12, None, "noise")


def test_an_ended_ban_on_a_client_does_not_hide_one_on_its_network() -> None:
    bans = _list(
        _ban("10.0.0.1/32", until=NOW - 1, ban_id="narrow"),
        _ban("10.0.0.0/16", until=NOW - 1, ban_id="middle"),
        _ban("10.0.0.0/8", ban_id="wide"),
    )
    found = bans.find(_client("10.0.0.1"), NOW)
    assert found is not None
    assert found.id == "wide"


def test_expired_bans_do_not_pile_up() -> None:
    bans = BanList()
    for i in range(5000):
        bans.add(rows_of([_ban(f"10.0.{i >> 8}.{i & 255}/32", until=NOW + i + 10)]))
        bans.purge(NOW + i)
    assert len(bans) < 3000
    assert bans.find(_client("10.0.19.135"), NOW + 4998) is not None


NETWORKS = st.sampled_from(
    [
        *("10.0.0.1/32", "10.0.0.2/32", "10.0.0.0/30", "10.0.0.0/8", "10.0.0.0/16", "0.0.0.0/0"),
        *("2001:db8::/64", "2001:db8:0:1::/64", "2001:db8::/48", "::/0", "2001:db8::9/128"),
    ]
)
CLIENTS = ["10.0.0.1", "10.0.0.2", "10.0.1.1", "11.1.1.1", "2001:db8::9", "2001:db8:0:1::1", "::1"]
STEPS = st.tuples(st.sampled_from(["add", "remove"]), NETWORKS, st.none() | st.floats(900, 1100))


@given(st.lists(STEPS, max_size=20), st.lists(STEPS, max_size=20), st.integers(1, 4))
def test_it_agrees_with_a_walk_over_all_bans(
    before: list[tuple[str, str, float | None]],
    since: list[tuple[str, str, float | None]],
    size: int,
) -> None:
    model: dict[str, Ban] = {}
    for step, network, until in before:
        model.pop(network, None)
        if step == "add":
            model[network] = _ban(network, until)
    bans = BanList()
    for piece in pieces(rows_of(model.values()), size):
        bans.extend(piece)
    for step, network, until in since:
        model.pop(network, None)
        if step == "add":
            model[network] = _ban(network, until)
            bans.add(rows_of([model[network]]))
        else:
            bans.remove([network])
    assert len(bans) == len(model)
    for text in CLIENTS:
        own = ipaddress.ip_address(text)
        expected = [
            Held(ban.id, ban.until, ban.reason)
            for ban in model.values()
            if ban.holds(NOW) and own in ipaddress.ip_network(ban.network)
        ]
        found = bans.find(_client(text), NOW)
        assert found in expected if expected else found is None


def test_the_network_that_stands_for_a_client_is_found_for_it() -> None:
    for text in CLIENTS:
        assert _client(text).network == client_network(text)
        assert _list(_ban(client_network(text))).find(_client(text), NOW) is not None


@pytest.mark.parametrize(
    ("given", "network"),
    [
        ("::ffff:10.1.0.0/112", "10.1.0.0/16"),
        ("::ffff:10.1.2.3/128", "10.1.2.3/32"),
        ("::/0", "::/0"),
        ("2001:db8::/48", "2001:db8::/48"),
        ("192.0.2.77/24", "192.0.2.0/24"),
    ],
)
def test_a_network_in_either_notation_is_the_same_network(given: str, network: str) -> None:
    assert client_network(given) == network
