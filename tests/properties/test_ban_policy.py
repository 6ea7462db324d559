"""Which refusals become a ban, held to a model that keeps every one of them."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.common.settings import read
from router.admission.ban_policy import BanPolicy, Offence, ban_seconds
from router.admission.client_address import LOCAL, parse
from router.admission.config import BanConfig
from router.admission.rejection_reports import (
    LONGEST_USER_AGENT,
    MOST_CLIENTS,
    RULES,
    Alert,
    Alerts,
)

CLIENTS = ["192.0.2.1/32", "192.0.2.2/32"]


def config(**table: object) -> BanConfig:
    return read(BanConfig, table)


def alert(second: int, network: str = CLIENTS[0], rule: str = RULES[0], agent: str = "x") -> Alert:
    return Alert(network, rule, second, agent, 1)


def banned_at(policy: BanPolicy, seconds: list[int]) -> list[int]:
    """The seconds in which an offence was complete."""
    return [second for second in seconds if policy.hear(alert(second)) is not None]


def test_as_many_seconds_as_it_takes_and_not_as_many_refusals():
    policy = BanPolicy(config(violations=3, within=60))
    assert banned_at(policy, [1, 1, 1, 1, 2, 2, 2]) == []
    assert banned_at(policy, [3]) == [3]


def test_seconds_too_far_apart_do_not_add_up():
    policy = BanPolicy(config(violations=3, within=60))
    assert banned_at(policy, [0, 30, 60, 90, 120, 150]) == []
    assert banned_at(policy, [151, 152]) == [151]


def test_a_burst_with_its_retries_is_no_offence_by_default():
    assert banned_at(BanPolicy(config()), list(range(29))) == []


def test_half_a_minute_of_every_second_is_one_by_default():
    assert banned_at(BanPolicy(config()), list(range(1000, 1060))) == [1029, 1059]


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(CLIENTS)), max_size=80),
    st.integers(1, 5),
    st.integers(1, 20),
)
def test_it_agrees_with_a_judge_who_forgets_nothing(
    steps: list[tuple[int, str]], violations: int, within: int
):
    policy = BanPolicy(config(violations=violations, within=within))
    seen: dict[str, set[int]] = {network: set() for network in CLIENTS}
    now = 100
    for step, network in steps:
        now += step
        seen[network].add(now)
        recent = {second for second in seen[network] if second > now - within}
        offence = policy.hear(alert(now, network))
        assert (offence is not None) == (len(recent) >= violations)
        if offence is not None:
            seen[network].clear()


def test_an_offence_names_what_was_broken_most_and_who_it_said_it_was_at_first():
    policy = BanPolicy(config(violations=3, within=60))
    policy.hear(alert(1, rule="rate_limit_exceeded", agent="first"))
    policy.hear(alert(2, rule="malformed_request", agent="second"))
    offence = policy.hear(alert(3, rule="malformed_request", agent="third"))
    assert offence == Offence(CLIENTS[0], "malformed_request", "first", 3)


def test_a_forgiven_client_begins_anew():
    policy = BanPolicy(config(violations=2, within=60))
    policy.hear(alert(1))
    policy.forget(CLIENTS[0])
    assert policy.hear(alert(2)) is None
    policy.forget_all()
    assert policy.hear(alert(3)) is None


def test_a_crowd_of_offenders_is_bounded_and_who_goes_on_is_kept():
    policy = BanPolicy(config(violations=5, within=60), most=100)
    offences = []
    for second in range(5):
        for i in range(90):
            assert policy.hear(alert(second, f"10.{second}.0.{i}/32")) is None
        offences.append(policy.hear(alert(second)))
    assert [offence is not None for offence in offences] == [False] * 4 + [True]
    assert repr(policy) == "<BanPolicy of 99 clients>"


@given(st.integers(1, 200), st.integers(0, 1000))
def test_bans_double_up_to_the_longest_with_a_little_chance(times: int, seed: int):
    settings_ = config(**{"for": "1h", "max": "30d"})
    seconds = ban_seconds(settings_, times, random.Random(seed))
    plain = min(3600.0 * 2.0 ** (times - 1), settings_.max)
    assert plain <= seconds <= min(plain * 1.1, settings_.max)


def test_one_client_makes_one_alert_a_second():
    alerts, client, other = Alerts(), parse("192.0.2.1"), parse("2001:db8::1")
    assert client is not None
    assert other is not None
    for moment in (10.0, 10.2, 10.9):
        alerts.note(client, "rate_limit_exceeded", b"curl/8", moment)
    alerts.note(client, "too_many_connections", b"other", 11.0)
    alerts.note(other, "malformed_request", b"", 11.0)
    alerts.note(LOCAL, "malformed_request", b"", 11.0)
    alerts.note(other, "unknown_url", b"", 12.0)
    assert alerts.take() == [
        ("192.0.2.1/32", "rate_limit_exceeded", 10, "curl/8", 3),
        ("192.0.2.1/32", "too_many_connections", 11, "other", 1),
        ("2001:db8::/64", "malformed_request", 11, "", 1),
    ]
    assert alerts.take() == []


def test_user_agents_are_bounded_and_made_readable():
    alerts, client = Alerts(), parse("192.0.2.1")
    assert client is not None
    alerts.note(client, RULES[0], b"a\x1b[31m\r\n\xff" + b"x" * 10_000, 1.0)
    (kept,) = alerts.take()
    assert kept.user_agent.startswith("a?[31m???x")
    assert len(kept.user_agent) == LONGEST_USER_AGENT


def test_a_flood_of_addresses_between_two_messages_is_bounded():
    alerts = Alerts()
    for i in range(MOST_CLIENTS + 500):
        client = parse(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}")
        assert client is not None
        alerts.note(client, RULES[0], b"", 1.0)
    assert len(alerts.take()) == MOST_CLIENTS
