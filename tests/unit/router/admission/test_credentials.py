"""Keys: whose they are, where they may come in, and that the caller's never reaches a mirror."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.admission.credentials import (
    CHECKSUM_LENGTH,
    SECRET_LENGTH,
    Caller,
    checksum,
    credentials,
    key_fields,
    looks_issued,
)

LETTERS = string.ascii_letters + string.digits
SECRET = "a1" * (SECRET_LENGTH // 2)
ISSUED = ("mg-" + SECRET + checksum(SECRET)).encode()
MIRROR_KEY = b"sk-of-the-mirror"
CARRIERS = ["authorization", "api-key", "x-api-key", "mj-api-secret", "sec-websocket-protocol"]


def _value(carrier: str, key: bytes) -> bytes:
    if carrier == "authorization":
        return b"Bearer " + key
    if carrier == "sec-websocket-protocol":
        return b"realtime, openai-insecure-api-key." + key + b", openai-beta.realtime-v1"
    return key


def _sent(look: dict[bytes, bytes], mirror_key: bytes = MIRROR_KEY) -> dict[bytes, bytes]:
    flat = key_fields(credentials(look, "mg-"), look, mirror_key)
    assert flat[1::4] == [b": "] * (len(flat) // 4)
    assert flat[3::4] == [b"\r\n"] * (len(flat) // 4)
    return dict(zip(flat[0::4], flat[2::4], strict=True))


def test_the_checksum_is_crc32_in_base_62() -> None:
    assert checksum("") == "000000"
    assert checksum("a") == "4GEHKN"  # CRC-32 of "a" is 0xe8b7be43
    assert len(checksum(SECRET)) == CHECKSUM_LENGTH


@given(st.text(LETTERS, min_size=SECRET_LENGTH, max_size=SECRET_LENGTH), st.data())
def test_an_issued_key_is_recognised_and_a_mistyped_one_is_not(
    secret: str, data: st.DataObject
) -> None:
    key = "mg-" + secret + checksum(secret)
    assert looks_issued(key.encode(), "mg-")
    place = data.draw(st.integers(0, len(key) - 1))
    other = data.draw(st.sampled_from(LETTERS).filter(lambda letter: letter != key[place]))
    assert not looks_issued((key[:place] + other + key[place + 1 :]).encode(), "mg-")


@pytest.mark.parametrize(
    "key", [b"", b"mg-", ISSUED[:-1], ISSUED + b"0", b"hk" + ISSUED[2:], ISSUED[:-1] + b"\xff"]
)
def test_other_keys_are_not_issued_ones(key: bytes) -> None:
    assert not looks_issued(key, "mg-")


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_callers_own_key_stays_in_its_field_as_it_came(carrier: str) -> None:
    look = {carrier.encode(): _value(carrier, b"sk-mine")}
    shown = credentials(look, "mg-")
    assert (shown.caller, shown.keys) == (Caller.own, (b"sk-mine",))
    assert _sent(look) == look


@pytest.mark.parametrize("carrier", CARRIERS)
def test_an_issued_key_is_exchanged_in_its_field(carrier: str) -> None:
    look = {carrier.encode(): _value(carrier, ISSUED)}
    assert credentials(look, "mg-").caller is Caller.issued
    assert _sent(look) == {carrier.encode(): _value(carrier, MIRROR_KEY)}


@pytest.mark.parametrize(
    "look",
    [
        {},
        {b"authorization": b""},
        {b"authorization": b"Bearer"},
        {b"authorization": b"Bearer   "},
        {b"x-api-key": b" "},
        {b"sec-websocket-protocol": b"realtime, openai-insecure-api-key."},
    ],
)
def test_a_caller_without_a_key_is_anonymous_and_gets_the_mirrors(look: dict[bytes, bytes]) -> None:
    assert credentials(look, "mg-").caller is Caller.anonymous
    sent = _sent(look)
    assert sent[b"authorization"] == b"Bearer " + MIRROR_KEY
    assert sent.get(b"sec-websocket-protocol") in (None, b"realtime")


@pytest.mark.parametrize("scheme", [b"Bearer ", b"bearer ", b"BEARER  ", b"  Bearer\t", b""])
def test_the_scheme_is_read_in_any_spelling(scheme: bytes) -> None:
    assert credentials({b"authorization": scheme + b"sk-x"}, "mg-").keys == (b"sk-x",)


@pytest.mark.parametrize(
    "value", [b"Basic", b"Basic ", b"Basic a", b"basic \xff\xfe", b"Basic ==="]
)
def test_a_password_that_is_none_is_a_key_of_the_callers_own(value: bytes) -> None:
    shown = credentials({b"authorization": value}, "mg-")
    assert (shown.caller, shown.keys) == (Caller.own, (value.strip(),))


def test_every_key_that_would_be_sent_is_known() -> None:
    protocols = b"openai-insecure-api-key., openai-insecure-api-key.b,openai-insecure-api-key.c"
    look = {b"authorization": b"Bearer a", b"sec-websocket-protocol": protocols}
    assert credentials(look, "mg-").keys == (b"a", b"b", b"c")


def test_a_key_is_not_in_the_text_of_credentials() -> None:
    assert "sk-x" not in repr(credentials({b"api-key": b"sk-x"}, "mg-"))


@given(st.dictionaries(st.sampled_from(CARRIERS), st.booleans(), min_size=1))
def test_beside_an_issued_key_no_key_of_the_caller_leaves(carriers: dict[str, bool]) -> None:
    issued = {name for name, is_issued in carriers.items() if is_issued}
    look = {
        name.encode(): _value(name, ISSUED if name in issued else b"sk-mine") for name in carriers
    }
    sent = b" ".join(_sent(look).values())
    assert (b"sk-mine" in sent) == (not issued)
    assert ISSUED not in sent
    assert sent.count(MIRROR_KEY) == bool(issued)
