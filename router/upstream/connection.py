"""One connection to a mirror: writes a request, reads its response, is used again or closed.

It belongs either to the pool or to exactly one reply, which it tells what happens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast

from router.wire.faults import contained, report_fault
from router.wire.fields import FieldRules
from router.wire.response import BadResponse, ResponseHead, ResponseReader
from router.wire.write_batch import WriteBatch


def _nothing() -> None:
    """Most mirrors have no limit on connections."""


def read_no_further(transport: asyncio.Transport) -> None:
    """Have a TLS transport read no further than what its protocol has taken.

    Else it drops what it has read ahead, 256 KiB or more, when the peer's FIN is read behind it.
    """
    if transport.get_extra_info("ssl_object") is not None:
        cast(Any, transport).set_read_buffer_limits(high=1, low=0)


class UpstreamUser(Protocol):
    """The reply on a connection.

    Nothing follows after `response_failed`, `switched`, or `response_data` with `ended`.
    """

    def informational(self, head: ResponseHead) -> None:
        """A 1xx response."""

    def response_head(self, head: ResponseHead) -> None:
        """The response's head."""

    def response_data(self, parts: list[bytes], ended: bool) -> None:
        """Take the pieces of the body that one read brought after the head, and whether it
        ended."""

    def switched(self, rest: bytes) -> None:
        """After a 101 head: the connection is a tunnel now; `rest` followed the head."""

    def response_failed(self, why: str, silent: bool) -> None:
        """It broke; `silent` means that not one byte of a response had come."""

    def abort(self) -> None:
        """End after a fault of ours: the connection is gone, and nothing else follows."""

    def upstream_full(self) -> None:
        """The mirror takes no more for now."""

    def upstream_drained(self) -> None:
        """The mirror takes bytes again."""


class UpstreamConnection(asyncio.BufferedProtocol):
    """The protocol of one connection to a mirror."""

    def __init__(self, buffer: memoryview, rules: FieldRules, write_batch: WriteBatch) -> None:
        self._buffer = buffer
        self._write_batch = write_batch
        self._reader = ResponseReader(rules)
        self._transport: asyncio.Transport | None = None
        self._user: UpstreamUser | None = None
        self._heard = False
        self._paused = False
        self._asked = -1
        """How often the outbox had been flushed when a request was put into it."""
        self.used = 0
        """Requests written so far."""
        self.idle_since = 0.0
        """When it was last kept for a later request, on the wheel's clock; 0: never."""
        self.at_end: Callable[[], None] = _nothing
        """To be called once, when it is closed."""
        self.authority = b""
        """What goes into `Host`: the hostname that the certificate was verified for, and a port."""
        self.endpoint = ("", 0)
        """The address and port at its other end."""

    def __repr__(self) -> str:
        state = "closed" if self.is_closed() else "busy" if self._user else "idle"
        return f"<UpstreamConnection {state}, {self.used} requests>"

    def ended(self) -> None:
        """The connection is closed, here or by its later user."""
        at_end, self.at_end = self.at_end, _nothing
        at_end()

    @property
    def may_be_stale(self) -> bool:
        """True if it was kept before the present request, whether it had served one or not."""
        return self.idle_since > 0

    def is_closed(self) -> bool:
        """True if nothing can be written any more."""
        return self._transport is None or self._transport.is_closing()

    @property
    def transport(self) -> asyncio.Transport:
        """The transport, once connected."""
        assert self._transport is not None
        return self._transport

    def take(self, user: UpstreamUser, to_head: bool) -> None:
        """Give the connection to a reply, whose request is written next."""
        self._user = user
        self._heard = False
        self.used += 1
        self._reader.expect(user, to_head)

    def hand_over(self, user: UpstreamUser) -> None:
        """Give the rest of the response to another user, who takes all of it."""
        self._user = user
        self._reader.hand_over(user)
        if self._paused:
            self.resume()

    def ask(self, data: bytes) -> None:
        """Write the beginning of the request: when all that could be read by now has been."""
        write_batch = self._write_batch
        self._asked = write_batch.flushes
        assert self._transport is not None
        write_batch.write_last(self._transport, data)

    def write(self, data: bytes) -> None:
        """Write a further part of the request."""
        self._write_batch.write(self.transport, data)

    def pause(self) -> None:
        """Read no more for now: the client takes no more."""
        if not self.is_closed():
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if not self.is_closed():
            self._paused = False
            self.transport.resume_reading()

    def leave(self) -> None:
        """Nobody wants anything more of it: close it, whatever it is doing."""
        self._user = None
        self.ended()
        if self._transport is not None:
            self._transport.abort()

    def reusable(self) -> bool:
        """True if the next request may be written, once a response has ended."""
        reader, transport = self._reader, self._transport
        return reader.reusable() and transport is not None and not transport.is_closing()

    def release(self) -> None:
        """The reply is complete; the connection waits for the next."""
        self._user = None
        if self._paused:  # its client may have been the slow one
            self.resume()

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        read_no_further(self._transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        user, reader = self._user, self._reader
        if user is None:
            self.leave()  # nothing was asked
            return
        try:
            if not self._heard:
                if self._asked == self._write_batch.flushes and self.used > 1:
                    self._fail("it sent data before a request")
                    return
                self._heard = True
            try:
                reader.feed(self._buffer[:nbytes])
            except BadResponse as bad:
                self._fail(str(bad))
                return
            if reader.head is None or self._user is not user:
                return  # it has left with the head
            if reader.tunnel is None:
                user.response_data(reader.parts, reader.ended)
            else:
                user.switched(reader.tunnel)
                reader.end()
        except Exception as error:
            self._fault(user, error)

    def _fail(self, why: str) -> None:
        user = self._user
        silent = not self._heard
        self.leave()
        if user is not None:
            user.response_failed(why, silent)

    def _fault(self, user: UpstreamUser, error: Exception) -> None:
        """Give up after an exception of ours; the mirror is not to blame for it."""
        report_fault("an answer", error)
        contained("an answer", self.leave)
        contained("an answer", user.abort)

    def eof_received(self) -> bool:
        self._end(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        contained("the end of a connection to a mirror", self.ended)
        self._end(exc)
        self._transport = None
        self._reader.end()

    def _end(self, exc: Exception | None) -> None:
        user = self._user
        if user is None:
            return
        try:
            if exc is None and self._reader.ends_with_close:
                user.response_data([], True)
            else:
                self._fail("it closed the connection" if exc is None else "the connection broke")
        except Exception as error:
            self._fault(user, error)

    def pause_writing(self) -> None:
        if self._user is not None:
            self._user.upstream_full()

    def resume_writing(self) -> None:
        if self._user is not None:
            self._user.upstream_drained()
