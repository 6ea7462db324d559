"""Which values the settings of probing take."""

import pytest

from monitor.common.config import DnsConfig, MirrorConfig, MonitorConfig
from monitor.common.resolver_spec import ResolverSpec, parse_resolver
from monitor.common.settings import SettingsError, read

MIRROR = {"id": "m", "url": "https://mirror.test"}


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("system", ResolverSpec("system", "system")),
        ("udp://9.9.9.9", ResolverSpec("udp://9.9.9.9", "udp", "9.9.9.9", 53)),
        ("tcp://9.9.9.9:5353", ResolverSpec("tcp://9.9.9.9:5353", "tcp", "9.9.9.9", 5353)),
        (
            "udp://[2620:fe::fe]:54",
            ResolverSpec("udp://[2620:fe::fe]:54", "udp", "2620:fe::fe", 54),
        ),
        ("https://dns.test/dns-query", ResolverSpec("https://dns.test/dns-query", "https")),
    ],
)
def test_resolvers_are_read(text, spec):
    assert parse_resolver(text) == spec
    assert parse_resolver(text).trusted == text.startswith("https")
    assert read(DnsConfig, {"resolvers": [text]}).resolvers == (text,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "System",
        "9.9.9.9",
        "udp://",
        "udp://dns.test",
        "udp://9.9.9.9:0",
        "udp://9.9.9.9:99999",
        "udp://9.9.9.9/x",
        "udp://user@9.9.9.9",
        "tcp://[2620:fe::fe",
        "http://dns.test/dns-query",
        "https://dns.test",
        "https://user@dns.test/dns-query",
        "https:///dns-query",
    ],
)
def test_an_invalid_resolver_is_refused_with_its_path(text):
    with pytest.raises(SettingsError, match="resolvers: expected"):
        read(DnsConfig, {"resolvers": [text]})


@pytest.mark.parametrize("resolvers", [[], [f"udp://9.9.9.{n}" for n in range(9)]])
def test_there_are_one_to_eight_resolvers(resolvers):
    with pytest.raises(SettingsError, match="resolvers: expected 1 to 8"):
        read(DnsConfig, {"resolvers": resolvers})


@pytest.mark.parametrize("wildcard", ["alt.test", "{n}.{n}.test", "{m}.test", "{n}. test"])
def test_a_wildcard_stands_for_names(wildcard):
    with pytest.raises(SettingsError, match="wildcard: expected"):
        read(MirrorConfig, {**MIRROR, "wildcard": wildcard})


@pytest.mark.parametrize("anchor", ["a.test", ":443", "a.test:0", "a.test:x", "::1:443", "a b:443"])
def test_an_anchor_is_a_host_and_a_port(anchor):
    with pytest.raises(SettingsError, match="anchors: expected HOST:PORT"):
        read(MonitorConfig, {"anchors": [anchor]})


def test_good_anchors_and_paths_are_taken():
    good = ["a.test:443", "9.9.9.9:53", "[2620:fe::fe]:53"]
    assert list(read(MonitorConfig, {"anchors": good}).anchors) == good
    assert read(MirrorConfig, {**MIRROR, "bulk_path": "/a/b?c=d"}).bulk_path == "/a/b?c=d"
    assert read(MirrorConfig, {**MIRROR, "wildcard": "{n}.a.test"}).wildcard == "{n}.a.test"


@pytest.mark.parametrize("path", ["a", "https://a.test/", "/a b", "/a\r\nb", "/a#b"])
def test_a_bulk_path_is_a_path(path):
    with pytest.raises(SettingsError, match="bulk_path: expected a path"):
        read(MirrorConfig, {**MIRROR, "bulk_path": path})


@pytest.mark.parametrize(
    "proxy",
    ["10.0.0.1:1080", "socks4://h:1", "https://h:1", "socks5://h", "socks5://h:99999",
     "http://u:canary@h:1/x", "http://u:canary@h:1?x", "http://[::1"],
)  # fmt: skip
def test_an_invalid_proxy_is_refused_with_its_path_and_not_quoted(proxy):
    with pytest.raises(SettingsError) as refused:
        read(MonitorConfig, {"vantages": [{"name": "there", "proxy": proxy}]}, "monitor")
    (fault,) = refused.value.faults
    assert fault.path == "monitor.vantages[0].proxy"
    assert proxy not in fault.message


def test_vantages_have_names_of_their_own_and_are_few():
    there = {"name": "there", "proxy": "socks5://u:p@192.0.2.1:1080"}
    assert read(MonitorConfig, {"vantages": [there]}).vantages[0].name == "there"
    for table, wrong in (
        ({"vantages": [there, there]}, "vantages[1].name"),
        ({"vantages": [there], "vantage": "there"}, "vantages[0].name"),
        ({"vantages": [{**there, "name": f"v{n}"} for n in range(5)]}, "vantages"),
    ):
        with pytest.raises(SettingsError) as refused:
            read(MonitorConfig, table)
        assert [fault.path for fault in refused.value.faults] == [wrong]
