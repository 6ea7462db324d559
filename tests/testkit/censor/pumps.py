"""Bytes between a client and an upstream, with a censor's limits on the way to the client."""

import asyncio
import contextlib
import socket

from tests.testkit.censor.rules import Relay
from tests.testkit.mirror_sending import RESET_ON_CLOSE

CHUNK = 65536
SLICES_A_SECOND = 8
"""A throttle lets bytes through this often."""

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def reset(writer: asyncio.StreamWriter) -> None:
    """End the connection with an RST; harmless when it has ended."""
    with contextlib.suppress(OSError):
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    writer.transport.abort()


async def close(writer: asyncio.StreamWriter) -> None:
    """End the connection with a FIN, once everything is sent."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def hold(reader: asyncio.StreamReader) -> None:
    """Keep the connection in silence until the other end gives up."""
    with contextlib.suppress(OSError):
        while await reader.read(CHUNK):
            pass


async def relay(client: Ends, upstream: Ends, limits: Relay) -> None:
    """Carry bytes both ways until both ends have ended; a reset of one resets the other."""
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_carry(client[0], upstream[1]))
            both.create_task(_carry_within(limits, upstream[0], client[1]))
    except* OSError:
        reset(client[1])
        reset(upstream[1])


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    _end(writer)


async def _carry_within(
    limits: Relay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Return after the end of the stream, or when nothing more may arrive."""
    left = min((n for n in (limits.freeze_after, limits.reset_after) if n is not None), default=-1)
    chunk = max(int(limits.rate / SLICES_A_SECOND), 1) if limits.rate else CHUNK
    while data := await reader.read(min(chunk, left) if left > 0 else chunk):
        if limits.rate:
            await asyncio.sleep(len(data) / limits.rate)
        writer.write(data)
        await writer.drain()
        left -= len(data)
        if left == 0:
            if limits.reset_after is not None:
                raise ConnectionResetError("enough was said")
            return
    _end(writer)


def _end(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.write_eof()
