"""A listener whose connections begin with the PROXY protocol, with TLS, or with both.

The header is taken off the socket before the connection becomes a transport: what follows it may
be a TLS handshake. Each connection takes a task until its first byte of HTTP may come, a bounded
number of them at once: of too many, the address with most loses its oldest.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from functools import partial

from monitor.common.tasks import Tasks
from router.admission.capacity import handshake_limit
from router.admission.client_address import parse
from router.wire.proxy_protocol import BadProxyHeader, ProxyHeader

log = logging.getLogger("worker")

HANDSHAKE = 15.0
"""Seconds for a TLS handshake, as many as a request head has (`router.timeouts.header`)."""
_PAUSE = 0.1
"""Seconds to wait when the system has no descriptor left for another connection."""


class HandshakeServer:
    """Takes connections from a shared socket, as `asyncio.Server` does."""

    def __init__(
        self,
        listen: socket.socket,
        protocol: Callable[[str], asyncio.BaseProtocol],
        tls: ssl.SSLContext | None,
        patience: float | None,
        tasks: Tasks | None = None,
    ) -> None:
        """`listen` becomes ours; `protocol` gets the address that the header names, "" if none.

        `patience`: seconds for the header; None: there is none.
        """
        self._listen = listen
        self._protocol = protocol
        self._tls = tls
        self._patience = patience
        self._reading: dict[asyncio.Task[None], bytes] = {}
        """The oldest first, and whose each is (`Client.key`)."""
        self._counts: dict[bytes, int] = {}
        self._most = handshake_limit()
        self._tasks = tasks or Tasks()
        self._accepting = self._tasks.service("accept", self._accept, longest=_PAUSE)
        # Not before the loop has looked at it for the last time, or another is taken for it.
        self._accepting.add_done_callback(lambda _: listen.close())

    def close(self) -> None:
        """Accept no more; whose header is awaited may still come in."""
        self._accepting.cancel()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(self._listen)
            except OSError as error:
                log.warning("a connection could not be accepted: %s", error.strerror)
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self._make_room()
                await asyncio.sleep(_PAUSE)
                continue
            client = parse(address[0])
            key = client.key if client is not None else b""
            task = self._tasks.job("client", partial(self._begin, sock))
            self._reading[task] = key
            self._counts[key] = self._counts.get(key, 0) + 1
            task.add_done_callback(partial(self._ended, sock))
            if len(self._reading) > self._most:
                self._make_room()
            await asyncio.sleep(0)  # accepting does not yield while somebody is in the backlog

    def _make_room(self) -> None:
        if not self._counts:
            return
        most = max(self._counts, key=self._counts.__getitem__)
        oldest = next(task for task, key in self._reading.items() if key == most)
        self._begun(oldest)
        oldest.cancel()

    def _begun(self, task: asyncio.Task[None]) -> None:
        """It is not awaited any more; harmless when that was known."""
        key = self._reading.pop(task, None)
        if key is not None:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]

    def _ended(self, sock: socket.socket, task: asyncio.Task[None]) -> None:
        self._begun(task)
        if task.cancelled():  # perhaps before it ran at all
            sock.close()

    async def _begin(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        sock.setblocking(False)
        source = ""
        try:
            if self._patience is not None:
                async with asyncio.timeout(self._patience):
                    source = await read_header(sock)
            await loop.connect_accepted_socket(
                lambda: self._protocol(source),
                sock,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE if self._tls is not None else None,
            )
        except (BadProxyHeader, TimeoutError, OSError) as error:
            log.debug("a connection without PROXY header or TLS handshake was closed: %s", error)
            sock.close()
        except BaseException:
            sock.close()
            raise


async def read_header(sock: socket.socket) -> str:
    """Take exactly the header off the socket; the address that it names, or "".

    Raises BadProxyHeader, also when the connection ends before.
    """
    header = ProxyHeader()
    while not header.complete:
        await _readable(sock)
        try:
            seen = sock.recv(4096, socket.MSG_PEEK)
        except BlockingIOError:
            continue
        if not seen:
            raise BadProxyHeader("the connection ended")
        sock.recv(header.feed(seen))
    return header.source


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(sock, wake)
    try:
        await ready
    finally:
        loop.remove_reader(sock)
