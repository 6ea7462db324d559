"""A listening port that serves, refuses, resets, keeps silent or swallows, and back."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from tests.testkit.ports import free_port

ProtocolFactory = Callable[[], asyncio.BaseProtocol]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with a time of zero: closing sends an RST and drops what is unsent (socket(7))."""
FILLERS = 4
"""Connections that certainly fill the queue of a socket that listens with a backlog of 0."""


def reset(transport: asyncio.WriteTransport) -> None:
    """End a connection with an RST; harmless when it has ended."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    transport.abort()


@contextlib.contextmanager
def unanswered_port(address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port where nothing answers a SYN, as behind a firewall that drops it.

    The queue of the listening socket is full (listen(2)).
    """
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        fill_backlog(listening, stack)
        yield listening.getsockname()[1]


def fill_backlog(listening: socket.socket, stack: contextlib.ExitStack) -> None:
    """Listen on a bound socket, and fill its queue; what does that ends with the stack."""
    listening.listen(0)
    for _ in range(FILLERS):
        filler = stack.enter_context(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(listening.getsockname())


class _Held(asyncio.Protocol):
    """Accepts and says nothing; with `reset` it ends the connection at once."""

    def __init__(self, held: set[asyncio.Transport], at_once: bool) -> None:
        self._held, self._at_once = held, at_once

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._held.add(transport)
        if self._at_once:
            reset(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._held.discard(self._transport)


class Listener:
    """Owns a listening socket; address and port stay the same through all its modes.

    `serve`: connections begin. `refuse`: an RST answers every SYN. `reset`: they are reset once
    accepted. `mute`: they are accepted and hear nothing. `swallow`: see `unanswered_port`.
    """

    def __init__(
        self,
        serve: ProtocolFactory,
        address: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.address, self.port = address, port or free_port()
        self._serve, self._tls = serve, tls
        self._transports: set[asyncio.Transport] = set()
        self._full = contextlib.ExitStack()
        self._server: asyncio.Server | None = None

    async def become(self, mode: str) -> None:
        """Change the mode; connections that are served stay open."""
        self.close()
        if mode == "swallow":
            self._full.enter_context(unanswered_port(self.address, self.port))
        elif mode != "refuse":
            factories: dict[str, ProtocolFactory] = {
                "serve": self._serve,
                "reset": lambda: _Held(self._transports, True),
                "mute": lambda: _Held(self._transports, False),
            }
            self._server = await asyncio.get_running_loop().create_server(
                factories[mode],
                self.address,
                self.port,
                ssl=self._tls if mode == "serve" else None,
                backlog=1024,
            )

    def close(self) -> None:
        """Stop listening, and leave those who were kept waiting in silence."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._full.close()
        for transport in list(self._transports):
            transport.abort()


class Conversations:
    """Open connections of a server, each a task; all end with the server.

    asyncio's own task for a connection reports a fault when it is cancelled (until 3.12).
    """

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def __iter__(self) -> Iterator[asyncio.StreamWriter]:
        """Yield those that are open."""
        return iter(list(self._open.values()))

    def protocol(self) -> asyncio.BaseProtocol:
        """A connection's protocol, as `Listener` wants it."""
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), self.begin)

    def begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk on a new connection, and close it in the end whatever happens."""
        task = asyncio.create_task(self._run(reader, writer))
        self._open[task] = writer
        task.add_done_callback(self._open.pop)

    async def close(self) -> None:
        """End all of them now."""
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for fault in ended:
            if isinstance(fault, Exception):
                raise fault

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):
                await self._talk(reader, writer)
        finally:
            writer.transport.abort()


class TlsServer:
    """Shakes hands and keeps what it is told; a context manager.

    With an `answer` it says that to the first bytes, and closes. Without one it can take the
    place of a server to whom nothing must be said.
    """

    def __init__(
        self, context: ssl.SSLContext, answer: bytes = b"", host: str = "127.0.0.1"
    ) -> None:
        self._answer = answer
        self._conversations = Conversations(self._talk)
        self._listener = Listener(self._conversations.protocol, host, 0, context)
        self.heard = b""
        """Everything that was said to it within TLS, if it does not answer."""

    @property
    def address(self) -> tuple[str, int]:
        return self._listener.address, self._listener.port

    async def __aenter__(self) -> "TlsServer":
        await self._listener.become("serve")
        return self

    async def __aexit__(self, *_: Any) -> None:
        self._listener.close()
        await self._conversations.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self._answer:
                writer.write(self._answer)
                writer.close()
                await writer.wait_closed()
                return
            self.heard += data
