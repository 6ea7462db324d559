"""Which fields pass in which direction."""

from __future__ import annotations

import pytest

from router.wire.fields import Rule, request_rules, response_rules, tokens, without


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        (b"User-Agent", Rule.look),
        (b"OpenAI-Organization", Rule.forward),
        (b"OpenAI_Beta", Rule.forward),
        (b"Content-Type", Rule.look),
        (b"HOST", Rule.take),
        (b"authorization", Rule.take),
        (b"Connection", Rule.take),
        (b"Keep-Alive", Rule.drop),
        (b"TE", Rule.drop),
        (b"Proxy-Whatever", Rule.drop),
        (b"X-Mirrorgate-Mirror", Rule.drop),
        (b"X-Mirrorgate-Timeout", Rule.take),
        (b"X-Forwarded-For", Rule.take),
        (b"X-Forwarded-Host", Rule.drop),
        (b"Cookie", Rule.drop),
        (b"x_forwarded_for", Rule.drop),
        (b"X_Api_Key", Rule.drop),
        (b"Content_Length", Rule.drop),
        (b"Transfer_Encoding", Rule.drop),
        (b"proxy_anything", Rule.drop),
        (b"x_mirrorgate_mirror", Rule.drop),
    ],
)
def test_fields_of_requests(name: bytes, rule: Rule) -> None:
    rules = request_rules()
    assert rules.of(name) == (rule, name.lower())
    assert rules.of(name) == (rule, name.lower()), "remembered"


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        (b"OpenAI-Processing-Ms", Rule.forward),
        (b"X-Request-Id", Rule.forward),
        (b"WWW-Authenticate", Rule.forward),
        (b"Content-Type", Rule.look),
        (b"Sec-WebSocket-Accept", Rule.look),
        (b"Content-Length", Rule.take),
        (b"Upgrade", Rule.take),
        (b"Set-Cookie", Rule.drop),
        (b"X-Accel-Redirect", Rule.drop),
        (b"X_Accel_Redirect", Rule.drop),
        (b"Access-Control-Allow-Origin", Rule.drop),
        (b"Strict-Transport-Security", Rule.drop),
        (b"X-Mirrorgate-Mirror", Rule.drop),
    ],
)
def test_fields_of_responses(name: bytes, rule: Rule) -> None:
    assert response_rules().of(name) == (rule, name.lower())


def test_the_number_of_remembered_spellings_is_bounded() -> None:
    rules = request_rules()
    for i in range(5000):
        assert rules.of(b"X-%d" % i) == (Rule.forward, b"x-%d" % i)
    assert len(rules.spellings) == 2048
    assert rules.of(b"Cookie")[0] is Rule.drop


def test_named_fields_are_removed_in_any_spelling() -> None:
    flat = [b"A", b": ", b"1", b"\r\n", b"X-b", b": ", b"2", b"\r\n", b"x-B", b": ", b"", b"\r\n"]
    assert without(flat, {b"x-b"}) == flat[:4]
    assert without(flat, set()) == flat


@pytest.mark.parametrize(
    ("value", "items"),
    [(b"", []), (b"A", [b"a"]), (b"a, B ,\tc", [b"a", b"b", b"c"]), (b",, a ,", [b"a"])],
)
def test_items_of_a_list_are_found(value: bytes, items: list[bytes]) -> None:
    assert tokens(value) == items
