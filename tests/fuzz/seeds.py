"""Seeds of the fuzzers: cases that other tests have, and findings of earlier runs."""

from __future__ import annotations

import json
from pathlib import Path

from router.wire.websocket import Opcode, frame
from tests.cases.hostile_responses import MODES
from tests.cases.malformed_requests import GROUPS

CORPUS = Path(__file__).parent / "corpus"
_MOST = 1024
_HEADS = [mode.answer for mode in MODES]
_CHAT = [
    b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\r\n\r\n',
    b'event: error\ndata: {"type":"error","error":{"message":"x"}}\n\n: ping\n\ndata: [DONE]\n\n',
    b'data: {"type":"message_start","message":{"usage":{"input_tokens":3}}}\r\r',
    b'data: {"type":"response.completed","response":{"usage":{"input_tokens":3}}}\n\n',
    b'data: {"type":"image_generation.completed","b64_json":"AAAA","usage":{"total_tokens":3}}\n\n',
]
_CHAT += [
    b'data: {"error":{"message":"\\ud800","code":429}}\n\n',
    b'\xef\xbb\xbfdata:{"usage":{"input_tokens":1,"output_tokens":2},"type":"message_delta"}\n\n',
    b"id: 1\ndata\nevent\ndata: <html>\nretry: 1\n\n",
]
_BODIES: list[object] = [
    {"model": "a", "messages": [{"role": "user", "content": "b"}], "stream": True},
    {"model": "a", "tools": [{"stream": True}], "stream_options": {"include_usage": False}},
    {"stream": True, "stream_options": None, "n": 2, "input": "\ud800", "x": float("nan")},
    {"store": False, "background": True, "metadata": {"model": "b"}},
]
_ANSWERS: list[object] = [
    {"usage": {"prompt_tokens": 1, "completion_tokens": 2}, "choices": []},
    {"data": [{"b64_json": "AAAA"}, {"url": "a"}], "usage": {"input_tokens": 1}},
    {"duration": "1.5", "text": "a"},
    {"error": {"message": "a", "type": "b"}},
]
_MESSAGES = [
    b'\x00{"apiKey": "sk-a", "sessionId": 1, "content": "\xe4\xbd\xa0"}',
    b"\x01apiKey=sk-a&sessionId=1&content=%E4%BD%A0",
    b'\x02--X\r\nContent-Disposition: form-data; name="apiKey"\r\n\r\nsk-a\r\n'
    b'--X\r\nContent-Disposition: form-data; name="sessionId"\r\n\r\n1\r\n'
    b'--X\r\nContent-Disposition: form-data; name="content"\r\n\r\nhello\r\n--X--\r\n',
]
_SWITCH = (
    b"dGhlIHNhbXBsZSBub25jZQ==\nHTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Accept: $ACCEPT\r\n\r\nframes"
)

_HTTP = [
    *(b"\r\n\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 3\r\n", b"0\r\n\r\n"),
    *(b"Connection: ", b"close\r\n", b"Upgrade: websocket\r\n"),
]
_WORDS = {
    "request": [*_HTTP, b"GET ", b"POST ", b"/v1/", b" HTTP/1.1\r\n", b"Host: a\r\n", b"Bearer a"],
    "response": [*_HTTP, b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 103 \r\n", b"text/event-stream\r\n"],
    "body": [
        *(b'"model"', b'"stream"', b'"store"', b'"stream_options"', b'"include_usage"', b'"n"'),
        *(b"true", b"false", b"null", b"NaN", b"1e999", b"\\ud83d", b"\\u006d", b"\xef\xbb\xbf"),
        *(b"{}", b"[]", b":", b","),
    ],
    "events": [
        *(b"data: ", b"event: ", b"\r\n", b"\n\n", b"\r\r", b": ping\n", b"[DONE]", b'"type":"'),
        *(b'"usage":{', b'"choices":[]', b'"error":{', b'"prompt_tokens":', b'"input_tokens":'),
        *(b'"delta":', b'"content":"', b"\\ud800", b"message_start", b"response.completed"),
    ],
    "answer": [
        *(b'"usage":{', b'"input_tokens":', b'"prompt_tokens":', b'"b64_json":"', b'"url":"'),
        *(b'"error":{', b'"duration":', b'"text":"'),
    ],
    "frames": [*(b"\x81\x05", b"\x01\x03", b"\x80\x02"), b"\x88\x02\x03\xe8", b"\x82\x7e"],
    "message": [
        *(b'"apiKey"', b'"sessionId"', b'"content"', b"apiKey=", b"&sessionId=", b"&content=%E4"),
        *(b"\r\n--X\r\n", b"--X--", b'Content-Disposition: form-data; name="content"', b"\\ud800"),
    ],
    "websocket": [*_HTTP, b"HTTP/1.1 101 \r\n", b"Sec-WebSocket-Accept: ", b"$ACCEPT"],
}


def words(target: str) -> bytes:
    """Words that libFuzzer puts in, in the form of its dictionaries."""
    lines = ("".join(f"\\x{byte:02x}" for byte in word) for word in _WORDS[target])
    return "".join(f'"{line}"\n' for line in lines).encode()


_KEY = b"mask"
_FRAMES = [
    b"".join(frame(opcode, payload, key) for opcode, payload in each)
    for key in (b"", _KEY)
    for each in (
        [(Opcode.text, b"hello"), (Opcode.ping, b""), (Opcode.binary, b"x" * 200)],
        [(Opcode.text, b"{}"), (Opcode.close, b"\x03\xe8bye")],
    )
]
_FRAMES += [b"\x01\x03hel\x89\x00\x80\x02lo", b"\x82\x7f" + (1 << 40).to_bytes(8, "big")]


def seeds(target: str) -> dict[str, bytes]:
    """Inputs of a target, by name; the first byte is that of `targets.cut`."""
    known = {
        "request": [case.data for cases in GROUPS.values() for case in cases],
        "response": _HEADS,
        "body": [json.dumps(body).encode() for body in _BODIES],
        "events": _CHAT,
        "answer": [json.dumps(body).encode() for body in _ANSWERS],
        "websocket": [_SWITCH],
        "frames": _FRAMES,
        "message": [],
    }[target]
    if target == "message":  # its first byte is another one
        return {str(at): data for at, data in enumerate(_MESSAGES)} | _kept(target)
    found = {
        f"{how}-{at}": first + data
        for at, data in enumerate(known)
        for how, first in (("whole", b"\x00"), ("three", b"\x02\x40\xb0"), ("bytes", b"\x80"))
        if len(data) <= _MOST
    }
    return found | _kept(target)


def _kept(target: str) -> dict[str, bytes]:
    kept = CORPUS / target
    return (
        {path.name: path.read_bytes() for path in sorted(kept.iterdir())} if kept.is_dir() else {}
    )
