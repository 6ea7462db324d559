"""One listening address and port of a censor, that can refuse or swallow connections too."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable

from tests.testkit.ports import free_port

Begin = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]

BIND_ATTEMPTS = 20
FILLERS = 4
"""Connections that certainly fill the queue of a socket that listens with a backlog of 0."""


class Endpoint:
    """Owns the listening socket; `address` and `port` stay the same through all modes.

    `serve`: connections begin. `refuse`: an RST answers every SYN. `swallow`: nothing
    does, because the queue of the listening socket is full (listen(2)), which is what a dropped
    SYN looks like.
    """

    def __init__(self, address: str, port: int, begin: Begin) -> None:
        self.address, self.port = address, port
        self._begin = begin
        self._server: asyncio.Server | None = None
        self._held: list[socket.socket] = []

    async def become(self, mode: str) -> None:
        """Serve, refuse or swallow from now on; connections that are open stay."""
        self.close()
        if mode == "serve":
            self._server = await asyncio.start_server(
                self._begin, self.address, self.port, backlog=1024
            )
        elif mode == "swallow":
            self._fill()
        elif mode != "refuse":
            raise ValueError(mode)

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            self._server = None
        while self._held:
            self._held.pop().close()

    def _fill(self) -> None:
        listening = socket.socket()
        self._held.append(listening)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((self.address, self.port))
        listening.listen(0)
        for _ in range(FILLERS):
            filler = socket.socket()
            self._held.append(filler)
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect((self.address, self.port))


async def listen_on(addresses: tuple[str, ...], port: int, begin: Begin) -> list[Endpoint]:
    """Serve on all these addresses at one port, any free one if it is 0."""
    for left in reversed(range(1 if port else BIND_ATTEMPTS)):
        chosen = port or free_port()
        endpoints = [Endpoint(address, chosen, begin) for address in addresses]
        try:
            for endpoint in endpoints:
                await endpoint.become("serve")
        except OSError as taken:
            for endpoint in endpoints:
                endpoint.close()
            if taken.errno != errno.EADDRINUSE or not left:
                raise
        else:
            return endpoints
    raise AssertionError("every attempt returns or raises")
