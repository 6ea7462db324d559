"""Contents of a request, and the wish for its usage that is spliced in."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.metering.request_scan import scan_request
from router.wire.json_scan import members

WISH = b'{"stream_options":{"include_usage":true},'
CHAT = b'{"model":"gpt-4o", "stream" : true ,"messages":[]}'


@pytest.mark.parametrize(
    ("body", "spliced"),
    [
        (CHAT, WISH + CHAT[1:]),
        (b'{"stream":1}', b'{"stream_options":{"include_usage":true},"stream":1}'),
        (b' \n{"stream":true}', b' \n{"stream_options":{"include_usage":true},"stream":true}'),
        (b'{"stream":true,"stream_options":null}', None),
        (b'{"stream":true,"stream_options":{}}', None),
        (
            b'{"stream_options": {"x":1e999, "include_usage" : false } ,"stream":true}',
            b'{"stream_options": {"x":1e999, "include_usage" : true } ,"stream":true}',
        ),
        (
            b'{"stream":true,"stream_options": { "x":1.10}}',
            b'{"stream":true,"stream_options": {"include_usage":true, "x":1.10}}',
        ),
        (b"\xef\xbb\xbf" + CHAT, WISH + CHAT[1:]),
        (b'{"stream\\u005foptions":{"x":[{}]},"stream":true}', None),
    ],
)
def test_a_stream_is_made_to_tell_its_use(body: bytes, spliced: bytes | None):
    asked = scan_request(body, ask=True)
    assert asked is not None
    assert asked.body is not None
    if spliced is not None:
        assert asked.body == spliced
    before, after = json.loads(body.decode("utf-8-sig")), json.loads(asked.body)
    options = before.pop("stream_options", None) or {}
    assert after.pop("stream_options") == {**options, "include_usage": True}
    assert after == before


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"stream":false}',
        b'{"stream":0}',
        b'{"stream":true,"stream":false}',
        b'{"messages":[{"stream":true}]}',
        b'{"stream":true,"stream_options":{"include_usage":true}}',
        b'{"stream":true,"stream_options":"x"}',
        b'{"stream":true,"stream_options":["include_usage"]}',
    ],
)
def test_bodies_that_need_no_usage_option_stay_unchanged(body: bytes):
    asked = scan_request(body, ask=True)
    assert asked is not None
    assert asked.body is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"stream":true',
        b'{"stream":true}}',
        b'{"stream":true}\xff',
        b"\xef\xbb\xbf" * 2 + CHAT,
        CHAT.decode().encode("utf-16"),
        CHAT.decode().encode("utf-16-le"),
        b"[" * 100_000,
        b'{"model":"a","x":[' + b"{}," * 300_000 + b"0]}",
        b'{"model":"a","x":[' + b"1," * 500_000 + b"0]}",
    ],
)
def test_bodies_that_are_no_json_object_are_not_read(body: bytes):
    assert scan_request(body, ask=True) is None


def test_a_long_text_is_read():
    asked = scan_request(
        json.dumps({"model": "a", "x": 'say "yes", or [no]. ' * 80_000}).encode(), ask=True
    )
    assert asked is not None
    assert asked.model == "a"


def test_only_where_a_stream_has_to_be_asked():
    asked = scan_request(CHAT, ask=False)
    assert asked is not None
    assert asked.body is None
    assert asked.stream


def test_the_model_is_that_of_the_outermost_object():
    asked = scan_request(
        b'{"metadata":{"model":"a"},"model":"b","tools":[{"model":"c"}]}', ask=True
    )
    assert asked is not None
    assert (asked.model, asked.ambiguous_key) == ("b", "")


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"model":"a","Model":"b"}', "model"),
        (b'{"model":"a","model":"b"}', "model"),
        (b'{"model":"a","x":{"model":1},"mod\\u0065l":"b"}', "model"),
        (b'{"background":true,"input":"","background":false}', "background"),
        (b'{"input":"a","INPUT":"b"}', "input"),
        ('{"\u017ftream":true}'.encode(), "stream"),
        (b'{"x":"say \\u0041","model":"a"}', ""),
        (b'{"user":"a","User":"b"}', "user"),
        (b'{"Temperature":1}', ""),
        (b'{"N":9}', "n"),
        (b'{"max_tokens":1,"Max_Tokens":9}', "max_tokens"),
        (b'{"Store":true}', "store"),
        ('{"bac\u212aground":true}'.encode(), "background"),
        (b'{"stream_options":{"include_usage":true,"Include_Usage":false}}', "include_usage"),
        (b'{"stream_options":{"include_usage":true,"include_\\u0075sage":0}}', "include_usage"),
        ('{"stream_options":{"include_u\u017fage":false}}'.encode(), "include_usage"),
        (b'{"stream_options":{"x":1,"X":1}}', "x"),
        (b'{"metadata":{"a":1,"A":1,"Model":2}}', ""),
        (b'{"tools":[{"model":"a","model":"b"}]}', "model"),
        (b'{"tools":[{"model":"a","mod\\u0065l":"b"}]}', "model"),
        (b'{"tools":[{},{"Model":"a"}]}', "model"),
        (b'{"tools":[{"type":"function","type":"image_generation"}]}', "type"),
        (b'{"tools":[{"function":{"x":1,"X":2,"Model":3}}]}', ""),
        (b'{"tools":{"model":"a","model":"b"}}', ""),
    ],
)
def test_duplicate_keys_are_reported(body: bytes, key: str):
    asked = scan_request(body, ask=True)
    assert asked is not None
    assert asked.ambiguous_key == key


def test_characters_images_and_background_are_read():
    asked = scan_request('{"input":"gr\u00fc\u00df","n":3,"background":true}'.encode(), ask=True)
    assert asked is not None
    assert (asked.characters, asked.images, asked.background) == (4, 3, True)
    for whole in ("3.0", "30e-1"):
        asked = scan_request(b'{"n":%b}' % whole.encode(), ask=True)
        assert asked is not None
        assert asked.images == 3
    for strange in ('"n"', "true", "-5", "null", "0.5", "1e999", "NaN"):
        asked = scan_request(b'{"n":%b}' % strange.encode(), ask=True)
        assert asked is not None
        assert asked.images == 1


@pytest.mark.parametrize(
    ("data", "choices"),
    [
        ({"prompt": "a"}, 1),
        ({"prompt": ["a"] * 900}, 900),
        ({"prompt": ["a", "b"], "n": 3, "best_of": 4}, 8),
        ({"prompt": [1, 2, 3], "n": 2}, 2),
        ({"prompt": [[1, 2], [3]], "n": 2}, 4),
        ({"prompt": [], "n": 2}, 2),
        ({"prompt": {"id": "x"}}, 1),
    ],
)
def test_each_prompt_of_a_list_has_answers_of_its_own(data: dict[str, Any], choices: int):
    asked = scan_request(json.dumps(data).encode(), ask=True)
    assert asked is not None
    assert asked.choices == choices


@pytest.mark.parametrize("key", ["n", "best_of", "max_tokens", "max_output_tokens"])
@pytest.mark.parametrize(
    ("value", "is_number"),
    [
        *((number, True) for number in ("1", "2.0", "null")),
        *((strange, False) for strange in ('"100"', "2.5", "true", "[9]", "1e999", "NaN")),
    ],
)
def test_values_that_servers_may_take_for_a_number_are_reported(
    key: str, value: str, is_number: bool
):
    asked = scan_request(f'{{"{key}":{value}}}'.encode(), ask=True)
    assert asked is not None
    assert asked.not_whole == ("" if is_number else key)


TEXT = st.text(max_size=8)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXT),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(TEXT, st.sampled_from(("stream_options",))), inner, max_size=3),
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(TEXT, VALUES, max_size=4),
    st.one_of(st.none(), st.dictionaries(TEXT, VALUES, max_size=3)),
    st.booleans(),
    st.booleans(),
    st.sampled_from((None, 2)),
)
def test_splicing_changes_nothing_but_the_wish(rest, options, given_, ascii_, indent):
    data = {**rest, "stream": True}
    if given_:
        data = {"a": [data], "stream_options": options, **data}
    body = json.dumps(data, ensure_ascii=ascii_, indent=indent).encode("utf-8", "replace")
    asked = scan_request(body, ask=True)
    assert asked is not None
    if asked.body is None:
        assert json.loads(body)["stream_options"]["include_usage"] is True
        return
    before, after = json.loads(body), json.loads(asked.body)
    known = before.pop("stream_options", None) or {}
    assert after.pop("stream_options") == {**known, "include_usage": True}
    assert after == before


@given(st.binary(max_size=200))
def test_any_body_is_read_without_raising(body: bytes):
    scan_request(body, ask=True)
    scan_request(b'{"stream":true,' + body + b"}", ask=True)


def _listed(values: Iterable[str]) -> str:
    return f"[{','.join(values)}]"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("input", _listed(["{}"] * 110_000)),
        ("input", _listed(["[" * 900 + "]" * 900] * 120)),
        ("tools", _listed(['{"A":1}'] * 11_000)),
        ("tools", _listed([json.dumps({f"A{at}": 1 for at in range(21_000)})])),
    ],
    ids=["objects", "lists", "tools", "keys of a tool"],
)
def test_a_body_that_would_hold_up_a_worker_is_not_read(name: str, value: str):
    body = f'{{"model":"m","{name}":{value}}}'
    assert scan_request(body.encode(), ask=True, everywhere=True) is None


def test_a_float_of_hundreds_of_digits_is_no_count():
    asked = scan_request(b'{"model":"m","n":1.%b}' % (b"0" * 200), ask=True)
    assert asked is not None
    assert (asked.not_whole, asked.choices) == ("n", 1)


def test_floats_within_values_are_not_worked_out():
    read = members(b'{"x":[1.5,{"y":1e999}],"temperature":0.5}')
    assert read is not None
    assert [each.value for each in read.members] == [[b"1.5", {"y": b"1e999"}], 0.5]
