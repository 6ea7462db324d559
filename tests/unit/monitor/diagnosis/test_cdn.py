"""Which network serves a mirror, and who shares fate with whom."""

from typing import Any

import pytest

from monitor.diagnosis.cdn import Networks, Place, cdn_of, networks, share_fate


@pytest.mark.parametrize(
    ("address", "cdn"),
    [
        ("104.16.1.1", "cloudflare"),
        ("172.67.1.1", "cloudflare"),
        ("2606:4700::6810:1", "cloudflare"),
        ("151.101.1.1", "fastly"),
        ("2a04:4e42::1", "fastly"),
        ("13.224.0.9", "cloudfront"),
        ("8.8.8.8", ""),
        ("172.32.0.1", ""),
        ("not an address", ""),
    ],
)
def test_an_address_is_in_a_published_range_or_not(address, cdn):
    assert networks().by_address(address) == cdn


@pytest.mark.parametrize(
    ("alias", "cdn"),
    [
        ("mirror.example.edgekey.net", "akamai"),
        ("d111.cloudfront.net.", "cloudfront"),
        ("x.KUNLUNAR.com", "alibaba"),
        ("a.cdn.dnsv1.com", "tencent"),
        ("evil-cloudfront.net", ""),
        ("net", ""),
    ],
)
def test_an_alias_belongs_to_a_network_by_whole_labels(alias, cdn):
    assert cdn_of(chain=("first.example", alias)) == cdn


def test_the_evidence_that_is_hardest_to_forge_goes_first():
    everything: dict[str, Any] = {
        "address": "151.101.1.1",
        "headers": {"cf-ray": "1-HKG"},
        "chain": ("x.edgekey.net",),
        "issuer": "Cloudflare, Inc.",
    }
    found = []
    while everything:
        found.append(cdn_of(**everything))
        everything.pop(next(iter(everything)))
    assert found == ["fastly", "cloudflare", "akamai", "cloudflare"]
    assert cdn_of() == ""


def test_a_table_can_be_handed_in():
    assert cdn_of("151.101.1.1", table=Networks()) == ""


@pytest.mark.parametrize(
    ("a", "b", "shared"),
    [
        (Place("104.16.1.1", "cloudflare"), Place("172.67.1.1", "cloudflare"), True),
        (Place("104.16.1.1", "cloudflare"), Place("151.101.1.1", "fastly"), False),
        (Place("203.0.113.1"), Place("203.0.113.200"), True),
        (Place("203.0.113.1"), Place("203.0.112.1"), False),
        (Place("2001:db8:1::1"), Place("2001:db8:1:ffff::2"), True),
        (Place("2001:db8:1::1"), Place("2001:db8:2::1"), False),
        (Place("203.0.113.1"), Place("2001:db8::1"), False),
    ],
)
def test_one_network_or_one_neighbourhood_is_one_fate(a, b, shared):
    assert share_fate(a, b) is shared
    assert share_fate(b, a) is shared
