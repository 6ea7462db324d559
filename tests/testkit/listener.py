"""One listening port that can be made to serve, refuse, reset or keep silent, and back."""

import asyncio
import socket
import ssl
from collections.abc import Callable

from tests.testkit.mirror_sending import RESET_ON_CLOSE

ProtocolFactory = Callable[[], asyncio.BaseProtocol]


class _Reset(asyncio.Protocol):
    """Accepts, and resets at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        transport.abort()


class _Mute(asyncio.Protocol):
    """Accepts, listens, says nothing; `held` knows the transports so that they can be closed."""

    def __init__(self, held: set[asyncio.Transport]) -> None:
        self._held = held

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._held.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._held.discard(self._transport)


class Listener:
    """Owns the listening socket of `serve`; the port stays the same through all its modes."""

    def __init__(
        self, serve: ProtocolFactory, host: str, port: int, tls: ssl.SSLContext | None
    ) -> None:
        self._serve, self._host, self._tls = serve, host, tls
        self._held: set[asyncio.Transport] = set()
        self._server: asyncio.Server | None = None
        self.port = port

    async def become(self, mode: str) -> None:
        """Serve, refuse, reset or be mute (see `Behaviour.listener`) from now on."""
        self.close()
        loop = asyncio.get_running_loop()
        factories: dict[str, ProtocolFactory] = {
            "serve": self._serve,
            "reset": _Reset,
            "mute": lambda: _Mute(self._held),
        }
        if mode == "refuse":
            return
        tls = self._tls if mode == "serve" else None
        self._server = await loop.create_server(
            factories[mode], self._host, self.port, ssl=tls, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Stop listening, and leave those who were kept waiting in silence."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for transport in list(self._held):
            transport.abort()
