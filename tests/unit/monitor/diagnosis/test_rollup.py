"""From paths to what they have in common."""

import pytest

from monitor.diagnosis.certificates import days_left, ends_soon
from monitor.diagnosis.evidence import Code
from monitor.diagnosis.finding import Finding, Level
from monitor.diagnosis.rollup import (
    PathFinding,
    cdn_findings,
    endpoint_findings,
    hostname_findings,
    mirror_finding,
    parent_of,
    suspected_parents,
)

OK = Finding("ok", ok=1.0)
SNI = Finding("sni_block_rst", Level.confirmed, 0.99, 0.01)
MAYBE = Finding("sni_block_rst", Level.suspected, 0.5, 0.5)
REFUSED = Finding("connection_refused", blocked=0.5, down=0.5)
QUOTA = Finding("upstream_quota")


def path(hostname: str, address: str, finding: Finding, mirror: str = "m", cdn: str = ""):
    alive = finding in (OK, QUOTA)
    return PathFinding(mirror, hostname, address, 443, finding, alive, cdn)


def test_a_mirror_is_as_good_as_its_best_path():
    paths = [path("a.x.example", "1", SNI), path("b.x.example", "2", QUOTA)]
    assert mirror_finding(paths) is QUOTA
    assert mirror_finding([*paths, path("c.x.example", "3", OK)]) is OK


def test_a_mirror_without_a_working_path_has_the_verdict_that_most_of_them_share():
    paths = [
        path("a.x.example", "1", REFUSED),
        path("b.x.example", "1", MAYBE),
        path("b.x.example", "2", SNI),
    ]
    finding = mirror_finding(paths)
    assert (finding.verdict, finding.level) == ("sni_block_rst", Level.confirmed)
    assert finding.evidence == (Code.no_path_works(count=3),)
    assert mirror_finding([path("a", "1", REFUSED)]) is REFUSED
    assert mirror_finding([]).verdict == "unknown"


def test_a_blocked_name_condemns_the_name_and_not_the_address():
    paths = [
        path("a.x.example", "1", SNI),
        path("a.x.example", "2", SNI),
        path("b.x.example", "1", OK),
        path("b.x.example", "2", OK),
    ]
    assert hostname_findings(paths).keys() == {"a.x.example"}
    assert endpoint_findings(paths) == {}


def test_a_dead_address_condemns_the_address_and_not_the_names():
    paths = [
        path("a.x.example", "1", REFUSED),
        path("b.x.example", "1", REFUSED),
        path("a.x.example", "2", OK),
        path("b.x.example", "2", OK),
    ]
    assert hostname_findings(paths) == {}
    assert endpoint_findings(paths).keys() == {("1", 443)}


def test_a_single_blocked_name_says_nothing_about_its_address():
    assert endpoint_findings([path("a.x.example", "1", SNI)]) == {}


def test_a_cdn_is_suspected_only_with_two_mirrors_of_it():
    down = Finding("cdn_origin_error", down=1.0)
    one = path("a.x.example", "1", down, cdn="fastly")
    other = path("b.y.example", "2", down, mirror="n", cdn="fastly")
    assert cdn_findings([one]) == {}
    assert cdn_findings([one, other]).keys() == {"fastly"}
    assert cdn_findings([one, path("b.y.example", "2", OK, "n", "fastly")]) == {}
    assert cdn_findings([path("a", "1", down), path("b", "2", down, "n")]) == {}


@pytest.mark.parametrize(
    ("blocked", "parents"),
    [
        ({"1.alt.example.com": True, "2.alt.example.com": True}, {"alt.example.com"}),
        ({"1.alt.example.com": True, "2.alt.example.com": False}, set()),
        ({"1.alt.example.com": True}, set()),
        ({"a.one.example": True, "a.two.example": True}, set()),
    ],
)
def test_a_parent_is_suspected_when_all_of_its_names_that_were_tried_are_blocked(blocked, parents):
    assert suspected_parents(blocked) == parents


def test_a_parent_is_never_a_whole_top_level_domain():
    assert parent_of("a.example.com") == "example.com"
    assert parent_of("example.com") == "example.com"
    assert suspected_parents({"a.example": True, "b.example": True}) == frozenset()


def test_a_certificate_is_warned_about_two_weeks_before_it_ends():
    day = 86400.0
    assert days_left(10 * day, 3 * day) == 7
    assert ends_soon(13.9 * day, 0.0)
    assert not ends_soon(14.1 * day, 0.0)
    assert not ends_soon(None, 0.0)
