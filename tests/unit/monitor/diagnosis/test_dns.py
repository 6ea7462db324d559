"""Meaning of the answers of several resolvers."""

import pytest

from monitor.diagnosis.dns import (
    Knowledge,
    Strikes,
    forged_in,
    is_bogon,
    judge_dns,
    judge_resolvers,
    usable_addresses,
)
from monitor.diagnosis.finding import Level
from monitor.diagnosis.timing import NORMAL
from monitor.probes.results import DnsObservation, DnsReply

TRUE, OTHER, STRANGE = "93.184.216.34", "93.184.216.35", "8.7.198.46"
LOCAL, DOH = "system", "https://dns.example/dns-query"


def answer(*addresses: str, seconds: float = 0.02, kind: str = "A") -> DnsReply:
    return DnsReply(kind, seconds, addresses=addresses)


def seen(resolver: str, *replies: DnsReply, failure: str | None = None) -> DnsObservation:
    return DnsObservation(resolver, "mirror.example", failure, 0.02, replies)


def failed(resolver: str, failure: str = "dns_nxdomain_error") -> DnsObservation:
    return seen(resolver, failure=failure)


GOOD_DOH = seen(DOH, answer(TRUE))


def knowing(**more) -> Knowledge:
    more = {name: frozenset(of) if isinstance(of, tuple) else of for name, of in more.items()}
    return Knowledge(**{"trusted": frozenset({DOH}), **more})


@pytest.mark.parametrize(
    ("observations", "known", "verdict", "rule", "weights"),
    [
        ([seen(LOCAL, answer(STRANGE)), GOOD_DOH], knowing(forged=(STRANGE,)),
         "dns_poisoned", "dns-2", (1, 0, 0)),
        ([seen(LOCAL, answer("0.0.0.0")), seen(DOH, answer("::", kind="AAAA"))],
         knowing(allow_private=True), "dns_down", "dns-4", (0.1, 0.9, 0)),
        ([seen(LOCAL, answer("0.0.0.0")), GOOD_DOH], knowing(allow_private=True),
         "dns_poisoned", "dns-4", (0.95, 0.05, 0)),
        ([seen(LOCAL, answer("127.0.0.1", seconds=0.003), answer(TRUE, seconds=0.12)), GOOD_DOH],
         knowing(), "dns_injection", "dns-1", (0.98, 0.02, 0)),
        ([seen(LOCAL, answer(STRANGE, seconds=0.003), answer(TRUE, seconds=0.12)), GOOD_DOH],
         knowing(refused=(STRANGE,), forged=(STRANGE,)), "dns_injection", "dns-1", (0.98, 0.02, 0)),
        ([seen(LOCAL, answer(OTHER))], knowing(forged=(OTHER,), verified=(OTHER,)),
         "ok", "dns-3", (0, 0, 1)),
        ([seen(LOCAL, answer(OTHER)), GOOD_DOH], knowing(verified=(OTHER, TRUE)),
         "ok", "dns-3", (0, 0, 1)),
        ([seen(LOCAL, answer("10.0.0.1")), GOOD_DOH], knowing(),
         "dns_poisoned", "dns-4", (0.95, 0.05, 0)),
        ([seen(LOCAL, answer("2001:0:1::1", kind="AAAA")), GOOD_DOH], knowing(),
         "dns_poisoned", "dns-4", (0.95, 0.05, 0)),
        ([seen(LOCAL, answer("10.0.0.1")), seen(DOH, answer("10.0.0.1"))], knowing(),
         "dns_bogon", "dns-4", (0.1, 0.9, 0)),
        ([seen(LOCAL, answer("10.0.0.1"))], knowing(), "dns_bogon", "dns-4", (0.1, 0.9, 0)),
        ([seen(LOCAL, answer(STRANGE)), GOOD_DOH], knowing(refused=(STRANGE,)),
         "dns_poisoned", "dns-5", (0.9, 0.05, 0.05)),
        ([seen(LOCAL, answer(TRUE)), GOOD_DOH], knowing(refused=(TRUE,)),
         "ok", "dns-6", (0, 0, 0.9)),
        ([seen(LOCAL, answer(TRUE)), GOOD_DOH], knowing(), "ok", "dns-6", (0, 0, 0.9)),
        ([seen(LOCAL, answer(OTHER)), GOOD_DOH], knowing(cdn_of=lambda address: "fastly"),
         "ok", "dns-6", (0.2, 0, 0.8)),
        ([failed(LOCAL), GOOD_DOH], knowing(), "dns_blocked", "dns-7", (0.9, 0.1, 0)),
        ([failed(LOCAL, "generic_timeout_error"), GOOD_DOH], knowing(),
         "dns_blocked", "dns-7", (0.9, 0.1, 0)),
        ([failed(LOCAL), failed(DOH)], knowing(), "dns_down", "dns-7", (0.1, 0.9, 0)),
        ([failed(LOCAL)], Knowledge(), "dns_down", "dns-7", (0.5, 0.5, 0)),
        ([seen(LOCAL, answer(STRANGE)), GOOD_DOH], knowing(),
         "dns_inconsistent", "dns-8", (0.3, 0, 0)),
        ([seen(LOCAL, answer(TRUE))], Knowledge(), "ok", "dns-8", (0, 0, 0)),
    ],
)  # fmt: skip
def test_the_first_rule_that_matches_decides(observations, known, verdict, rule, weights):
    finding = judge_resolvers(observations, known)[LOCAL]
    assert (finding.verdict, finding.rule) == (verdict, rule)
    assert (finding.blocked, finding.down, finding.ok) == weights
    assert finding.evidence
    assert judge_dns(observations, known).verdict == verdict


