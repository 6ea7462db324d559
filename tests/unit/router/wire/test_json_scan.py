"""The scanner of JSON bodies against `json.loads`, and its limits."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.wire.json_scan import MOST_MEMBERS, fold, members, storable, top_values
from router.wire.top_values import TopValues
from tests.testkit.reference_readers import JSON_NAMES, check_json_scan

KEYS = st.text(max_size=6) | st.sampled_from(
    [*JSON_NAMES, '"model"', "model\\", "{", "]", "Model", '\\"', "\ud800", "\ufeff"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | KEYS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
SPACE = st.text(" \t\r\n", max_size=3)


@st.composite
def key(draw: st.DrawFn) -> str:
    """A key, some of its letters as escapes."""
    name = draw(st.sampled_from([*JSON_NAMES, "user", "mode", "stream "]))
    spelled = (f"\\u{ord(each):04x}" if draw(st.booleans()) else each for each in name)
    return f'"{"".join(spelled)}"'


@st.composite
def objects(draw: st.DrawFn) -> str:
    """The text of an object with any spaces, equal keys and keys in disguise."""

    def space() -> str:
        return draw(SPACE)

    some = draw(st.lists(st.tuples(key() | KEYS.map(json.dumps), VALUES), max_size=6))
    told = (
        f"{space()}{name}{space()}:{space()}{json.dumps(value, ensure_ascii=draw(st.booleans()))}"
        for name, value in some
    )
    return f"{space()}{{{f'{space()},'.join(told) or space()}{space()}}}{space()}"


@given(objects(), st.booleans())
@example('{"\\u006dodel":"x"}', False)
@example('{"model":"a","model":"b"}', False)
@example('{"metadata":{"model":"inner","stream":true}}', True)
@example('{"x":NaN,"y":-Infinity,"model":"a"}', False)
@example('{"x":"\\ud83d","stream":true}', False)
@example('{"model":"\\udc00x"}', False)
@example('{"x":1e999,"y":-0,"store":false}', False)
def test_both_readers_agree_with_a_whole_parse(text: str, mark: bool) -> None:
    check_json_scan((b"\xef\xbb\xbf" if mark else b"") + text.encode("utf-8", "surrogatepass"))


@given(objects(), st.integers(0, 200), st.text('{}[]",:\\ue0 \n\x00\ufeff', max_size=3))
def test_damaged_json_is_read_as_a_full_parser_reads_it(text: str, at: int, put: str) -> None:
    check_json_scan(f"{text[:at]}{put}{text[at + 1 :]}".encode("utf-8", "replace"))


@given(st.binary(max_size=200))
def test_any_bytes_are_survived(body: bytes) -> None:
    members(body)
    top_values(body)
    check_json_scan(b'{"model":"' + body.hex().encode() + b'","x":' + body.hex().encode() + b"}")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'"model"',
        b'{"model":"a"',
        b'{"model":"a"}}',
        b'{"model":"a",}',
        b'{"model":"a" "stream":true}',
        b'["model", {"model": "x"}]',
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
        '{"model":"a"}'.encode("utf-16"),
        b"[" * 100_000,
        b'{"model":' + b"[" * 100_000,
        b'{"model":' + b'{"":' * 100_000 + b"1" + b"}" * 100_001,
    ],
)
def test_values_that_are_no_object_have_no_members(body: bytes) -> None:
    assert members(body) is None
    assert top_values(body) == TopValues()


def test_half_of_a_surrogate_pair_in_a_long_talk_hides_nothing() -> None:
    talk = [{"role": "user", "content": "say \ud83d, please: " + "words " * 200}] * 50
    top = top_values(json.dumps({"messages": talk, "model": "a", "stream": True}).encode())
    assert (bytes(top.model), bytes(top.stream)) == (b'"a"', b"true")


@pytest.mark.parametrize(
    "body",
    [
        b'{"x":NaN,"a":[' + b"{}," * 300_000 + b"0]}",
        b'{"x":NaN,"a":[' + b"1," * 500_000 + b"0]}",
        b"{%b}" % b",".join(b'"%d":NaN' % each for each in range(MOST_MEMBERS + 1)),
    ],
)
def test_bodies_too_costly_to_read_exactly_are_not_read(body: bytes) -> None:
    assert members(body) is None
    assert top_values(body) == TopValues()


def test_long_bodies_that_need_no_exactness_are_read() -> None:
    body = b'{"a":[' + b"{}," * 500_000 + b"0]," + b'"b":1,' * 200_000 + b'"model":"x"}'
    assert bytes(top_values(body).model) == b'"x"'


@pytest.mark.parametrize(
    ("spelled", "key"),
    [
        ("model", "model"),
        ("MODEL", "model"),
        ("\u017ftream", "stream"),
        ("bac\u212aground", "background"),
        ("\u0131nput", "input"),
        ("Include_Usage", "include_usage"),
        ("n", "n"),
        ("stream_option", "stream_option"),
    ],
)
def test_letters_case_is_folded_as_servers_do(spelled: str, key: str) -> None:
    assert fold(spelled) == key


def test_stored_text_has_no_lone_surrogates() -> None:
    assert storable("a\ud800b\U0001f600") == "a?b\U0001f600"
