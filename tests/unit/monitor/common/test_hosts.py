"""Host fields are parsed as a whole: no part of one stands for the rest."""

import ipaddress

import pytest

from monitor.common.hosts import host_of, is_loopback

READ = {
    "127.0.0.1": "127.0.0.1",
    "127.0.0.1:8082": "127.0.0.1",
    "LocalHost:65535": "localhost",
    "localhost.": "localhost",
    "localhost.:80": "localhost",
    "Status.Example.:443": "status.example",
    "[::1]": "::1",
    "[0:0:0:0:0:0:0:1]:1": "::1",
    "[::FFFF:127.0.0.1]:8082": str(ipaddress.ip_address("::ffff:127.0.0.1")),
    " 127.0.0.1\t": "127.0.0.1",
    "a_b-c.example": "a_b-c.example",
}
UNREADABLE = (
    "",
    ".",
    "localhost..",
    "a..b",
    "[::1]x",
    "[::1].example",
    "[::1]:",
    "[::1]:x",
    "[::1",
    "::1",
    "::1]",
    "[]",
    "[127.0.0.1]",
    "[localhost]",
    "[::1%eth0]",
    "[::1]@example.com",
    "localhost:",
    "localhost:evil.example",
    "localhost:80:80",
    "localhost:65536",
    "localhost:123456",
    "localhost:-1",
    "localhost:８０",
    "localhost@evil.example",
    "localhost:8082@evil.example",
    "user@localhost",
    "localhost/evil.example",
    "localhost\\evil.example",
    "localhost#evil.example",
    "localhost?evil.example",
    "localhost, evil.example",
    "localhost evil.example",
    "localhost\x00",
    "localhost\n",
    "127.0.0.1%2eevil.example",
    "ｌocalhost",
    "127。0。0。1",
    "a" * 64,
    ".".join(["a" * 60] * 5),
)
LOOPBACK = ("127.0.0.1", "127.8.9.10", "::1", "::ffff:7f00:1", "localhost", "mirrorgate.localhost")
OTHERS = (
    "",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "evillocalhost",
    "127.0.0.1.localhost.example",
    "192.0.2.1",
    "0.0.0.0",
    "127.1",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "127.0.0.01",
    "2130706433",
    "::",
    "::2",
    "::ffff:c000:201",
)


@pytest.mark.parametrize(("text", "host"), READ.items())
def test_a_host_is_read_in_one_spelling(text, host):
    assert host_of(text) == host


@pytest.mark.parametrize("text", UNREADABLE)
def test_an_invalid_address_has_no_host(text):
    assert host_of(text) is None


@pytest.mark.parametrize("host", LOOPBACK)
def test_hosts_of_this_machine_alone(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", OTHERS)
def test_all_other_hosts(host):
    assert not is_loopback(host)