def test_resolvers_that_merely_disagree_are_never_called_forgers():
    observations = [seen(LOCAL, answer(STRANGE)), seen("udp://1.1.1.1", answer(OTHER)), GOOD_DOH]
    finding = judge_dns(observations, knowing())
    assert finding.verdict == "dns_inconsistent"
    assert finding.level is Level.none


UDP = "udp://192.0.2.53"


@pytest.mark.parametrize(
    "replies",
    [
        [answer(STRANGE), answer(TRUE)],
        [answer(TRUE), answer(STRANGE)],
        [DnsReply("A", 0.003, rcode="NXDOMAIN"), answer(TRUE)],
        [answer(TRUE), DnsReply("A", 0.4)],
    ],
)
def test_a_second_answer_is_an_injected_one_whatever_it_says(replies):
    finding = judge_dns([seen(UDP, *replies)], Knowledge(verified=frozenset({TRUE})))
    assert (finding.verdict, finding.level) == ("dns_injection", Level.suspected)


@pytest.mark.parametrize(
    "known",
    [Knowledge(verified=frozenset({TRUE, OTHER})), Knowledge(cdn_of=lambda address: "fastly")],
)
def test_two_true_answers_of_a_content_network_are_no_injection(known):
    assert judge_dns([seen(UDP, answer(TRUE), answer(OTHER))], known).verdict == "ok"


def test_answers_about_both_kinds_of_addresses_are_no_second_answers():
    both = seen(UDP, answer(TRUE), answer("2606:4700::1", kind="AAAA"))
    assert judge_dns([both], Knowledge()).verdict == "ok"


def test_the_same_answer_in_another_order_is_no_second_answer():
    twice = seen("udp://192.0.2.53", answer(TRUE, OTHER), answer(OTHER, TRUE))
    assert judge_dns([twice], Knowledge(refused=frozenset({OTHER}))).verdict != "dns_injection"


def test_private_answers_are_fine_where_they_are_allowed():
    observations = [seen(LOCAL, answer("127.0.0.1"))]
    known = Knowledge(allow_private=True)
    assert judge_dns(observations, known).verdict == "ok"
    assert usable_addresses(observations, known) == ("127.0.0.1",)


def test_nothing_asked_is_nothing_known():
    assert judge_dns([], Knowledge()).verdict == "unknown"


def test_addresses_of_liars_and_bogus_ones_are_left_out_and_trusted_ones_go_first():
    liar = seen(LOCAL, answer(STRANGE, "10.0.0.1"))
    honest = seen("udp://192.0.2.53", answer(OTHER, "127.0.0.1"))
    known = knowing(forged=(STRANGE,), pinned=("192.88.99.1",))
    found = usable_addresses([liar, honest, GOOD_DOH], known)
    assert STRANGE not in found
    assert found.index(TRUE) < found.index(OTHER)
    assert not any(map(is_bogon, set(found) - {"192.88.99.1"}))


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "100.64.0.1", "198.18.0.1", "240.0.0.1", "192.0.2.1", "0.0.0.0",
     "::ffff:10.0.0.1", "2001::1", "2001:0:4137:9e76::1", "fe80::1", "::1", "224.0.0.1", "x"],
)  # fmt: skip
def test_a_bogon_is_what_no_public_server_has(address):
    assert is_bogon(address)


@pytest.mark.parametrize("address", [TRUE, "2606:4700::1", "::ffff:93.184.216.34"])
def test_public_addresses_are_none(address):
    assert not is_bogon(address)


@pytest.mark.parametrize(
    ("replies", "forged"),
    [
        ((answer(STRANGE), answer(TRUE)), {STRANGE}),
        ((answer(STRANGE),), set()),
        ((answer(STRANGE), answer(OTHER)), set()),
        ((answer(STRANGE), answer(TRUE, kind="AAAA")), set()),
        ((answer(OTHER), answer(TRUE)), set()),
    ],
)
def test_an_address_is_forged_that_came_beside_the_mirrors_own_and_is_somebody_elses(
    replies, forged
):
    known = knowing(refused=(STRANGE,), verified=(TRUE,))
    assert forged_in([seen(LOCAL, *replies)], known) == forged


def test_a_resolver_that_lied_twice_is_asked_last_for_ten_minutes():
    strikes = Strikes({}).struck("a", 0.0, NORMAL)
    assert not strikes.demoted("a", 1.0, NORMAL)
    strikes = strikes.struck("a", 10.0, NORMAL)
    assert strikes.in_order(("a", "b", "c"), 11.0, NORMAL) == ("b", "c", "a")
    assert strikes.in_order(("a", "b"), 599.0, NORMAL) == ("b", "a")
    assert strikes.in_order(("a", "b"), 700.0, NORMAL) == ("a", "b")


def test_the_strikes_kept_for_a_resolver_are_bounded():
    strikes = Strikes({})
    for at in range(100):
        strikes = strikes.struck("a", float(at), NORMAL)
    assert len(strikes.times["a"]) == NORMAL.resolver_strikes
