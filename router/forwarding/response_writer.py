"""One response's way to the client: head, framing of our own, body untouched, a visible end.

Several pieces of a body that arrive in one read leave as one chunk and one write.
"""

from __future__ import annotations

import asyncio

from router.wire.chunked import LAST_CHUNK, chunk
from router.wire.closing import close, reset
from router.wire.error_response import status_line
from router.wire.request import RequestHead
from router.wire.response import ResponseHead
from router.wire.write_batch import WriteBatch


class ResponseWriter:
    """Writes one mirror's response to one client."""

    __slots__ = (
        "_chunked",
        "_framed",
        "_head_sent",
        "_pending",
        "_request",
        "_transport",
        "_write_batch",
        "body_bytes",
        "keep_alive",
    )

    def __init__(
        self,
        write_batch: WriteBatch,
        transport: asyncio.Transport,
        request: RequestHead,
        head_sent: bool,
    ) -> None:
        """`head_sent`: the client has a head already, of a chunked response."""
        self._write_batch = write_batch
        self._transport = transport
        self._request = request
        self._pending = b""
        self._head_sent = self._chunked = head_sent
        self.body_bytes = 0
        self.keep_alive = False
        """True if the client's connection can carry another request after this response."""
        self._framed = True

    def note_head_sent(self) -> None:
        """Note that the client has been sent a head, of a chunked response."""
        self._head_sent = self._chunked = True

    def informational(self, response: ResponseHead) -> None:
        """Pass on an interim response, to clients that know them (RFC 9110 section 15.2)."""
        if self._request.http10 or response.status == 100 or self._head_sent:
            return
        head = [status_line(response.status, response.reason), *response.fields, b"\r\n"]
        self._write_batch.write(self._transport, b"".join(head))

    def head(self, response: ResponseHead, added: bytes, keep_alive: bool) -> None:
        """Prepare the head; it is written together with what follows it in the same read."""
        if self._head_sent:
            self.keep_alive = keep_alive
            return
        line = status_line(response.status, response.reason)
        if response.length and keep_alive and not self._request.http10:  # as most are
            self.keep_alive = True
            ending = b"content-length: %d\r\n\r\n" % response.length
        else:
            framing = self._framing(response)
            self.keep_alive = keep_alive and self._framed
            ending = framing + self._connection(response) + b"\r\n"
        self._pending = b"".join((line, *response.fields, added, ending))

    def _framing(self, response: ResponseHead) -> bytes:
        if response.bodiless:
            return b""
        if response.length is not None:
            return b"content-length: %d\r\n" % response.length
        if self._request.method == b"HEAD":
            return b""
        if self._request.http10:
            self._framed = False
            return b""
        self._chunked = True
        return b"transfer-encoding: chunked\r\n"

    def _connection(self, response: ResponseHead) -> bytes:
        if response.status == 101:
            return b"connection: Upgrade\r\nupgrade: websocket\r\n"
        if not self.keep_alive:
            return b"connection: close\r\n"
        return b"connection: keep-alive\r\n" if self._request.http10 else b""

    def data(self, body: bytes, ended: bool) -> None:
        """Write what one read brought."""
        self.body_bytes += len(body)
        if self._chunked:
            body = chunk(body) if body else b""
            if ended:
                body += LAST_CHUNK
        if ended or self._pending:
            body, self._pending = self._pending + body, b""
            if body:
                self._write_batch.write(self._transport, body)
        elif body:
            self._write_batch.write_now(self._transport, body)

    @property
    def takes_more(self) -> bool:
        """True if bytes of our own can be written into the body."""
        return self._chunked or not self._framed

    def write_between_events(self, words: bytes) -> None:
        """Write bytes of our own into the body, between two events of a stream."""
        head, self._pending = self._pending, b""
        self._write_batch.write(self._transport, head + (chunk(words) if self._chunked else words))

    def cut(self) -> None:
        """End a response that cannot be completed, so that the client sees it is incomplete.

        With framing, a connection that ends before the frame does is an error to every client, and
        what was relayed still arrives. Without framing only a reset is one: a clean end would look
        like the end of the body.
        """
        self._write_batch.flush()
        if self._framed:
            close(self._transport)
        else:
            reset(self._transport)
