"""The TCP connections of the dashboard's listeners: how many there may be, and for how long.

They share a process with probes and bans, so they may not use up its descriptors, and a client who
sends or reads slowly may not keep one. A connection of a visitor over budget is answered here,
without parsing.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Protocol, cast

from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.typedefs import Handler

from dashboard.common.sources import Visitor
from dashboard.common.visitors import Refusal

ACCEPTED_AT_ONCE = 4
"""Connections accepted in one step of the event loop: other work has its turn between them."""
BACKLOG = 128
"""Connections that wait in the kernel meanwhile."""

_log = logging.getLogger("dashboard.http")
_log.addFilter(lambda record: not _is_clients_fault(record))


def _is_clients_fault(record: logging.LogRecord) -> bool:
    """True if the client is at fault: bytes that are no HTTP get 400, and a log of them would be
    the client's to fill."""
    return bool(record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


MOST = 1536
"""Most of them may be pages that are open and wait for changes."""
SHARE = 4
"""At most this part of the descriptors of the process is for these connections."""
FIRST_REQUEST = 10.0
"""Seconds in which the first request has to have come."""
NEXT_REQUEST = 30.0
"""Seconds from one request to the next, in which the answer has to be made and read."""
REFUSED = 2.0
"""Seconds in which a refused client has to have sent something, and read why."""
KEEPALIVE = 15.0
LINGERING = 1.0
"""Seconds in which a body that nobody wants is read, so that its sender gets the answer."""
CLOSING = 5.0
"""Seconds that running answers have when the process stops."""
CROWDED = Refusal(503, 5)


class Gate(Protocol):
    """Admission of connections, and the answer to others."""

    def most_of_one(self) -> float:
        """Connections that one visitor may have."""

    def connecting(self, address: str) -> tuple[Visitor, Refusal | None]:
        """Admit a connection; returns its address, and why nothing more is read from there, if
        so."""

    def told(self, refusal: Refusal, asked: bytes) -> bytes:
        """The whole response to what a refused client has asked."""


class Connections:
    """The open connections of one listener."""

    def __init__(
        self, server: Callable[[], asyncio.Protocol], gate: Gate | None = None, most: int = MOST
    ) -> None:
        """`gate`: None where only the number of connections is limited."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.most = most if soft == resource.RLIM_INFINITY else min(most, soft // SHARE)
        self.server = server
        self.gate = gate
        self._idle: dict[Connection, None] = {}
        """Those without a request, the longest first."""
        self._open: set[Connection] = set()
        self._of: Counter[bytes] = Counter()

    def __repr__(self) -> str:
        return f"<Connections {len(self._open)} of {self.most}>"

    def __len__(self) -> int:
        return len(self._open)

    def connection(self) -> Connection:
        """The protocol of a new connection."""
        return Connection(self)

    def enter(self, connection: Connection, address: str) -> Refusal | None:
        """Take one in, in the place of one that is idle where there is no other."""
        crowded = len(self._open) >= self.most and not self._end_longest_idle()
        if crowded and len(self._open) >= self.most * 5 // 4:  # too many to be told why
            connection.abort()
            return CROWDED
        self._open.add(connection)
        self._idle[connection] = None
        if crowded or self.gate is None:
            return CROWDED if crowded else None
        visitor, refusal = self.gate.connecting(address)
        if visitor.proxied:
            return refusal
        connection.key, connection.counted = visitor.key, True
        self._of[visitor.key] += 1
        too_many = self._of[visitor.key] > self.gate.most_of_one()
        return refusal or (Refusal(429, 1) if too_many else None)

    def _end_longest_idle(self) -> bool:
        longest = next(iter(self._idle), None)
        if longest is None:
            return False
        self.leave(longest)
        longest.abort()
        return True

    def busy(self, connection: Connection, is_busy: bool) -> None:
        """A connection has a request, or has none any more."""
        self._idle.pop(connection, None)
        if connection in self._open and not is_busy:
            self._idle[connection] = None

    def leave(self, connection: Connection) -> None:
        """Forget one that has ended, or is made to."""
        self._open.discard(connection)
        self._idle.pop(connection, None)
        if connection.key:
            self._of[connection.key] -= 1
            if not self._of[connection.key]:
                del self._of[connection.key]
            connection.key = b""


class Connection(asyncio.Protocol):
    """One connection: time limits around aiohttp's protocol, or a refusal in its place."""

    def __init__(self, owner: Connections) -> None:
        self.key = b""
        """The visitor it is counted for."""
        self.counted = False
        """True if the next request is one that the visitor's budget has been charged with."""
        self._owner = owner
        self._inner: asyncio.Protocol | None = None
        self._refusal: Refusal | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._refusal = self._owner.enter(self, peer[0] if peer else "")
        self._limit(REFUSED if self._refusal else FIRST_REQUEST)
        if self._refusal is None:
            self._inner = self._owner.server()
            self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.data_received(data)
        elif self._transport is not None and not self._transport.is_closing():
            gate, refusal = self._owner.gate, self._refusal
            if gate is not None and refusal is not None:
                self._transport.write(gate.told(refusal, data))
            self._transport.close()

    def eof_received(self) -> bool | None:
        return None if self._inner is None else self._inner.eof_received()

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.leave(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._inner is not None:
            self._inner.connection_lost(exc)
        self._inner = self._transport = None

    def begin(self) -> None:
        """A request has come."""
        self._owner.busy(self, True)
        self._limit(NEXT_REQUEST)

    def end(self) -> None:
        """Its answer is made; it may still have to be read."""
        self._owner.busy(self, False)

    def hold(self) -> None:
        """Keep it open without a limit of time: its answer goes on for as long as it is read."""
        if self._timer is not None:
            self._timer.cancel()

    def abort(self) -> None:
        """End it at once, whatever has not been read."""
        if self._transport is not None:
            self._transport.abort()

    def _limit(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.abort)


def connection_of(request: web.Request) -> Connection | None:
    """The connection of a request; None on a Unix socket."""
    transport = request.transport
    found = None if transport is None else transport.get_protocol()
    return found if isinstance(found, Connection) else None


@web.middleware
async def timed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell the connection when a request begins and ends."""
    connection = connection_of(request)
    if connection is None:
        return await handler(request)
    connection.begin()
    try:
        return await handler(request)
    finally:
        connection.end()


class _Site(web.SockSite):
    """aiohttp's server of a socket, with our connections around its own."""

    def __init__(self, runner: web.AppRunner, sock: socket.socket, connections: Connections):
        super().__init__(runner, sock)
        self._connections = connections

    async def start(self) -> None:
        await web.BaseSite.start(self)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._connections.connection, sock=self._sock, backlog=ACCEPTED_AT_ONCE
        )
        self._sock.listen(BACKLOG)  # `backlog` is both: how many are accepted in one step


async def serve(
    app: web.Application, sock: socket.socket, stack: AsyncExitStack, gate: Gate | None
) -> None:
    """Serve an application on a TCP socket until the stack is closed."""
    runner = await _run(app, stack)
    server: Any = runner.server
    await _Site(runner, sock, Connections(server, gate)).start()


async def serve_on_unix_socket(
    app: web.Application, sock: socket.socket, stack: AsyncExitStack
) -> None:
    """Serve an application to whoever may open a Unix socket, until the stack is closed."""
    await web.SockSite(await _run(app, stack), sock).start()


async def _run(app: web.Application, stack: AsyncExitStack) -> web.AppRunner:
    runner = web.AppRunner(
        app,
        logger=_log,
        access_log=None,
        handler_cancellation=True,
        keepalive_timeout=KEEPALIVE,
        lingering_time=LINGERING,
        shutdown_timeout=CLOSING,
    )
    stack.push_async_callback(runner.cleanup)
    await runner.setup()
    return runner
