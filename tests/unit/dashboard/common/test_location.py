"""Where an address is, from databases of several layouts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboard.common.location import Locations, attribution_of
from tests.testkit.mmdb import write_mmdb

MAXMIND = {
    "city": {"names": {"en": "Shanghai"}},
    "country": {"iso_code": "CN", "names": {"en": "China", "zh-CN": "中国"}},
    "subdivisions": [{"iso_code": "SH", "names": {"en": "Shanghai", "zh-CN": "上海"}}],
    "location": {"accuracy_radius": 5},
}
FLAT = {
    "country_code": "CN",
    "country_name": "China",
    "stateprov": "Guangdong",
    "city": "Shenzhen",
    "as_name": "Tencent Cloud",
}


@pytest.fixture
def locations() -> Iterator[Locations]:
    made = Locations()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("record", "zh", "en"),
    [
        (MAXMIND, "中国 上海", "China Shanghai"),
        (MAXMIND | {"autonomous_system_organization": "Tencent"}, "中国 上海 Tencent", None),
        (MAXMIND | {"traits": {"isp": "Unicom"}}, "中国 上海 Unicom", None),
        (FLAT, "China Guangdong Tencent Cloud", "China Guangdong Tencent Cloud"),
        ({"country": {"iso_code": "DE", "names": {"en": "Germany"}}}, "Germany", "Germany"),
        ({"country": {"iso_code": "DE"}}, "DE", "DE"),
        ({"country": "US", "region": "California", "as_name": "Example"}, None, None),
        ({"country_name": "Singapore", "region": "Singapore"}, "Singapore", "Singapore"),
        ({"autonomous_system_number": 7, "autonomous_system_organization": "ACME"}, "ACME", "ACME"),
        ({}, "", ""),
        ({"country": [], "subdivisions": {}, "as_name": 7}, "", ""),
    ],
)
def test_country_subdivision_and_operator_are_told_as_far_as_they_are_known(
    tmp_path: Path, locations: Locations, record: dict[str, Any], zh: str | None, en: str | None
):
    locations.use(str(write_mmdb(tmp_path / "x.mmdb", {"192.0.2.0/24": record})))
    for language, expected in (("zh", zh), ("en", en)):
        if expected is not None:
            assert locations.of("192.0.2.7/32", language) == expected
    assert "Shenzhen" not in locations.of("192.0.2.7/32", "en")
    assert locations.of("198.51.100.7/32", "en") == ""


def test_an_ipv6_client_is_found_too_and_unknown_where_the_file_has_none(
    tmp_path: Path, locations: Locations
):
    records = {"2001:db8::/32": FLAT, "192.0.2.0/24": MAXMIND}
    locations.use(str(write_mmdb(tmp_path / "both.mmdb", records)))
    assert locations.of("2001:db8:1::/64", "en").startswith("China Guangdong")
    locations.use(str(write_mmdb(tmp_path / "v4.mmdb", {"192.0.2.0/24": FLAT}, ip_version=4)))
    assert locations.of("192.0.2.7/32", "en").startswith("China Guangdong")
    assert locations.of("2001:db8:1::/64", "en") == ""


def test_a_file_that_is_replaced_is_read_anew_and_a_bad_one_costs_only_the_locations(
    tmp_path: Path, locations: Locations
):
    path = tmp_path / "x.mmdb"
    locations.use(str(path))
    assert locations.of("192.0.2.7/32", "en") == ""
    for round_, country in enumerate(("Japan", "Korea")):
        new = write_mmdb(tmp_path / "new", {"192.0.2.0/24": {"country_name": country}})
        os.utime(new, ns=(round_, round_ + 1))
        new.replace(path)
        locations.use(str(path))
        assert locations.of("192.0.2.7/32", "en") == country
    path.write_bytes(b"no database")
    locations.use(str(path))
    assert locations.of("192.0.2.7/32", "en") == ""
    locations.use("")
    assert locations.attribution is None


@pytest.mark.parametrize(
    ("database_type", "url"),
    [
        ("GeoLite2-City", "https://www.maxmind.com"),
        ("DBIP-Country-Lite", "https://db-ip.com"),
        ("DBIP-City-Lite (compat=City)", "https://db-ip.com"),
        ("ipinfo generic_country_asn_free.mmdb", "https://ipinfo.io"),
        ("IP2LITE-Country", None),
        ("GeoIP2-City", None),
    ],
)
def test_free_databases_are_named_where_their_results_are_shown(
    database_type: str, url: str | None
):
    said = attribution_of(database_type)
    assert (said.url if said else None) == url
