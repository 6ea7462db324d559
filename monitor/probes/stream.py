"""Bytes over a connected socket, plain or through TLS, read and written by hand.

asyncio's own TLS transport reports a close after the ClientHello as a reset, and a page in plain
HTTP as a version error with its bytes lost. A memory BIO between the socket and OpenSSL shows
what really came, and when.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import ssl
import struct
import termios
import time
from typing import Any, Protocol
from weakref import WeakSet

READ_SIZE = 16384
FIRST_BYTES = 64
"""How much is kept of what begins like TLS ..."""
FIRST_BYTES_OF_A_PAGE = 2048
"""... and of what does not: enough to know a block page again."""
_COUNT = struct.Struct("i")
_ROUND_TRIP = struct.Struct("68xI")
"""`tcpi_rtt` in `struct tcp_info` of <linux/tcp.h>, in microseconds."""
_TLS_RECORDS = range(20, 24)


class Stream(Protocol):
    """A connection that a request can be made on."""

    async def write(self, data: bytes) -> None:
        """Send everything."""

    async def read(self) -> bytes:
        """The next bytes, empty at the end of the stream."""

    def unacknowledged(self) -> int:
        """Bytes that were sent and that the other end's kernel has not acknowledged."""


class PlainStream:
    """A socket as it is."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._loop = asyncio.get_running_loop()

    async def write(self, data: bytes) -> None:
        """Send everything."""
        await self._loop.sock_sendall(self._socket, data)

    async def read(self) -> bytes:
        """The next bytes, empty at the end of the stream."""
        return await self._loop.sock_recv(self._socket, READ_SIZE)

    def unacknowledged(self) -> int:
        """Bytes on their way, or lost (SIOCOUTQ in tcp(7)); 0 where that cannot be told."""
        try:
            told = fcntl.ioctl(self._socket, termios.TIOCOUTQ, _COUNT.pack(0))
        except OSError:
            return 0
        return int(_COUNT.unpack(told)[0])

    def round_trip(self) -> float | None:
        """Seconds, as the kernel has measured so far (TCP_INFO in tcp(7)); None if it has not."""
        try:
            told = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ROUND_TRIP.size)
            return _ROUND_TRIP.unpack(told)[0] / 1e6 or None
        except (OSError, struct.error):
            return None


_asked: WeakSet[ssl.SSLObject] = WeakSet()
"""Connections on which the server has asked for a certificate of ours."""
_CERTIFICATE_REQUEST = (22, 13)
"""Types of the record and of the message in it (RFC 8446 sections 5.1 and 4)."""


def note_certificate_requests(context: ssl.SSLContext) -> None:
    """Have connections with this context know whether the server asks for a certificate of ours.

    In TLS 1.3 the request is encrypted and the refusal comes after the handshake, as an alert, a
    close or a reset. Only the callback that `ssl` has for debugging shows the message.
    """

    def saw(connection: ssl.SSLObject, direction: str, *message: Any) -> None:
        _, record, kind, _ = message
        if direction == "read" and (record, kind) == _CERTIFICATE_REQUEST:
            _asked.add(connection)

    setattr(context, "_msg_callback", saw)  # noqa: B010  typeshed does not know it


class TlsStream:
    """A TLS client that counts what comes in."""

    def __init__(self, plain: PlainStream, context: ssl.SSLContext, host: str) -> None:
        self._plain = plain
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host or None)
        self.verifies = context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
        """True if a completed handshake means that the certificate is for this host."""
        self.hello_sent: float | None = None
        """`time.perf_counter` when the ClientHello had been handed to the kernel."""
        self.first_received: float | None = None
        """Likewise, when the first bytes were here."""
        self.received = 0
        self.first_bytes = b""
        self.round_trip = plain.round_trip()
        """That of the connection, before anything is sent on it."""

    @property
    def asked_for_certificate(self) -> bool:
        """True if the server has asked for a certificate of ours."""
        return self.tls in _asked

    async def handshake(self) -> None:
        """Complete the handshake; the certificate is verified within. Raises OSError, EOFError."""
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._flush()
                await self._receive()
        await self._flush()

    async def write(self, data: bytes) -> None:
        """Send everything."""
        self.tls.write(data)
        await self._flush()

    async def read(self) -> bytes:
        """The next bytes, empty at the end of the stream, with or without close_notify."""
        while True:
            try:
                return self.tls.read(READ_SIZE)
            except ssl.SSLWantReadError:
                await self._flush()
            except ssl.SSLZeroReturnError:
                return b""
            try:
                await self._receive()
            except EOFError:
                return b""

    def unacknowledged(self) -> int:
        """Bytes on their way, or lost."""
        return self._plain.unacknowledged()

    async def say_goodbye(self) -> None:
        """Send close_notify, a record that asks for nothing."""
        with contextlib.suppress(ssl.SSLError):  # the other end's is not waited for
            self.tls.unwrap()
        await self._flush()

    async def _flush(self) -> None:
        if pending := self._outgoing.read():
            await self._plain.write(pending)
            self.hello_sent = self.hello_sent or time.perf_counter()

    async def _receive(self) -> None:
        data = await self._plain.read()
        if not data:
            raise EOFError
        self.first_received = self.first_received or time.perf_counter()
        self.received += len(data)
        begins_like_tls = (self.first_bytes or data)[0] in _TLS_RECORDS
        wanted = FIRST_BYTES if begins_like_tls else FIRST_BYTES_OF_A_PAGE
        self.first_bytes += data[: max(wanted - len(self.first_bytes), 0)]
        self._incoming.write(data)
