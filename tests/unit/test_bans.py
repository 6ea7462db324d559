"""The bans of a worker, held to a naive model."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.bans import Ban, client_network
from router.admission.bans import BanList

NOW = 1000.0


def _ban(network: str, until: float | None = None, ban_id: str = "b") -> Ban:
    return Ban(ban_id, network, 0.0, until, "noise", "operator")


@pytest.mark.parametrize(
    ("network", "client", "found"),
    [
        ("10.0.0.1/32", "10.0.0.1", True),
        ("10.0.0.1/32", "::ffff:10.0.0.1", True),
        ("10.0.0.1/32", "10.0.0.2", False),
        ("10.0.0.0/8", "10.255.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("2001:db8::/64", "2001:db8::1234", True),
        ("2001:db8::/64", "2001:db8:0:1::1", False),
        ("2001:db8::/48", "2001:db8:0:ffff::1", True),
        ("0.0.0.0/0", "1.2.3.4", True),
        ("0.0.0.0/0", "::1", False),
        ("::/0", "1.2.3.4", False),
        ("10.0.0.0/8", "local", False),
        ("fe80::/64", "fe80::1%eth0", True),
    ],
)
def test_a_ban_holds_for_its_network(network: str, client: str, found: bool) -> None:
    bans = BanList()
    bans.add(_ban(network))
    assert (bans.find(client, NOW) is not None) == found


def test_a_ban_ends_at_its_time() -> None:
    bans = BanList()
    bans.add(_ban("10.0.0.1/32", until=NOW))
    assert bans.find("10.0.0.1", NOW - 1) is not None
    assert bans.find("10.0.0.1", NOW) is None


def test_an_ended_ban_on_a_client_does_not_hide_one_on_its_network() -> None:
    bans = BanList()
    bans.add(_ban("10.0.0.1/32", until=NOW - 1, ban_id="narrow"))
    bans.add(_ban("10.0.0.0/16", until=NOW - 1, ban_id="middle"))
    bans.add(_ban("10.0.0.0/8", ban_id="wide"))
    found = bans.find("10.0.0.1", NOW)
    assert found is not None
    assert found.id == "wide"


def test_a_ban_is_replaced_and_lifted_by_its_network() -> None:
    bans = BanList()
    bans.add(_ban("10.0.0.0/8", ban_id="old"))
    bans.add(_ban("10.0.0.0/8", ban_id="new"))
    assert len(bans) == 1
    bans.remove("10.0.0.0/16")
    assert getattr(bans.find("10.1.1.1", NOW), "id", None) == "new"
    bans.remove("10.0.0.0/8")
    assert (len(bans), bans.find("10.1.1.1", NOW)) == (0, None)


NETWORKS = st.sampled_from(
    [
        *("10.0.0.1/32", "10.0.0.2/32", "10.0.0.0/30", "10.0.0.0/8", "10.0.0.0/16", "0.0.0.0/0"),
        *("2001:db8::/64", "2001:db8:0:1::/64", "2001:db8::/48", "::/0"),
    ]
)
CLIENTS = ["10.0.0.1", "10.0.0.2", "10.0.1.1", "11.1.1.1", "2001:db8::9", "2001:db8:0:1::1", "::1"]
STEPS = st.tuples(st.sampled_from(["add", "remove"]), NETWORKS, st.none() | st.floats(900, 1100))


@given(st.lists(STEPS, max_size=30), st.booleans())
def test_it_agrees_with_a_walk_over_all_bans(
    steps: list[tuple[str, str, float | None]], at_once: bool
) -> None:
    model: dict[str, Ban] = {}
    bans = BanList()
    for step, network, until in steps:
        if step == "add":
            model[network] = _ban(network, until)
            bans.add(model[network])
        else:
            model.pop(network, None)
            bans.remove(network)
    if at_once:
        bans.replace(model.values())
    assert len(bans) == len(model)
    for client in CLIENTS:
        own = ipaddress.ip_address(client)
        expected = [
            ban
            for ban in model.values()
            if ban.holds(NOW) and own in ipaddress.ip_network(ban.network)
        ]
        found = bans.find(client, NOW)
        assert found in expected if expected else found is None


def test_the_network_that_stands_for_a_client_is_found_for_it() -> None:
    for client in CLIENTS:
        bans = BanList()
        bans.add(_ban(client_network(client)))
        assert bans.find(client, NOW) is not None


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
