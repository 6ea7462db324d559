"""Which failure belongs to which incident: the cases by name."""

from monitor.health.incidents import (
    REOPENED_WITHIN,
    TOGETHER_WITHIN,
    Failure,
    Incident,
    Part,
    blank,
    failed,
    recovered,
    refined,
    still_relevant,
)


def fall(
    known: list[Incident], mirror: str, at: float, verdict: str = "tls_reset", cdn: str = ""
) -> Incident:
    """Let a mirror of ten go down; the incident replaces its former self in `known`."""
    failure = Failure(mirror, at, verdict, cdn)
    near = still_relevant(known, at)
    changed = failed(near, failure, 10, blank(f"i{len(known)}", "here", failure))
    assert changed is not None
    known[:] = [i for i in known if i.id != changed.id] + [changed]
    return changed


def rise(known: list[Incident], mirror: str, at: float) -> Incident:
    changed = recovered(known, mirror, at)
    assert changed is not None
    known[:] = [i for i in known if i.id != changed.id] + [changed]
    return changed


def test_it_begins_with_the_first_bad_probe_and_ends_with_the_recovery():
    known: list[Incident] = []
    begun = fall(known, "hk", 100.0)
    assert (begun.started_at, begun.is_open, begun.impact) == (100.0, True, "minor")
    ended = rise(known, "hk", 160.0)
    assert (ended.id, ended.resolved_at) == (begun.id, 160.0)
    assert ended.parts == (Part("hk", "tls_reset", 100.0, 160.0, down=60.0),)


def test_mirrors_that_fail_of_one_cause_in_the_same_minutes_share_one():
    known: list[Incident] = []
    for index, mirror in enumerate("abcde"):
        last = fall(known, mirror, index * TOGETHER_WITHIN)
    assert len(known) == 1
    assert last.impact == "major"
    rise(known, "a", 5000)
    assert known[0].is_open
    for mirror in "bcde":
        rise(known, mirror, 6000)
    assert known[0].resolved_at == 6000


def test_other_causes_and_other_times_are_other_incidents():
    known: list[Incident] = []
    fall(known, "a", 0)
    fall(known, "b", 1, verdict="ip_down")
    fall(known, "c", TOGETHER_WITHIN + 2)
    assert [len(incident.parts) for incident in known] == [1, 1, 1]


def test_mirrors_on_one_cdn_share_their_fate_whatever_it_looks_like():
    known: list[Incident] = []
    fall(known, "a", 0, "tls_reset", "cloudflare")
    fall(known, "b", 30, "connect_timeout", "cloudflare")
    fall(known, "c", 40, "connect_timeout", "fastly")
    assert [[part.mirror for part in incident.parts] for incident in known] == [["a", "b"], ["c"]]


def test_flapping_opens_it_again_instead_of_making_another():
    known: list[Incident] = []
    fall(known, "hk", 0)
    rise(known, "hk", 60)
    again = fall(known, "hk", 60 + REOPENED_WITHIN, verdict="connect_timeout")
    assert len(known) == 1
    assert again.is_open
    assert again.parts == (Part("hk", "tls_reset", 0, None, 2, 60 + REOPENED_WITHIN, 60),)
    rise(known, "hk", 400)
    fall(known, "hk", 401 + REOPENED_WITHIN)
    assert len(known) == 2


def test_all_mirrors_at_once_is_critical():
    failure = Failure("only", 0.0, "ip_down")
    incident = failed([], failure, 1, blank("i", "here", failure))
    assert incident is not None
    assert incident.impact == "critical"


def test_a_mirror_that_is_down_already_changes_nothing():
    known: list[Incident] = []
    fall(known, "hk", 0)
    failure = Failure("hk", 5.0, "ip_down")
    assert failed(known, failure, 10, blank("x", "here", failure)) is None
    assert recovered(known, "us", 5.0) is None


def test_a_later_cause_refines_the_incident_and_its_effects_do_not():
    known: list[Incident] = []
    fall(known, "hk", 0, "tls_reset")
    fall(known, "us", 9, "tls_reset")
    for verdict, said in (
        ("residual_block", "tls_reset"),
        ("tls_block", "tls_block"),
        ("sni_block_rst", "sni_block_rst"),
        ("residual_block", "sni_block_rst"),
        ("tls_timeout", "sni_block_rst"),
    ):
        changed = refined(known, "hk", verdict, 20.0)
        known = known if changed is None else [changed]
        assert [part.verdict for part in known[0].parts] == [said, "tls_reset"]
        assert known[0].verdict == said
    (changed,) = [refined(known, "us", "sni_block_fin", 30.0)]
    assert changed is not None
    assert (changed.verdict, changed.updated_at) == ("sni_block_rst", 30.0)
    rise(known, "hk", 40.0)
    assert refined(known, "hk", "sni_block_drop", 50.0) is None


def test_a_clock_that_was_set_back_makes_no_part_begin_before_its_incident():
    known: list[Incident] = []
    fall(known, "hk", 1000.0)
    rise(known, "hk", 1000.0)
    again = fall(known, "hk", 999.0)
    assert (again.started_at, again.parts[0].since) == (999.0, 999.0)


def test_downtime_is_the_sum_of_the_outages_and_not_the_span_from_first_to_last():
    known: list[Incident] = []
    for start in (0, 100, 200):
        fall(known, "hk", start)
        assert known[0].parts[0].downtime(start + 4) == 10 * (start // 100) + 4
        rise(known, "hk", start + 10)
        assert known[0].parts[0].downtime(1000) == 10 * (start // 100 + 1)
    part = known[0].parts[0]
    assert (part.times, part.since, part.until) == (3, 0, 210)


def test_the_downtime_of_what_an_earlier_release_kept_is_not_known():
    went_on = Part("hk", "tls_reset", 0.0, None, 3, None, None)
    known = [Incident("i", "here", "tls_reset", "", "minor", 0.0, None, 0.0, (went_on,))]
    assert went_on.downtime(50.0) is None
    assert rise(known, "hk", 60.0).parts[0].downtime(100.0) is None
    assert fall(known, "hk", 70.0).parts[0].downtime(100.0) is None
