"""A mirror's own names of models in place of the client's."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.upstream.model_names import FormNames, model_in_query, renamed_json, renamed_query

NAMES = {"gpt-4": "gpt-4-0613", "画": 'a "b"'}
TYPE = b"multipart/form-data; boundary=xyz"


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b'{"model": "gpt-4"}', b'{"model": "gpt-4-0613"}'),
        (b' {"n":1e0,\n"model" :\t"gpt-4" , "x":"\\u00e9"} ',
         b' {"n":1e0,\n"model" :\t"gpt-4-0613" , "x":"\\u00e9"} '),
        (b'{"model": "gpt\\u002d4"}', b'{"model": "gpt-4-0613"}'),
        (b'\xef\xbb\xbf{"u": "\xc3\xa9", "model": "gpt-4"}',
         b'\xef\xbb\xbf{"u": "\xc3\xa9", "model": "gpt-4-0613"}'),
        ('{"model": "画"}'.encode(), b'{"model": "a \\"b\\""}'),
        (b'{"a": {"model": "gpt-4"}, "model": "gpt-4"}',
         b'{"a": {"model": "gpt-4"}, "model": "gpt-4-0613"}'),
        (b'{"model": "x", "model": "gpt-4"}', b'{"model": "x", "model": "gpt-4-0613"}'),
    ],
)  # fmt: skip
def test_only_the_name_of_the_model_is_exchanged(body: bytes, sent: bytes) -> None:
    assert renamed_json(body, NAMES) == sent


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[1]",
        b'{"model": 4}',
        b'{"model": "other"}',
        b'{"model": "gpt-4", "model": "other"}',
        b'{"a": {"model": "gpt-4"}}',
        b'{"model": "gpt-4"',
        b'{"model": "gpt-4"}\xff',
    ],
)
def test_bodies_of_other_models_pass_unchanged(body: bytes) -> None:
    assert renamed_json(body, NAMES) == body


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.floats(allow_nan=False)))
def test_nothing_else_of_a_body_changes(rest: dict[str, object]) -> None:
    asked = {**rest, "model": "gpt-4", "last": [1]}
    for ascii_only in (True, False):
        body = json.dumps(asked, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        assert json.loads(renamed_json(body, NAMES)) == {**asked, "model": "gpt-4-0613"}


def test_a_model_is_exchanged_in_a_query() -> None:
    names = {"a b": "c/d"}
    assert renamed_query(b"/v1/realtime?x=%41&model=a%20b&y", names) == (
        b"/v1/realtime?x=%41&model=c%2Fd&y"
    )
    assert renamed_query(b"/v1/realtime?model=other&xmodel=a%20b", names) == (
        b"/v1/realtime?model=other&xmodel=a%20b"
    )
    assert model_in_query(b"/v1/realtime?x=1&model=a+b&model=c") == "a b"
    assert model_in_query(b"/v1/realtime") == ""


def form(model: str, first: bool = True) -> bytes:
    """An upload that names a model before or after the file."""
    named = f'--xyz\r\nContent-Disposition: form-data; name="model"\r\n\r\n{model}\r\n'.encode()
    file = (
        b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="model"\r\n'
        b"Content-Type: audio/wav\r\n\r\n" + bytes(range(256)) * 40 + b"--xy\r\n\r\n"
        b'name="model"\r\n\r\ngpt-4\r\n'
    )
    parts = (named, file) if first else (file, named)
    return b"".join(parts) + b"--xyz--\r\n"


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000, 1 << 20])
def test_a_model_is_exchanged_in_a_form_however_it_is_cut(first: bool, size: int) -> None:
    names, body = FormNames(TYPE, NAMES), form("gpt-4", first)
    pieces = [names.feed(body[at : at + size]) for at in range(0, len(body), size)]
    assert b"".join([*pieces, names.finish()]) == form("gpt-4-0613", first)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        pytest.param(TYPE, form("other"), id="another model"),
        pytest.param(b"multipart/form-data", form("gpt-4"), id="no boundary"),
        pytest.param(b'multipart/form-data; boundary="q"', form("gpt-4"), id="another boundary"),
        pytest.param(TYPE, form("gpt-4" + "x" * 5000), id="a long name"),
        pytest.param(TYPE, b"--xyz\r\nX: " + b"a" * 9000 + form("gpt-4"), id="a long head"),
        pytest.param(TYPE, form("gpt-4")[:60], id="cut in the head"),
        pytest.param(TYPE, form("gpt-4")[:66], id="cut in the name"),
    ],
)
def test_other_forms_pass_as_they_came(kind: bytes, body: bytes) -> None:
    names = FormNames(kind, NAMES)
    out = [names.feed(body[at : at + 500]) for at in range(0, len(body), 500)]
    assert b"".join([*out, names.finish()]) == body


def test_little_of_a_form_is_held_back() -> None:
    names = FormNames(TYPE, NAMES)
    passed = len(names.feed(form("gpt-4")[:200]))
    for _ in range(100):
        passed += len(names.feed(b"x" * 1000))
    assert 100_200 - passed < 100


def test_the_last_boundary_ends_the_reading() -> None:
    names = FormNames(TYPE, NAMES)
    assert names.feed(form("gpt-4") + form("gpt-4")) == form("gpt-4-0613") + form("gpt-4")
