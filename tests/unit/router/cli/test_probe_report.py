"""A diagnosis as people read it."""

import json
import re
from dataclasses import replace

import pytest

from monitor.common.config import MirrorConfig
from monitor.diagnosis.evidence import Code
from monitor.diagnosis.finding import Finding, Level
from monitor.diagnosis.witnesses import unplugged
from monitor.engine.diagnose import Inspection, Untried
from monitor.probes.results import (
    DnsObservation,
    DnsReply,
    HttpAnswer,
    Operation,
    PathResult,
    StepResult,
    TlsEvidence,
    Way,
)
from router.cli.probe_report import across, hints, json_of, markdown_of, summary, text_of
from router.cli.probe_table import rows_of, time_of

NOW = 1_000_000.0
DAY = 86400.0
OK = Finding("ok", ok=1.0)
REFUSED = Finding("connection_refused", blocked=0.5, down=0.5)


def good(hostname: str, address: str, headers: dict[str, str] | None = None) -> PathResult:
    answer = HttpAnswer(401, headers or {}, b'{"error": {}}')
    connected = StepResult(Operation.connect, None, 0.02, address, hostname=hostname)
    asked = StepResult(Operation.http_round_trip, None, 0.1, address, http=answer)
    return PathResult(address, (connected, asked), hostname)


def refused(hostname: str, address: str) -> PathResult:
    step = StepResult(Operation.connect, "connection_refused", 0.02, address, hostname=hostname)
    return PathResult(address, (step,), hostname)


def inspection(*paths: PathResult, mirror: str = "m", **more) -> Inspection:
    names = dict.fromkeys(path.hostname for path in paths)
    resolutions = more.pop("resolutions", None) or [
        StepResult(Operation.resolve, None, 0.0, addresses=("1",), hostname=name) for name in names
    ]
    found = [(path, OK if path.last.failure is None else REFUSED) for path in paths]
    values = {
        "at": NOW,
        "block_test": None,
        "untried": (),
        "dns": (Finding("unknown"),) * len(resolutions),
    }
    return Inspection(
        mirror=MirrorConfig(mirror, f"https://{mirror}.example"),
        resolutions=tuple(resolutions),
        paths=tuple(found),
        **{**values, **more},
    )


def asides(seen: Inspection) -> list[str]:
    _, lines = summary(seen, "en")
    start = next((i for i, (name, _) in enumerate(lines) if name == "because"), len(lines))
    return [text for name, text in lines[start:] if name in ("because", "")]


def test_a_name_that_no_address_serves_is_told_from_an_address_that_serves_no_name():
    dead_name = inspection(
        good("a.example", "203.0.113.1"),
        good("a.example", "198.51.100.1"),
        refused("b.example", "203.0.113.1"),
        refused("b.example", "198.51.100.1"),
    )
    assert (
        "No address works for b.example: the connection is refused (connection_refused)."
        in asides(dead_name)
    )
    assert not any("No name works" in text for text in asides(dead_name))
    dead_address = inspection(
        good("a.example", "203.0.113.1"),
        refused("a.example", "198.51.100.1"),
        good("b.example", "203.0.113.1"),
        refused("b.example", "198.51.100.1"),
    )
    assert (
        "No name works on 198.51.100.1: the connection is refused (connection_refused)."
        in asides(dead_address)
    )
    assert not any("No address works" in text for text in asides(dead_address))


def test_a_path_that_fails_beside_one_that_works_is_told_and_the_mirror_is_ok():
    seen = inspection(good("a.example", "203.0.113.1"), refused("a.example", "198.51.100.1"))
    assert seen.ok
    assert seen.finding.verdict == "ok"
    assert "a.example on 198.51.100.1: the connection is refused (connection_refused)." in asides(
        seen
    )


def test_mirrors_on_one_network_share_fate():
    ray = {"cf-ray": "1-HKG"}
    one = inspection(good("a.example", "203.0.113.1", ray), mirror="one")
    two = inspection(good("b.example", "198.51.100.1", ray), mirror="two")
    neighbour = inspection(refused("c.example", "203.0.113.9"), mirror="three")
    assert across([one, two], "en") == ["one and two share fate: both are over cloudflare"]
    assert across([one, neighbour], "en") == ["one and three share fate: both are in one network"]
    assert across([two, neighbour], "en") == []
    assert across([one], "en") == []


