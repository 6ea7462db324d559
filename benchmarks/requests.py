"""The requests that clients send and the JSON that mirrors answer."""

import json
from collections.abc import Callable
from typing import Any

CHAT_PATH = "/v1/chat/completions"
UPLOAD_PATH = "/v1/audio/transcriptions"
BOUNDARY = "benchmark-boundary-7d41b838504d6"

MODELS = json.dumps({"object": "list", "data": [{"id": "gpt-4o-mini", "object": "model"}]}).encode()


def headers(port: int, length: int, content_type: str = "application/json") -> dict[str, str]:
    """Return the 14 headers of the official Python SDK's requests."""
    return {
        "Host": f"127.0.0.1:{port}",
        "Accept-Encoding": "gzip, deflate",
        "Connection": "keep-alive",
        "Accept": "application/json",
        "Content-Type": content_type,
        "User-Agent": "OpenAI/Python 1.51.0",
        "X-Stainless-Lang": "python",
        "X-Stainless-Package-Version": "1.51.0",
        "X-Stainless-OS": "Linux",
        "X-Stainless-Arch": "x64",
        "X-Stainless-Runtime": "CPython",
        "X-Stainless-Runtime-Version": "3.11.7",
        "Authorization": "Bearer sk-benchmark",
        "Content-Length": str(length),
    }


def head(path: str, port: int, length: int, content_type: str = "application/json") -> bytes:
    """Return a POST's head."""
    lines = [f"POST {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers(port, length, content_type).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chat_body(size: int, *, stream: bool = False, max_tokens: int = 100) -> bytes:
    """Return a chat request of `size` bytes."""
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": ""}],
        "model": "gpt-4o-mini",
        "max_tokens": max_tokens,
        "stream": stream,
    }
    return _padded(body, size, lambda text: body.update(messages=[_message("user", text)]))


def reply(size: int) -> bytes:
    """Return a chat completion of `size` bytes."""
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "logprobs": None}
    body = {
        "id": "chatcmpl-benchmark",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "gpt-4o-mini",
        "choices": [choice],
        "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21},
    }
    return _padded(body, size, lambda text: choice.update(message=_message("assistant", text)))


def upload_body(size: int) -> bytes:
    """Return a multipart form with a file of about `size` bytes."""
    field = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    file = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="speech.wav"\r\n'
        "Content-Type: audio/wav\r\n\r\n"
    )
    return (field + file).encode() + bytes(size) + f"\r\n--{BOUNDARY}--\r\n".encode()


def _message(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def _padded(body: dict[str, Any], size: int, fill: Callable[[str], None]) -> bytes:
    """Return `body` as JSON, with as much text filled in as `size` bytes leave room for."""
    fill("")
    fill("x" * max(0, size - len(json.dumps(body))))
    return json.dumps(body).encode()
