"""Messages between the processes of one instance, over sockets that the supervisor hands down.

A `SOCK_SEQPACKET` pair keeps packets whole. The supervisor holds both ends for as long as a slot
exists, so a process that is replaced finds its channel waiting, and what was sent meanwhile with
it. A message longer than a packet is cut into several; a receiver that sees a new first packet
forgets an unfinished message, because its sender died while sending.

Nothing here waits: `send` queues what the socket does not take, up to a bound. A message that is
no JSON object, or longer than a sender may queue, is dropped. That, and what a message makes its
handler raise, goes to the exception handler of the event loop; the next message is handled all the
same.
"""

from __future__ import annotations

import json
import logging
import socket
import sys
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the supervisor needs channels, but no event loop
    from asyncio import AbstractEventLoop

log = logging.getLogger(__name__)

PACKET = 60_000
"""Below the default send buffer of a Unix socket (212,992 bytes), which bounds one packet."""
MAX_QUEUED = 64 << 20
"""Bytes waiting for a receiver that does not read; it is replaced when it does not answer pings."""
_AT_ONCE = 4
"""Messages that are read in one turn of an event loop: a long list comes in many."""
_FIRST, _LAST = 1, 2

Message = dict[str, Any]


class ChannelClosed(Exception):
    """The other side is gone for good."""


class Channel:
    """One end of a pair."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._write_batch: deque[bytes] = deque()
        self._queued = 0
        self._assembly: list[bytes] | None = None
        self._assembled = 0
        self._on_message: Callable[[Message], None] = _ignore
        self._on_closed: Callable[[], None] = lambda: None
        self._loop: AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<Channel {self.fileno()}, {self._queued} bytes queued>"

    @classmethod
    def from_fd(cls, fd: int) -> Channel:
        """The end that was inherited as this descriptor."""
        return cls(socket.socket(fileno=fd))

    def fileno(self) -> int:
        """The descriptor, for selectors."""
        return self._sock.fileno()

    def close(self) -> None:
        """Give the socket back."""
        self.detach()
        self._sock.close()

    def send(self, message: Message) -> bool:
        """Send, or queue; False when the queue is full and the message was dropped.

        Raises ChannelClosed.
        """
        return self.send_encoded(encoded(message))

    def send_encoded(self, payload: bytes) -> bool:
        """As `send`, for what goes to several receivers and is `encoded` once."""
        if self._queued + len(payload) > MAX_QUEUED:
            return False
        for start in range(0, len(payload), PACKET):
            end = start + PACKET
            flags = (_FIRST if start == 0 else 0) | (_LAST if end >= len(payload) else 0)
            self._write_batch.append(bytes([flags]) + payload[start:end])
        self._queued += len(payload)
        self.flush()
        return True

    def flush(self) -> None:
        """Send what is queued, as far as the socket takes it. Raises ChannelClosed."""
        try:
            while self._write_batch:
                self._sock.send(self._write_batch[0])
                self._queued -= len(self._write_batch.popleft()) - 1
        except BlockingIOError:
            pass
        except OSError as error:
            raise ChannelClosed from error
        self._watch_writable()

    def receive(self, most: int = sys.maxsize) -> list[Message]:
        """The messages that are there. Raises ChannelClosed when there will be no more."""
        messages: list[Message] = []
        while len(messages) < most:
            try:
                packet = self._sock.recv(PACKET + 1)
            except BlockingIOError:
                return messages
            except OSError:
                packet = b""
            if not packet:
                if messages:
                    return messages  # the end is reported next time
                raise ChannelClosed
            message = self._take(packet)
            if message is not None:
                messages.append(message)
        return messages

    def _take(self, packet: bytes) -> Message | None:
        if packet[0] & _FIRST:
            self._assembly, self._assembled = [], 0
        if self._assembly is None:
            return None  # the rest of a message whose beginning a predecessor read
        self._assembled += len(packet) - 1
        if self._assembled > MAX_QUEUED:
            self._assembly = None
            self._report(f"A message of more than {MAX_QUEUED} bytes was dropped")
            return None
        self._assembly.append(packet[1:])
        if not packet[0] & _LAST:
            return None
        payload, self._assembly = b"".join(self._assembly), None
        try:
            message = json.loads(payload)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            self._report(f"A malformed message of {len(payload)} bytes was dropped")
            return None
        return message

    def _report(self, what: str, error: Exception | None = None) -> None:
        if self._loop is None:
            log.error("channel: %s", what)
            return
        context: dict[str, Any] = {"message": what}
        self._loop.call_exception_handler(
            context if error is None else {**context, "exception": error}
        )

    def attach(
        self,
        loop: AbstractEventLoop,
        on_message: Callable[[Message], None],
        on_closed: Callable[[], None] = lambda: None,
    ) -> None:
        """Call back for every message from now on, in the event loop, and once for the end."""
        self._loop, self._on_message, self._on_closed = loop, on_message, on_closed
        loop.add_reader(self.fileno(), self._on_readable)
        self._watch_writable()

    def finish(self) -> None:
        """Call back for what is there, then no more."""
        if self._loop is not None:
            try:
                self._handle(self.receive())
            except ChannelClosed:
                pass
        self.detach()

    def _on_readable(self) -> None:
        try:
            self._handle(self.receive(_AT_ONCE))
        except ChannelClosed:
            self._closed()

    def _handle(self, messages: list[Message]) -> None:
        for message in messages:
            try:
                self._on_message(message)
            except Exception as error:
                self._report(
                    f"A message of type {message.get('type')!s:.32} was not handled", error
                )

    def _closed(self) -> None:
        self.detach()
        self._on_closed()

    def detach(self) -> None:
        """Call back no more."""
        if self._loop is not None:
            self._loop.remove_reader(self.fileno())
            self._loop.remove_writer(self.fileno())
            self._loop = None

    def _watch_writable(self) -> None:
        if self._loop is None:
            return
        if self._write_batch:
            self._loop.add_writer(self.fileno(), self._on_writable)
        else:
            self._loop.remove_writer(self.fileno())

    def _on_writable(self) -> None:
        try:
            self.flush()
        except ChannelClosed:
            self._closed()


def encoded(message: Message) -> bytes:
    """A message as it is sent."""
    return json.dumps(message, separators=(",", ":")).encode()


def _ignore(message: Message) -> None:
    """Handle nothing."""


def channel_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends, not inherited unless asked for."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