def test_a_network_over_which_no_mirror_works_is_named():
    one = inspection(refused("a.example", "104.16.0.1"), mirror="one")
    two = inspection(refused("b.example", "172.67.0.1"), mirror="two")
    assert across([one, two], "en")[0] == (
        "over cloudflare no mirror works: the connection is refused (connection_refused)"
    )


def test_answers_of_resolvers_stand_in_the_table():
    reply = DnsReply("A", 0.02, addresses=tuple("12345"), chain=("x.edgekey.net",))
    resolution = StepResult(
        Operation.resolve,
        "dns_nxdomain_error",
        0.02,
        hostname="a.example",
        dns=(
            DnsObservation("system", "a.example", "dns_nxdomain_error", 0.01),
            DnsObservation("udp://192.0.2.53", "a.example", None, 0.02, (reply,)),
        ),
    )
    poisoned = Finding(
        "dns_poisoned",
        Level.suspected,
        0.9,
        0.05,
        0.05,
        evidence=(Code.as_written(text="Because."),),
    )
    seen = inspection(good("a.example", "203.0.113.1"), resolutions=[resolution], dns=(poisoned,),
        disbelieved=frozenset({("a.example", "udp://192.0.2.53")}),
    )  # fmt: skip
    rows = rows_of(seen, NOW, "en")
    assert rows[0].cells == (
        "resolve",
        "system resolver",
        "10 ms",
        "the resolver says that the host name does not exist  <- the problem",
    )  # fmt: skip
    assert rows[1].meaning == (
        "1, 2, 3, 4 and 1 more (alias of x.edgekey.net) (wrong address?)  <- the problem"
    )
    assert text_of(seen, NOW, "en")[2].startswith(
        "  Works, but DNS answers are probably forged on the path: "
    )
    assert asides(seen) == ["Because."]
    broken = inspection(
        refused("a.example", "203.0.113.1"), resolutions=[resolution], dns=(poisoned,)
    )
    forged = "DNS answers are probably forged on the path (dns_poisoned)"
    assert f"Beside that, {forged}: Because." in asides(broken)


@pytest.mark.parametrize(
    ("why", "text"),
    [
        (Untried.cut_off, "another name has just been cut off here"),
        (Untried.held, "a probe before this one may have shut it"),
        (Untried.too_many, "one too many"),
    ],
)
def test_untried_paths_are_reported(why, text):
    way = Way("b.example", "203.0.113.1")
    seen = inspection(refused("a.example", "203.0.113.1"), untried=((way, why),))
    assert rows_of(seen, NOW, "en")[-1].meaning == f"not tried: {text}"


def test_an_address_that_is_left_alone_is_told_where_the_others_fail():
    held = Code.cut_before_this(address="203.0.113.2:443", ago=20, left=175)
    failing = inspection(refused("a.example", "203.0.113.1"), held=(held,))
    assert failing.finding.verdict == "connection_refused"
    assert "203.0.113.2:443 was cut off 20 s ago" in asides(failing)[-1]
    working = inspection(good("a.example", "203.0.113.1"), held=(held,))
    assert held not in working.finding.evidence


@pytest.mark.parametrize(
    ("days", "text"),
    [
        (13.0, "13 days left: renew it soon"),
        (1.0, ", 1 day left: renew it soon"),
        (60.0, "60 days left"),
        (None, "certificate is good"),
    ],
)
def test_a_certificate_that_ends_soon_is_to_be_renewed(days, text):
    until = None if days is None else NOW + days * DAY
    tls = TlsEvidence(not_after=until, issuer="R11", version="TLSv1.3")
    step = StepResult(Operation.tls_handshake, None, 0.1, "203.0.113.1", tls=tls)
    seen = inspection(PathResult("203.0.113.1", (step,), "a.example"))
    assert rows_of(seen, NOW, "en")[-1].meaning.endswith(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (0.0123, "12 ms"), (4.04, "4.0 s"), (0.0004, "< 1 ms")]
)
def test_times_are_read_at_a_glance(seconds, text):
    assert time_of(seconds) == text


