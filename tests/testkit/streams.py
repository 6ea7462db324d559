"""A chat stream that a test holds open, on a connection of its own."""

import http.client
import json
from types import TracebackType
from typing import Self

from tests.testkit.asking import CHAT, connection
from tests.testkit.mirror import TEST_KEY


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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
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
