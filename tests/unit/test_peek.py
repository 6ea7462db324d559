"""The model in a JSON body, found without parsing it."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.peek import model_of

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
KEYS = st.text() | st.sampled_from(["model", '"model"', "model\\", "{", "]", "Model", '\\"'])
VALUES = st.recursive(
    SCALARS | KEYS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=6)


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'{"model": "gpt-4"}', "gpt-4"),
        (b'{ "messages" : [{"model": "inner"}] , "model" : "gpt-4" }', "gpt-4"),
        (b'{"metadata": {"model": "inner"}}', None),
        (b'{"a": "model", "b": ["model"], "model": "x"}', "x"),
        (b'{"a": "\\"model\\": \\"evil\\"", "model": "x"}', "x"),
        (b'{"\\u006dodel": "x"}', "x"),
        (b'{"model": "\\u6a21\\n"}', "\u6a21\n"),
        (b'{"model": "\xe6\xa8\xa1"}', "\u6a21"),
        (b'{"model": null}', None),
        (b'{"model": ["x"]}', None),
        (b'{"model": "x', None),
        (b'{"model": "\xff"}', None),
        (b'{"model": "first", "model": "second"}', "first"),
        (b'["model", {"model": "x"}]', None),
        (b'"model"', None),
        (b"", None),
        (b"}}}{[", None),
    ],
)
def test_the_model_is_the_top_level_one(body: bytes, model: str | None) -> None:
    assert model_of(body) == model


@given(DOCUMENTS, st.booleans(), st.sampled_from([None, 1]))
def test_it_is_what_a_full_parse_finds(
    document: dict[str, object], ascii_only: bool, indent: int | None
) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent)
    expected = document.get("model")
    try:
        raw = body.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return
    assert model_of(raw) == (expected if isinstance(expected, str) else None)


@given(DOCUMENTS, st.integers(0, 200))
def test_of_a_truncated_body_it_is_the_same_or_nothing(
    document: dict[str, object], length: int
) -> None:
    body = json.dumps(document).encode()
    assert model_of(body[:length]) in (None, model_of(body))


@given(st.binary())
def test_any_bytes_are_survived(body: bytes) -> None:
    model_of(body)
    model_of(b'{"model":' + body)


@pytest.mark.parametrize(
    "unit", [b'\\"', b'"', b'"model" ', b'"model":"', b'"model":', b"{", b"\\", b" "]
)
def test_a_body_made_to_provoke_backtracking_takes_linear_time(unit: bytes) -> None:
    def seconds(size: int) -> float:
        body = b'{"a":"' + unit * (size // len(unit))
        began = time.process_time()
        model_of(body)
        return time.process_time() - began

    small = max(min(seconds(50_000) for _ in range(3)), 0.001)
    large = min(seconds(500_000) for _ in range(3))
    assert large < 60 * small  # ten times the size; quadratic would be a hundred
