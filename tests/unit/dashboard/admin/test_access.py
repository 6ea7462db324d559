"""Access to the TCP admin listener, and inputs of the admin API."""

from collections.abc import Callable
from typing import Any

import pytest

from dashboard.admin import inputs
from dashboard.admin.access import refusal

TOKEN = "a-long-token"


def asked(**more) -> str:
    usual = {
        "token": "",
        "authorization": "",
        "peer": "127.0.0.1",
        "host": "127.0.0.1:8082",
        "forwarded": False,
    }
    return refusal(**{**usual, **more})


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"peer": "::1", "host": "[::1]:8082"},
        {"peer": "::ffff:127.0.0.1"},
        {"host": "localhost:8082"},
        {"host": "LOCALHOST"},
        {"host": "localhost.:8082"},
        {"token": TOKEN, "authorization": f"Bearer {TOKEN}", "peer": "192.0.2.7", "host": "m.x"},
        {"token": TOKEN, "authorization": f"bearer {TOKEN}"},
        {"token": "schlüssel", "authorization": "Bearer schlüssel"},
    ],
)
def test_this_machine_or_the_token_is_let_in(more):
    assert asked(**more) == ""


@pytest.mark.parametrize(
    ("more", "hint"),
    [
        ({"peer": "192.0.2.7"}, "metrics_token"),
        ({"peer": ""}, "metrics_token"),
        ({"forwarded": True}, "metrics_token"),
        ({"host": "rebound.example.com"}, "127.0.0.1"),
        ({"host": "127.0.0.1.example.com:8082"}, "127.0.0.1"),
        ({"host": "localhost.evil.example"}, "127.0.0.1"),
        ({"host": "[::1]x"}, "127.0.0.1"),
        ({"host": "[::1].evil.example:8082"}, "127.0.0.1"),
        ({"host": "localhost:8082@evil.example"}, "127.0.0.1"),
        ({"host": "localhost:evil.example"}, "127.0.0.1"),
        ({"host": "127.0.0.1, evil.example"}, "127.0.0.1"),
        ({"host": "localhost.."}, "127.0.0.1"),
        ({"host": ""}, "127.0.0.1"),
        ({"token": TOKEN}, "Bearer"),
        ({"token": TOKEN, "authorization": "Bearer wrong"}, "Bearer"),
        ({"token": TOKEN, "authorization": TOKEN}, "Bearer"),
        ({"token": TOKEN, "authorization": "Bearer schlüssel"}, "Bearer"),
        ({"token": TOKEN, "authorization": "Bearer \udcff"}, "Bearer"),  # a byte that is no UTF-8
    ],
)
def test_others_are_refused_with_what_to_do(more, hint):
    assert hint in asked(**more)


@pytest.mark.parametrize(
    "value", [0, -1, True, "60", float("inf"), float("nan"), 1e12, [], {}, 10**400]
)
def test_a_time_must_be_seconds_above_zero(value):
    with pytest.raises(inputs.BadInput, match=r"^for: "):
        inputs.seconds(value)


def test_a_time_may_be_absent():
    assert inputs.seconds(None) is None
    assert inputs.seconds(3600) == 3600.0


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("2001:db8::7", "2001:db8::/64"),
    ],
)
def test_a_network_is_named_as_bans_name_it(text, network):
    assert inputs.network(text) == network


@pytest.mark.parametrize(
    "value", ["", None, 7, "0.0.0.0/0", "::/0", "10.0.0.0/7", "x", "1.2.3.4/33", "1" * 100]
)
def test_invalid_and_too_wide_networks_are_refused(value):
    with pytest.raises(inputs.BadInput, match=r"^network: "):
        inputs.network(value)


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b"[" * 100000, b'"x"', b'{"other": 1}'])
def test_a_body_that_is_not_the_expected_object_is_refused(body):
    with pytest.raises(inputs.BadInput):
        inputs.table(body, ("for",))


def test_reasons_wishes_and_limits_are_checked():
    assert inputs.reason(None) == inputs.reason(" ") == "operator"
    assert inputs.reason("spam\x1b[0m") == "spam[0m"
    refused: list[tuple[Callable[[Any], object], object]] = [
        (inputs.reason, "x" * 201),
        (inputs.reason, 5),
        (inputs.override, "rest"),
        (inputs.override, None),
        (inputs.override, []),
        (inputs.limit, "0"),
        (inputs.limit, "x"),
        (inputs.limit, "²"),
        (inputs.limit, "10001"),
    ]
    for check, value in refused:
        with pytest.raises(inputs.BadInput):
            check(value)
