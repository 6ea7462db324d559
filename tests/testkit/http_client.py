"""A plain HTTP client from any address of this machine, and chat streams that are held open."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from router.wire.sse import EventSplitter
from tests.testkit.certs import trusting_anybody
from tests.testkit.mirror.server import TEST_KEY

TIMEOUT = 20.0
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}


@dataclass(frozen=True)
class Answer:
    """A complete answer."""

    status: int
    headers: Mapping[str, str]
    """With names in small letters."""
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object in OpenAI's shape."""
        error: dict[str, Any] = self.json()["error"]
        return error


def connection(base_url: str, source: str = "") -> http.client.HTTPConnection:
    """Return an unopened connection from the address `source`; empty: the one of the way there."""
    url = urlsplit(base_url)
    assert url.hostname is not None
    if url.scheme == "https":
        return http.client.HTTPSConnection(
            url.hostname, url.port, timeout=TIMEOUT, context=trusting_anybody()
        )
    return http.client.HTTPConnection(
        url.hostname, url.port, timeout=TIMEOUT, source_address=(source, 0)
    )


def ask(
    url: str,
    body: Mapping[str, Any] | None = None,
    *,
    key: str = TEST_KEY,
    source: str = "",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """GET, or POST with a JSON body, with this key (if any); a connection of its own."""
    asking = connection(url, source)
    try:
        return ask_on(asking, url, body, key=key, headers=headers)
    finally:
        asking.close()


def ask_on(
    asking: http.client.HTTPConnection,
    url: str,
    body: Mapping[str, Any] | None = None,
    *,
    key: str = TEST_KEY,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """As `ask`, on a connection that is kept."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    sent = {**({"Authorization": f"Bearer {key}"} if key else {}), **(headers or {})}
    if body is not None:
        sent["Content-Type"] = "application/json"
    content = None if body is None else json.dumps(body)
    asking.request("GET" if body is None else "POST", target, content, sent)
    response = asking.getresponse()
    fields = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, fields, response.read())


def chat(base_url: str, **options: Any) -> Answer:
    """Ask for a chat completion; `options` as of `ask`."""
    return ask(f"{base_url}/v1/chat/completions", CHAT, **options)


class OpenStream:
    """Begun when entered, at its first event; closed on leaving."""

    def __init__(
        self, base_url: str, *, events: int = 100, delay: float = 0.05, key: str = TEST_KEY
    ) -> None:
        self._connection = connection(base_url)
        self._behaviour = json.dumps({"events": events, "event_delay": delay})
        self._key = key
        self._response: http.client.HTTPResponse
        self.local_port = 0
        self.mirror = ""

    def __enter__(self) -> Self:
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Content-Type": "application/json",
            "x-test-behaviour": self._behaviour,
        }
        body = json.dumps({**CHAT, "stream": True})
        self._connection.request("POST", "/v1/chat/completions", body, headers)
        self.local_port = self._connection.sock.getsockname()[1]
        self._response = self._connection.getresponse()
        assert self._response.status == 200, self._response.read()
        self.mirror = self._response.headers["x-test-mirror"]
        assert self.event().startswith("data: ")
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()
        self._connection.close()

    def event(self) -> str:
        """The next line that is not empty; "" at the end of the stream."""
        while line := self._response.readline():
            if text := line.decode().strip():
                return text
        return ""

    def completes(self) -> bool:
        """Read to the end, and say whether it came as it should; False if the connection broke."""
        last = ""
        try:
            while event := self.event():
                last = event
        except (OSError, http.client.HTTPException):
            return False
        return last == "data: [DONE]"


def read_stream(body: bytes) -> tuple[str, list[dict[str, Any]], bool, int]:
    """Content, errors, whether it says that it is done, and how many events are no JSON."""
    splitter = EventSplitter(1 << 20)
    events = [event.data for event in splitter.feed(body)]
    said, errors, odd = "", [], 0
    for data in events:
        if data == b"[DONE]":
            continue
        try:
            chunk = json.loads(data)
        except ValueError:
            odd += 1
            continue
        if "error" in chunk:
            errors.append(chunk["error"])
        for choice in chunk.get("choices", ()):
            said += choice["delta"].get("content", "")
    return said, errors, b"[DONE]" in events, odd
