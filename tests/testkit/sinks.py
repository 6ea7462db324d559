"""Sinks for the readers of the wire, which note what they are told."""

from __future__ import annotations

from router.wire.fields import request_rules, response_rules
from router.wire.request import RequestHead, RequestReader
from router.wire.response import ResponseHead, ResponseReader


class Requests:
    """Notes requests; pieces of one body count as one."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []
        self.reader = RequestReader(self, request_rules())

    def feed(self, *pieces: bytes) -> list[tuple[str, object]]:
        """Feed these pieces; everything noted so far."""
        for piece in pieces:
            self.reader.feed(memoryview(piece))
        return self.calls

    @property
    def heads(self) -> list[RequestHead]:
        """The heads noted."""
        return [value for _, value in self.calls if isinstance(value, RequestHead)]

    @property
    def head(self) -> RequestHead:
        """The first head."""
        return self.heads[0]

    def request_head(self, head: RequestHead) -> None:
        self.calls.append(("head", head))

    def request_body(self, data: bytes) -> None:
        self._grow("body", data)

    def request_end(self) -> None:
        self.calls.append(("end", None))

    def request_whole(self, head: RequestHead, body: bytes) -> None:
        self.request_head(head)
        if body:
            self.request_body(body)
        self.request_end()

    def tunnel_data(self, data: bytes) -> None:
        if data:
            self._grow("tunnel", data)

    def _grow(self, kind: str, data: bytes) -> None:
        if self.calls and self.calls[-1][0] == kind:
            known = self.calls.pop()[1]
            assert isinstance(known, bytes)
            data = known + data
        self.calls.append((kind, data))


class Responses:
    """Notes one response."""

    def __init__(self, to_head: bool = False) -> None:
        self.heads: list[ResponseHead] = []
        self.body = b""
        self.reader = ResponseReader(response_rules())
        self.reader.expect(self, to_head)

    def feed(self, *pieces: bytes) -> ResponseReader:
        """Feed these pieces, as far as the response goes."""
        for piece in pieces:
            self.reader.feed(memoryview(piece))
            self.body += b"".join(self.reader.parts)
        return self.reader

    @property
    def head(self) -> ResponseHead:
        """The last head."""
        return self.heads[-1]

    def informational(self, head: ResponseHead) -> None:
        self.heads.append(head)

    def response_head(self, head: ResponseHead) -> None:
        self.heads.append(head)
