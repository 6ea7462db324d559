"""Messages to the legacy chat, as JSON and as forms."""

from __future__ import annotations

import json
from typing import Any

import pytest

from router.process.legacy_answers import Fault
from router.process.legacy_message import Message, read_message

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
PARTS = "multipart/form-data; boundary=XX"
GOOD = {"apiKey": "sk-1", "sessionId": "s", "content": "你好"}


def fault_of(body: bytes | dict[str, Any], kind: str = JSON, most: int = 1000) -> Fault:
    with pytest.raises(Fault) as caught:
        read_message(kind, json.dumps(body).encode() if isinstance(body, dict) else body, most)
    return caught.value


def part(name: str, value: str, more: str = "") -> str:
    return f'--XX\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'


def test_json_and_both_kinds_of_forms():
    expected = Message("sk-1", "s", "你好")
    assert read_message(JSON, json.dumps(GOOD).encode(), 1000) == expected
    assert read_message("", json.dumps(GOOD).encode(), 1000) == expected
    form = b"apiKey=sk-1&sessionId=s&content=%E4%BD%A0%E5%A5%BD"
    assert read_message(f"{FORM}; charset=UTF-8", form, 1000) == expected
    parts = part("apiKey", "sk-1") + part("sessionId", "s") + part("content", "你好") + "--XX--\r\n"
    assert read_message(PARTS, parts.encode(), 1000) == expected


def test_line_breaks_in_a_form_stay():
    text = "one\r\ntwo\n\nthree "
    parts = part("apiKey", "k") + part("sessionId", "s") + part("content", text) + "--XX--\r\n"
    assert read_message(PARTS, parts.encode(), 1000).content == text


def test_a_session_may_be_a_number():
    assert read_message(JSON, json.dumps({**GOOD, "sessionId": 7}).encode(), 9).session == "7"


def test_the_lengths_that_are_allowed():
    longest = {"apiKey": "k" * 512, "sessionId": "s" * 64, "content": "字" * 1000}
    assert read_message(JSON, json.dumps(longest).encode(), 1000).content == "字" * 1000
    for name, length in (("apiKey", 513), ("sessionId", 65), ("content", 1001)):
        fault = fault_of({**GOOD, name: "x" * length})
        assert fault.status == (401 if name == "apiKey" else 400)
        assert "x" * 60 not in fault.sentence
    assert "at most" not in fault_of({**GOOD, "content": "123456"}, most=5).sentence
    assert "1 to 5 characters" in fault_of({**GOOD, "content": "123456"}, most=5).sentence


@pytest.mark.parametrize("name", ["apiKey", "sessionId", "content"])
@pytest.mark.parametrize("value", [None, "", [], {}, True, 1.5])
def test_missing_fields_and_wrong_types_are_refused_by_name(name: str, value: Any):
    fault = fault_of({**GOOD, name: value})
    assert name in fault.sentence
    assert fault.status == (401 if name == "apiKey" else 400)


@pytest.mark.parametrize("key", ["sk\r\nX-Evil: 1", "sk 1", "sk-é", "sk\x7f", "\tsk", "sk-\ud800"])
def test_a_key_that_cannot_be_in_a_header(key: str):
    fault = fault_of({**GOOD, "apiKey": key})
    assert fault.status == 401
    assert key not in fault.sentence


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (JSON, b""),
        (JSON, b"[]"),
        (JSON, b'"x"'),
        (JSON, b"\xff\xfe\x00"),
        (JSON, b"[" * 100_000),
        (JSON, b'{"a": ' * 100_000),
        (FORM, b"apiKey=\xff"),
        (FORM, b"&".join([b"a=b"] * 101)),
        (PARTS, part("content", "x").encode() + b"\xff\xff"),
        ("multipart/form-data", b"nothing"),
    ],
)
def test_bodies_that_cannot_be_read(kind: str, body: bytes):
    assert fault_of(body, kind).status in (400, 401)


def test_a_message_is_not_shown():
    assert "secret" not in repr(Message("secret", "secret", "secret"))


def test_faults_speak_chinese_and_english():
    assert fault_of({**GOOD, "content": ""}).sentence == (
        "请求无效。 content must have 1 to 1000 characters."
    )
    assert fault_of({**GOOD, "apiKey": ""}).sentence == "密钥无效。 There is no apiKey."
