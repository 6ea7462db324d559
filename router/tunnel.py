"""A WebSocket after its 101: bytes both ways, as they come, until one side ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from router.plane import Plane
from router.wire.wheel import NEVER

LAST_WORDS = 10.0
"""Seconds for what is still to be written when one side has ended."""


class _End(asyncio.BufferedProtocol):
    """One of the two connections."""

    def __init__(self, tunnel: Tunnel, other: asyncio.Transport) -> None:
        self._tunnel = tunnel
        self._other = other

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._tunnel.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._other.write(self._tunnel.buffer[:nbytes].tobytes())

    def eof_received(self) -> bool:
        self._tunnel.close()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._tunnel.lost()

    def pause_writing(self) -> None:
        self._tunnel.stalls(1)
        self._other.pause_reading()

    def resume_writing(self) -> None:
        self._tunnel.stalls(-1)
        if not self._other.is_closing():
            self._other.resume_reading()


class Tunnel:
    """Joins a client's connection and a mirror's; ends both when one ends."""

    def __init__(
        self,
        plane: Plane,
        client: asyncio.Transport,
        mirror: asyncio.Transport,
        ended: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        """`ended` is called when it is closed, `lost` when neither connection is there any more."""
        self.buffer = plane.buffer
        self.deadline = NEVER
        self._wheel = plane.wheel
        self._stall = plane.timeouts.write_stall
        self._stalling = 0
        self._open = 2
        self._client = client
        self._mirror = mirror
        self._ended: Callable[[], None] | None = ended
        self._lost = lost
        self._wheel.add(self)
        client.set_protocol(cast(asyncio.BaseProtocol, _End(self, mirror)))
        mirror.set_protocol(cast(asyncio.BaseProtocol, _End(self, client)))

    def stalls(self, sides: int) -> None:
        """So many sides more take nothing for now: then the other's end may go unnoticed."""
        self._stalling += sides
        if self._ended is not None:
            self.deadline = self._wheel.now + self._stall if self._stalling else NEVER

    def lost(self) -> None:
        """One of the connections is no more."""
        self._open -= 1
        self.close()
        if not self._open:
            self._wheel.remove(self)
            self._lost()
            del self._lost  # it leads back here

    def close(self) -> None:
        """End both sides after what is still to be written; tells the owner once."""
        self._client.close()
        self._mirror.close()
        ended, self._ended = self._ended, None
        if ended is not None:
            self.deadline = self._wheel.now + LAST_WORDS
            ended()

    def abort(self) -> None:
        """End both sides now."""
        self.expired()

    def expired(self) -> None:
        """Nobody reads what is still to be written."""
        self._client.abort()
        self._mirror.abort()
