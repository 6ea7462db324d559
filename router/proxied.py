"""A listener whose connections begin with the PROXY protocol, TLS included.

The header is taken off the socket before the connection becomes a transport: what follows it may be
a TLS handshake. Each connection takes a task until then, a bounded number of them at once.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

from router.wire.proxy_protocol import BadProxyHeader, ProxyHeader

log = logging.getLogger("worker")

MOST_READING = 1024
"""Connections whose header is awaited; others wait in the backlog meanwhile."""
_PAUSE = 0.1
"""Seconds to wait when the system has no descriptor left for another connection."""


class ProxiedServer:
    """Takes connections from a shared socket, as `asyncio.Server` does."""

    def __init__(
        self,
        listen: socket.socket,
        door: Callable[[str], asyncio.BaseProtocol],
        tls: ssl.SSLContext | None,
        patience: float,
    ) -> None:
        """`listen` becomes ours; `door` is told whom the header names, "" if nobody.

        `patience`: seconds for the header.
        """
        self._listen = listen
        self._door = door
        self._tls = tls
        self._patience = patience
        self._room = asyncio.Semaphore(MOST_READING)
        self._reading: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.get_running_loop().create_task(self._accept())
        # Not before the loop has looked at it for the last time, or another is taken for it.
        self._accepting.add_done_callback(lambda _: listen.close())

    def close(self) -> None:
        """Accept no more; whose header is awaited may still come in."""
        self._accepting.cancel()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._room.acquire()
            try:
                sock, _ = await loop.sock_accept(self._listen)
            except OSError as error:
                log.warning("a connection could not be accepted: %s", error.strerror)
                self._room.release()
                await asyncio.sleep(_PAUSE)
                continue
            task = loop.create_task(self._begin(sock))
            self._reading.add(task)
            task.add_done_callback(self._begun)

    def _begun(self, task: asyncio.Task[None]) -> None:
        self._reading.discard(task)
        self._room.release()

    async def _begin(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        sock.setblocking(False)
        try:
            async with asyncio.timeout(self._patience):
                source = await read_header(sock)
            await loop.connect_accepted_socket(lambda: self._door(source), sock, ssl=self._tls)
        except (BadProxyHeader, TimeoutError, OSError) as error:
            log.debug("a connection without PROXY protocol was closed: %s", error)
            sock.close()
        except asyncio.CancelledError:
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
