"""Ends of a connection: close, half-close, reset."""

from __future__ import annotations

import asyncio
import socket
import struct

_LINGER_RESET = struct.pack("ii", 1, 0)


def close(transport: asyncio.Transport) -> None:
    """Close once: a second close() makes asyncio's TLS forget its connection, abort() included."""
    if not transport.is_closing():
        transport.close()


def end_writing(transport: asyncio.Transport) -> None:
    """Half-close behind what is pending. asyncio asks the kernel at once, which may know of a reset
    that nobody has read of yet."""
    try:
        transport.write_eof()
    except OSError:
        transport.abort()


def reset(transport: asyncio.Transport) -> None:
    """End a connection with RST: a plain abort() sends a clean FIN."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        except OSError:
            pass  # closed already
    transport.abort()
