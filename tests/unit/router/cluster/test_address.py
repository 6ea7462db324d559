"""Addresses of Valkey: every form that `cluster.url` takes, and what is said of the others."""

from __future__ import annotations

import pytest

from router.cluster.address import CLUSTER, SENTINEL, SERVER, Address, fault_of


@pytest.mark.parametrize(
    ("url", "kind", "place", "asked"),
    [
        ("redis://a", SERVER, "a:6379", "redis://a:6379/0"),
        ("valkey://:p%40w@a:7000/2", SERVER, "a:7000", "redis://:p%40w@a:7000/2"),
        ("rediss://u:p@[::1]:7000", SERVER, "[::1]:7000", "rediss://u:p@[::1]:7000/0"),
        ("valkeys://a?ssl_ca_certs=%2Fca.pem", SERVER, "a:6379", "rediss://a:6379/0?ssl_ca_certs=%2Fca.pem"),
        ("unix:///run/valkey.sock?db=1", SERVER, "/run/valkey.sock", "unix:/run/valkey.sock?db=1"),
        ("redis+sentinel://a,b:7001/main/3", SENTINEL, "a:26379,b:7001/main", "redis://a:26379/3"),
        ("valkeys+sentinel://u:p@a/main", SENTINEL, "a:26379/main", "rediss://u:p@a:26379/0"),
        ("rediss+cluster://:p@a,b:7001", CLUSTER, "a:6379,b:7001", "rediss://:p@a:6379/0"),
    ],
)  # fmt: skip
def test_every_form(url: str, kind: str, place: str, asked: str):
    address = Address.of(url)
    assert (address.kind, address.place, address.url()) == (kind, place, asked)
    assert fault_of(url) is None


def test_the_server_that_was_found_is_asked_with_the_credentials_of_the_url():
    address = Address.of(
        "rediss+sentinel://u:p%2F@a,b/main/1?ssl_ca_certs=/ca&sentinel_password=s@"
    )
    assert address.service == "main"
    assert address.nodes == (("a", 26379), ("b", 26379))
    assert address.url_of("fd00::1", 6380) == "rediss://u:p%2F@[fd00::1]:6380/1?ssl_ca_certs=%2Fca"
    assert address.url_of_sentinels() == "rediss://:s%40@a:26379?ssl_ca_certs=%2Fca"


def test_sentinels_have_no_password_by_themselves():
    address = Address.of("redis+sentinel://u:p@a/main")
    assert address.url_of_sentinels() == "redis://a:26379"


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://a", "expected .redis://HOST"),
        ("redis+other://a", "expected .redis://HOST"),
        ("unix://", "expected .redis://HOST"),
        ("redis://", 'expected HOST or HOST:PORT, got ""'),
        ("redis://a:x", 'expected HOST or HOST:PORT, got "a:x"'),
        ("redis://a:65536", 'got "a:65536"'),
        ("redis+cluster://a,,b", 'expected HOST or HOST:PORT, got ""'),
        ("redis://a,b", "several hosts are of Sentinels or of a cluster"),
        ("redis://a/x", 'expected the number of a database, got "x"'),
        ("redis+sentinel://a,b", "after the Sentinels comes the name of the master"),
        ("redis+sentinel://a/main/x", 'expected the number of a database, got "x"'),
        ("redis+cluster://a/1", 'a cluster has one database: leave out "/1"'),
        ("redis+cluster://" + ",".join("abcdefghijklmnopq"), "expected at most 16 hosts, got 17"),
    ],
)
def test_faults_of_an_address_do_not_quote_its_password(url: str, fault: str):
    with pytest.raises(ValueError, match=fault):
        Address.of(url)
    with_password = url.replace("://", "://:secret@", 1)
    assert "secret" not in (fault_of(with_password) or "no fault")
