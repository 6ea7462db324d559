"""Plain requests of a test, from any address of this machine."""

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.testkit.mirror import TEST_KEY

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


def connection(base_url: str, source: str = "127.0.0.1") -> http.client.HTTPConnection:
    """Return an unopened connection from the address `source`."""
    url = urlsplit(base_url)
    assert url.hostname is not None
    if url.scheme == "https":
        unverified = ssl._create_unverified_context()
        return http.client.HTTPSConnection(
            url.hostname, url.port, timeout=TIMEOUT, context=unverified
        )
    return http.client.HTTPConnection(
        url.hostname, url.port, timeout=TIMEOUT, source_address=(source, 0)
    )


def ask(
    url: str,
    body: Mapping[str, Any] | None = None,
    *,
    key: str = TEST_KEY,
    source: str = "127.0.0.1",
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
