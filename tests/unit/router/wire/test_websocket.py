"""The WebSocket handshake."""

from __future__ import annotations

import pytest

from router.wire.response import BadResponse, ResponseHead
from router.wire.websocket import accept_value, check_switch, valid_key

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def _switch(**changed: bytes | None) -> ResponseHead:
    look: dict[str, bytes | None] = {
        "sec-websocket-accept": ACCEPT,
        "connection": b"Upgrade",
        "upgrade": b"websocket",
    }
    look |= {name.replace("_", "-"): value for name, value in changed.items()}
    kept = {name.encode(): value for name, value in look.items() if value is not None}
    return ResponseHead(101, b"", [], kept)


def test_the_accept_value_is_that_of_the_rfcs_example() -> None:
    assert accept_value(KEY) == ACCEPT


@pytest.mark.parametrize("key", [b"", b"x", b"dGhlIHNhbXBsZQ==", KEY[:-2], KEY + b"=", b"!" * 24])
def test_a_key_is_sixteen_bytes_in_base64(key: bytes) -> None:
    assert valid_key(KEY)
    assert not valid_key(key)


def test_a_switch_that_answers_the_key_is_let_through() -> None:
    check_switch(KEY, _switch(), plain=True)
    check_switch(KEY, _switch(connection=b"keep-alive, upgrade", upgrade=b"WebSocket"), plain=True)


@pytest.mark.parametrize(
    "changed",
    [
        {"sec_websocket_accept": None},
        {"sec_websocket_accept": ACCEPT[:-1]},
        {"sec_websocket_accept": ACCEPT.lower()},
        {"upgrade": None},
        {"upgrade": b"h2c"},
        {"upgrade": b"websocket, h2c"},
        {"connection": None},
        {"connection": b"close"},
    ],
)
def test_any_other_switch_is_refused(changed: dict[str, bytes | None]) -> None:
    with pytest.raises(BadResponse):
        check_switch(KEY, _switch(**changed), plain=True)


def test_a_switch_that_nobody_asked_for_is_refused() -> None:
    with pytest.raises(BadResponse, match="unasked"):
        check_switch(None, _switch(), plain=True)
