"""Client addresses: peers, trusted proxies and their fields."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.admission.client_address import (
    MAX_HOPS,
    Clients,
    address_of_key,
    named_key,
    parse,
)

PROXY, CLIENT, OTHER = "10.0.0.1", "203.0.113.7", "198.51.100.9"


def asking(value: str | None, *trusted: str, peer: str = PROXY, field: str = "x-forwarded-for"):
    clients = Clients(trusted, field)
    look = {} if value is None else {field.encode(): value.encode("latin-1")}
    return clients.asking(clients.peer(peer), look).address


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, PROXY),
        ("", PROXY),
        (CLIENT, CLIENT),
        (f"{OTHER}, {CLIENT}", CLIENT),
        (f"{OTHER},{CLIENT},10.9.9.9", CLIENT),
        (f"{OTHER} , {CLIENT} ,\t10.9.9.9 , 10.1.1.1", CLIENT),
        (f"unknown, {CLIENT}", CLIENT),
        (f"{CLIENT}, unknown", PROXY),
        (f"{CLIENT}, unknown, 10.5.5.5", "10.5.5.5"),
        ("10.7.7.7, 10.8.8.8", "10.7.7.7"),
        (f"{CLIENT}:4711", CLIENT),
        ("[2001:db8::5]:4711", "2001:db8::5"),
        ("2001:db8::5", "2001:db8::5"),
        (f"::ffff:{CLIENT}", CLIENT),
        ("999.1.1.1", PROXY),
        ("1.2.3", PROXY),
        ("0x7f.0.0.1", PROXY),
        (CLIENT + " " * 20 + "x" * 50_000, PROXY),
        ("," * 60_000, PROXY),
        ("\xff\xfe", PROXY),
    ],
)
def test_the_right_most_address_that_is_not_a_trusted_proxys_is_the_client(
    value: str | None, expected: str
):
    assert asking(value, "10.0.0.0/8") == expected


def test_a_peer_that_is_not_trusted_cannot_name_anybody():
    assert asking(CLIENT, "192.0.2.0/24") == PROXY
    assert asking(CLIENT) == PROXY


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        *(("private", address) for address in ("127.0.0.1", "10.1.2.3", "172.31.0.1", "fd00::1")),
        ("private", "::ffff:192.168.1.1"),
        ("cloudflare", "104.16.1.1"),
        ("cloudflare", "2606:4700::1"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::/32", "2001:db8:1::1"),
    ],
)
def test_trust_has_names_and_networks(name: str, peer: str):
    assert asking(CLIENT, name, peer=peer) == CLIENT
    assert asking(CLIENT, name, peer="8.8.8.8") == "8.8.8.8"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"for={CLIENT}", CLIENT),
        (f'For="{CLIENT}:80";proto=https;by=10.0.0.1', CLIENT),
        (f'for={OTHER}, proto=http; for="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
        (f'for="a,b", for={CLIENT}', CLIENT),
        (f"for={CLIENT}, for=_hidden", PROXY),
        (f"for={CLIENT}, for=unknown", PROXY),
        (f"by={CLIENT}", PROXY),
        (CLIENT, PROXY),
    ],
)
def test_forwarded_is_read_as_rfc_7239_wants_it(value: str, expected: str):
    assert asking(value, "private", field="forwarded") == expected


def test_an_endless_chain_of_proxies_is_not_followed():
    chain = ", ".join([CLIENT, *["10.1.1.1"] * MAX_HOPS])
    assert asking(chain, "private") == "10.1.1.1"


def test_an_ipv6_client_is_its_64():
    one, same, other = map(parse, ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"))
    assert one is not None
    assert same is not None
    assert other is not None
    assert one.key == same.key != other.key
    assert one.network == same.network == "2001:db8::/64"


def test_an_ipv4_client_is_one_address_in_either_notation():
    plain, mapped, next_to_it = map(parse, (CLIENT, f"::ffff:{CLIENT}", "203.0.113.8"))
    assert plain is not None
    assert plain == mapped
    assert next_to_it is not None
    assert plain.key != next_to_it.key
    assert plain.network == f"{CLIENT}/32"


@given(st.ip_addresses())
def test_the_logged_address_and_the_counted_network_hold_the_clients_address(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
):
    client = parse(str(address))
    assert client is not None
    assert len(client.key) == 16
    assert ipaddress.ip_address(client.address) in (address, getattr(address, "ipv4_mapped", None))
    assert ipaddress.ip_address(client.address) in ipaddress.ip_network(client.network)


@given(st.text(max_size=200), st.lists(st.ip_addresses(v=4), max_size=4))
def test_nobody_can_be_named_from_the_left_of_the_real_client(
    invented: str, also: list[ipaddress.IPv4Address]
):
    before = ", ".join([invented.encode("latin-1", "replace").decode("latin-1"), *map(str, also)])
    assert asking(f"{before}, {CLIENT}, 10.2.2.2", "private") == CLIENT


@pytest.mark.parametrize(
    ("trusted", "peer", "look", "missing"),
    [
        ((), "127.0.0.1", {}, ""),
        ((), "192.168.0.9", {}, ""),
        ((), "127.0.0.1", {b"x-forwarded-for": b"1.2.3.4"}, "trusted_proxies"),
        ((), "172.18.0.2", {b"x-real-ip": b"1.2.3.4"}, "trusted_proxies"),
        ((), "104.16.1.1", {}, "trusted_proxies"),
        ((), "8.8.8.8", {b"x-forwarded-for": b"1.2.3.4"}, ""),
        (("private",), "127.0.0.1", {b"x-forwarded-for": b"1.2.3.4"}, ""),
        (("private",), "127.0.0.1", {b"x-real-ip": b"1.2.3.4"}, "client_ip_header"),
        (("private",), "127.0.0.1", {}, ""),
    ],
)
def test_the_setting_that_is_missing_is_named(
    trusted: tuple[str, ...], peer: str, look: dict[bytes, bytes], missing: str
):
    clients = Clients(trusted)
    assert clients.missing(clients.peer(peer), look) == missing


@pytest.mark.parametrize(
    ("address", "shown"),
    [("192.0.2.7", "192.0.2.7"), ("2001:db8:1:2::9", "2001:db8:1:2::/64")],
)
def test_the_key_of_a_client_tells_its_address(address, shown):
    client = parse(address)
    assert client is not None
    assert address_of_key(client.key) == shown
    assert address_of_key(named_key("key", address)) == ""