@pytest.mark.parametrize(
    ("verdict", "level", "what", "sure"),
    [
        ("ok", Level.none, "Works: it can be reached and the API answers (keys", "observed direct"),
        ("connection_refused", Level.none, "The connection is refused: nothing", "observed direct"),
        ("tls_timeout", Level.none, "The TLS handshake timed out", "its cause is not certain"),
        ("cert_expired", Level.confirmed, "The certificate has expired.", "1970-01-12T13:46:40Z."),
        ("sni_block_drop", Level.none, "is possibly blocked on the path", "Unsure"),
        ("sni_block_drop", Level.suspected, "is probably blocked on the path", "not proven. Proof"),
        ("sni_block_drop", Level.confirmed, "is blocked on the path", "Confirmed"),
    ],
)
def test_the_first_sentence_is_as_sure_as_the_finding_and_shows_no_numbers(
    verdict, level, what, sure
):
    path = refused("a.example", "203.0.113.1")
    seen = inspection(path)
    seen = replace(seen, paths=((path, Finding(verdict, level, 0.28, 0.72, rule="A")),))
    text = text_of(seen, NOW, "en")
    assert what in " ".join(text[2:4])
    (line,) = (line for line in text if line.startswith("  confidence"))
    assert sure in line
    marked = any(line.split()[:3] == ["verdict", verdict, "(suspected)"] for line in text)
    assert marked is (level is Level.suspected)
    assert not re.search(r"%|[Rr]ule", "".join(text))


def test_text_of_a_server_cannot_control_the_terminal_or_break_the_table():
    hostile = PathResult(
        "203.0.113.1",
        (
            StepResult(
                Operation.tls_handshake,
                "ssl_invalid_hostname",
                0.01,
                tls=TlsEvidence(verify_code=62, issuer="\x1b[2J|evil\n", subject_names=("a|b",)),
            ),
        ),
        "a.example",
    )
    seen = inspection(hostile)
    assert "\x1b" not in "".join(text_of(seen, NOW, "en"))
    assert not any(
        "\n" in line for line in [*text_of(seen, NOW, "en"), *markdown_of(seen, NOW, "en")]
    )
    row = next(line for line in markdown_of(seen, NOW, "en") if line.startswith("| handshake"))
    assert row.count("|") - row.count("\\|") == 5


def test_json_is_plain_and_whole():
    seen = inspection(good("a.example", "203.0.113.1", {"cf-ray": "1-HKG"}))
    data = json.loads(json.dumps(json_of(seen, NOW)))
    assert (data["verdict"], data["ok"], data["cdn"]) == ("ok", True, "cloudflare")
    assert data["paths"][0]["status"] == 401
    assert data["paths"][0]["failure"] is None
    assert data["steps"][-1]["meaning"] == (
        "status 401, as expected (the probe sends no key): works"
    )


def test_nothing_more_is_advised_where_all_is_said():
    assert hints(inspection(good("a.example", "203.0.113.1"))) == []


def test_another_explanation_has_a_line_of_its_own_and_the_good_address_is_named():
    good_tls = TlsEvidence(issuer="R11", version="TLSv1.3", verified=True)
    shaken = StepResult(Operation.tls_handshake, None, 0.1, "203.0.113.1", tls=good_tls)
    path = good("a.example", "203.0.113.1")
    path = replace(path, steps=(path.steps[0], shaken, path.steps[1]))
    poisoned = Finding(
        "dns_poisoned",
        Level.suspected,
        evidence=(Code.trusted_gives_public(), Code.may_be_stale()),
    )
    seen = inspection(
        path, dns=(poisoned,), disbelieved=frozenset({("a.example", "udp://192.0.2.53")})
    )
    for language, other in (("en", "other cause"), ("zh", "其他可能")):
        lines = summary(seen, language)[1]
        assert lines.count((other, Code.may_be_stale().said(language))) == 1
        assert sum(Code.may_be_stale().said(language) in text for _, text in lines) == 1
        assert any("`203.0.113.1`" in text for _, text in lines)


