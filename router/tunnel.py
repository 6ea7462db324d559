"""A WebSocket after its 101: bytes both ways, as they come, until one side ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast


class _End(asyncio.BufferedProtocol):
    """One of the two connections."""

    def __init__(self, tunnel: Tunnel, own: asyncio.Transport, other: asyncio.Transport) -> None:
        self._tunnel = tunnel
        self._own = own
        self._other = other

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._tunnel.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._other.write(self._tunnel.buffer[:nbytes].tobytes())

    def eof_received(self) -> bool:
        self._tunnel.close()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._tunnel.close()

    def pause_writing(self) -> None:
        self._other.pause_reading()

    def resume_writing(self) -> None:
        if not self._other.is_closing():
            self._other.resume_reading()


class Tunnel:
    """Joins a client's connection and a mirror's; ends both when one ends."""

    def __init__(
        self,
        buffer: memoryview,
        client: asyncio.Transport,
        mirror: asyncio.Transport,
        ended: Callable[[], None],
    ) -> None:
        self.buffer = buffer
        self._client = client
        self._mirror = mirror
        self._ended: Callable[[], None] | None = ended
        client.set_protocol(cast(asyncio.BaseProtocol, _End(self, client, mirror)))
        mirror.set_protocol(cast(asyncio.BaseProtocol, _End(self, mirror, client)))

    def close(self) -> None:
        """End both sides after what is still to be written; tells the owner once."""
        self._client.close()
        self._mirror.close()
        ended, self._ended = self._ended, None
        if ended is not None:
            ended()
