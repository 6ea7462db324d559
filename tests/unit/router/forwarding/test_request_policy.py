"""Model, stream and store at the top level of a JSON body."""

from __future__ import annotations

import pytest

from router.forwarding.request_policy import hints, model_of


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'{"model": "gpt-4"}', "gpt-4"),
        (b'{ "messages" : [{"model": "inner"}] , "model" : "gpt-4" }', "gpt-4"),
        (b'{"metadata": {"model": "inner"}}', ""),
        (b'{"a": "model", "b": ["model"], "model": "x"}', "x"),
        (b'{"a": "\\"model\\": \\"evil\\"", "model": "x"}', "x"),
        (b'{"\\u006dodel": "x"}', "x"),
        (b'{"model": "\\u6a21\\n"}', "\u6a21\n"),
        (b'{"model": "\xe6\xa8\xa1"}', "\u6a21"),
        (b'{"model": "a\\ud800"}', "a?"),
        (b'{"model": null}', ""),
        (b'{"model": ["x"]}', ""),
        (b'{"model": "x', ""),
        (b'{"model": "\xff"}', ""),
        (b'{"model": "first", "model": "second"}', "second"),
        (b'["model", {"model": "x"}]', ""),
        (b'"model"', ""),
        (b"", ""),
        (b"}}}{[", ""),
    ],
)
def test_the_model_is_the_top_level_one(body: bytes, model: str) -> None:
    assert model_of(body) == model
    assert hints(body) == (model, False, False)


@pytest.mark.parametrize(
    ("body", "stream", "unstored"),
    [
        (b'{"stream": true, "store": false}', True, True),
        (b'{"stream": false, "store": true}', False, False),
        (b'{"tools":[{"properties":{"stream":true,"store":false}}]}', False, False),
        (b'{"metadata":{"stream":true},"stream":false}', False, False),
        (b'{"metadata":{"stream":false},"stream":true}', True, False),
        (b'{"a":"\\"stream\\":true"}', False, False),
        (b'{"stream":false,"stream":true}', True, False),
        (b'{"\\u0073tream":true,"st\\u006fre":false}', True, True),
        (b'{"stream":"true","store":0}', False, False),
        (b'{"stream":true', False, False),
    ],
)
def test_a_stream_is_asked_for_at_the_top_only(body: bytes, stream: bool, unstored: bool) -> None:
    assert hints(body) == ("", stream, unstored)