def test_the_network_and_the_measured_speed_stand_in_the_first_sentence():
    headers = {"server": "cloudflare", "cf-ray": "1-HKG"}
    answer = HttpAnswer(522, headers, b"<html>")
    step = StepResult(Operation.http_round_trip, None, 0.1, "203.0.113.1", http=answer)
    path = PathResult("203.0.113.1", (step,), "a.example")
    seen = replace(inspection(path), paths=((path, Finding("cdn_origin_error")),))
    assert text_of(seen, NOW, "en")[2].startswith("  The CDN (cloudflare) cannot reach its origin")
    slow = Finding(
        "throttled", Level.suspected, evidence=(Code.slow(count=5, speed=2.0, usual=100.0),)
    )
    told, lines = summary(
        replace(inspection(good("a.example", "203.0.113.1")), instance=slow, instance_at="now"),
        "en",
    )
    assert told.sentence("en") == (
        "Works, but probably throttled on the path or at the server: up to now, the last 5 "
        "transfers ran at 2.0 KB/s (median) instead of the usual 100 KB/s."
    )
    assert any("; this probe itself was normal" in text for _, text in lines)
    assert not any("until now" in text for _, text in lines)


def test_a_report_says_when_it_was_made():
    seen = inspection(good("a.example", "203.0.113.1"))
    at = "1970-01-12T13:46:40Z"
    assert text_of(seen, NOW, "en")[0] == f"m  https://m.example  {at}"
    assert at in markdown_of(seen, NOW, "en")[0]
    assert json_of(seen, NOW)["at"] == at


def test_a_false_answer_is_the_problem_and_not_what_its_address_shows():
    doh, local = "https://192.0.2.54/dns-query", "udp://192.0.2.53"
    resolution = StepResult(
        Operation.resolve, None, 0.02, hostname="a.example",
        dns=tuple(
            DnsObservation(by, "a.example", None, 0.02, (DnsReply("A", 0.02, addresses=(told,)),))
            for by, told in ((local, "203.0.113.9"), (doh, "203.0.113.1"))
        ),
    )  # fmt: skip
    wrong = StepResult(
        Operation.tls_handshake, "ssl_invalid_hostname", 0.1, "203.0.113.9",
        tls=TlsEvidence(verify_code=62),
    )  # fmt: skip
    seen = inspection(
        good("a.example", "203.0.113.1"),
        PathResult("203.0.113.9", (wrong,), "a.example"),
        resolutions=[resolution],
        dns=(Finding("dns_poisoned", Level.suspected),),
        disbelieved=frozenset({("a.example", local)}),
    )
    rows = rows_of(seen, NOW, "en")
    assert [row.way for row in rows if row.problem] == [local]
    assert rows[-1].meaning.endswith("(the address suspected above)")
    todo = tuple(text for _, text in summary(seen, "en")[1] if "monitor.dns.resolvers" in text)
    assert [text.split(" in ")[0] for text in todo] == [f"Move `{doh}` to the first place"]


def test_a_machine_without_a_link_is_the_problem_and_not_its_resolver():
    silent = StepResult(
        Operation.resolve, "dns_temporary_failure", 0.0, hostname="a.example",
        dns=(DnsObservation("system", "a.example", "dns_temporary_failure", 0.01),),
    )  # fmt: skip
    seen = inspection(resolutions=[silent], ours=unplugged(("eth0", "wlan0")))
    rows = rows_of(seen, NOW, "en")
    assert [(row.step, row.problem) for row in rows] == [("interfaces", True), ("resolve", False)]
    assert asides(seen) == ["All interfaces but lo are down: eth0, wlan0."]
    assert text_of(seen, NOW, "en")[2] == (
        "  This machine is offline: no network interface is connected."
    )


def test_the_day_on_which_a_certificate_expired_is_told():
    seen_tls = TlsEvidence(verify_code=10, not_after=NOW - 3 * DAY, issuer="R11")
    step = StepResult(
        Operation.tls_handshake, "ssl_invalid_certificate", 0.1, "203.0.113.1", tls=seen_tls
    )
    rows = rows_of(inspection(PathResult("203.0.113.1", (step,), "a.example")), NOW, "en")
    assert rows[-1].problem
    assert "expired on 1970-01-09, 3 days ago" in rows[-1].meaning
